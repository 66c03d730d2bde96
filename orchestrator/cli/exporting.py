"""`events --export`: the history that the daemon has, line by line, for `simulate` to replay.

What it does not need is left out: addresses, owners, keys and paths of requests.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from orchestrator.cli.screen import say_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.cli.client import Json, Remote

FORMAT = 1  # what `simulate` reads
PAGE = 500  # the most that the API gives at once
PAGES_MAX = 1000  # of either; the daemon keeps fewer

MACHINE = (
    *("id", "name", "kind", "total_mb", "foreign_mb", "headroom_mb"),
    *("available_mb", "charged_mb"),
)
MODEL = (
    *("id", "aliases", "vram_mb", "host_mb", "load_seconds", "priority", "ttl_seconds"),
    *("pinned", "keep_loaded", "devices"),
)
REQUEST = (
    *("id", "began_at", "asked", "model", "priority", "outcome"),
    *("total_seconds", "wait_seconds", "load_seconds"),
)
DECISION = ("id", "at", "kind", "model", "evicted", "text")


def write(remote: Remote) -> None:
    """Raise what a question to the daemon does, and LookupError for an answer it cannot read."""
    for line in lines(remote):
        say_exactly(json.dumps(line, ensure_ascii=False, separators=(",", ":")))


def lines(remote: Remote) -> Iterator[Json]:
    first: Any = remote.ask("GET", "/requests?limit=1").body
    devices: Any = remote.ask("GET", "/devices").body
    yield {
        "type": "machine",
        "format": FORMAT,
        "not_kept": first["not_kept"],
        "devices": [_part(device, MACHINE) for device in devices["devices"]],
    }
    models: Any = remote.ask("GET", "/models").body
    for model in models["data"]:
        yield {"type": "model"} | _part(model, MODEL)
    began_at: datetime | None = None
    for request in _pages(remote, "/requests", "ended"):
        began_at = _instant(request["began_at"])
        yield {"type": "request"} | _part(request, REQUEST)
    for decision in _pages(remote, "/events", "events"):
        if began_at is not None and _instant(decision["at"]) < began_at:
            return  # older than any request that is known
        yield {"type": "decision"} | _part(decision, DECISION)


def _pages(remote: Remote, path: str, key: str) -> Iterator[Json]:
    """All that there are, newest first."""
    before: int | None = None
    for _ in range(PAGES_MAX):
        asked = {"limit": PAGE} | ({} if before is None else {"before": before})
        page: Any = remote.ask("GET", f"{path}?{urlencode(asked)}").body
        yield from page[key]
        before = page["next_before"]
        if before is None:
            return


def _instant(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


def _part(said: Json, keys: tuple[str, ...]) -> Json:
    return {key: said[key] for key in keys}
