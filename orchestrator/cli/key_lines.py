"""Keys as sentences and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.screen import table

if TYPE_CHECKING:
    from orchestrator.cli.screen import Part
    from orchestrator.web.wire.key_shapes import KeyList, MadeKey, Revoked


def made_key_lines(answer: MadeKey) -> list[str]:
    """The key alone on its line, to be taken into a file or a variable."""
    scopes = ", ".join(answer["scopes"])
    return [
        answer["key"],
        f"This is shown once. Key {answer['id']} ({answer['name']}): {scopes}.",
    ]


def key_lines(answer: KeyList) -> list[Part]:
    rows = [
        (
            key["id"],
            key["name"],
            " ".join(key["scopes"]),
            " ".join(key["models"]),
            key["status"],
            key["expires_at"] or "never",
        )
        for key in answer["keys"]
    ]
    if not rows:
        return ["There are no keys: who reaches the daemon may do everything."]
    return [table(("ID", "NAME", "SCOPES", "MODELS", "STATUS", "EXPIRES"), rows)]


def revoked_lines(answer: Revoked) -> list[str]:
    return [f"Revoked: {', '.join(answer['revoked'])}."]
