"""One line of the audit log: what stands in it, and how it names the line before.

Nothing of a body, a prompt or a query is in it, and no line break: names of callers are escaped,
clipped and scrubbed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.access.caller import Caller
from orchestrator.access.scrubbing import scrubbed

TEXT_CHARS_MAX = 200  # of a name: the longest of the API has 128
LINE_BYTES_MAX = 16 << 10  # of six texts, of which escapes may make six times as much
BEFORE_ALL = "0" * 64  # what the first line of all names as the one before it


class ActOutcome(StrEnum):
    GRANTED = "granted"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What was done, or was to be done. An admin's is written before: granted is let through.

    Where it came to nothing afterwards, a second one says so, and of which line it is (`of`).
    """

    action: str
    caller: Caller
    outcome: ActOutcome = ActOutcome.GRANTED
    target: str | None = None
    code: str | None = None  # of the error
    request_id: str | None = None
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    of: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The last line: its number, and the SHA-256 of its bytes without the line break."""

    seq: int
    digest: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.digest}"


NOTHING_YET = Head(0, BEFORE_ALL)


class NoLine(ValueError):
    """The bytes are no line of an audit log."""


def encode(act: Act, *, at: str, after: Head) -> tuple[bytes, Head]:
    """The line without its break, and the head that it makes."""
    seq = after.seq + 1
    line: dict[str, Any] = {
        "seq": seq,
        "at": at,
        "actor": {
            "key": _text(act.caller.key),
            "session": _text(act.caller.session),
            "ip": _text(act.caller.address),
            "via": str(act.caller.via),
        },
        "action": act.action,
        "target": _text(act.target),
        "outcome": str(act.outcome),
        "code": _text(act.code),
        "request_id": _text(act.request_id),
        "numbers": dict(act.numbers),
        "prev": after.digest,
    }
    if act.of is not None:
        line["of"] = act.of
    raw = json.dumps(line, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    return raw, Head(seq, digest_of(raw))


def decode(raw: bytes) -> dict[str, Any]:
    """Raise NoLine."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NoLine("it is not JSON") from error
    if not isinstance(line, dict) or not isinstance(line.get("prev"), str):
        raise NoLine("it names no line before it")
    seq = line.get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 1:
        raise NoLine("it has no number")
    return line


def digest_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _text(text: str | None) -> str | None:
    if text is None:
        return None
    text = scrubbed(text)
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}…"
