"""Lines of the audit log as answers show them. As in `shapes`, unknown is null."""

from typing import NotRequired

from typing_extensions import TypedDict


class AuditActor(TypedDict):
    key: str | None
    session: str | None
    ip: str | None
    via: str


class AuditLine(TypedDict):
    seq: int
    at: str
    actor: AuditActor
    action: str
    target: str | None
    outcome: str
    code: str | None
    request_id: str | None
    numbers: dict[str, int | float]
    prev: str
    of: NotRequired[int]


class AuditLines(TypedDict):
    lines: list[AuditLine]
    next_before: int | None
    head: str
    problem: str | None


_DIGEST = "9f2b5a1c" * 8
AUDIT: AuditLines = {
    "lines": [
        {
            "seq": 812,
            "at": "2026-01-15T16:36:35.000Z",
            "actor": {"key": None, "session": None, "ip": "10.0.0.7", "via": "http"},
            "action": "model.unload",
            "target": "qwen3-vl-30b",
            "outcome": "granted",
            "code": None,
            "request_id": "3f9c1e0a77b24d51",
            "numbers": {},
            "prev": _DIGEST,
        }
    ],
    "next_before": None,
    "head": f"812:{_DIGEST}",
    "problem": None,
}
