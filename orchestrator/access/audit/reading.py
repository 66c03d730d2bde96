"""Looks into the audit log, newest first, and no further than is cheap."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.access.audit.chain import files_of, numbered
from orchestrator.access.audit.lines import NoLine, decode

READ_MAX = 500  # lines of one answer
LOOKED_AT_MAX = 50_000  # lines for one answer: half a second of a thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Lines that are asked for; None: any."""

    before: int | None = None  # their numbers are smaller
    action: str | None = None  # or the beginning of it, before a dot
    target: str | None = None
    key: str | None = None
    address: str | None = None
    outcome: str | None = None
    limit: int = 100

    def has(self, line: Mapping[str, Any]) -> bool:
        actor = line.get("actor")
        actor = actor if isinstance(actor, dict) else {}
        action = str(line.get("action"))
        return (
            self.action in (None, action, action.partition(".")[0])
            and self.target in (None, line.get("target"))
            and self.outcome in (None, line.get("outcome"))
            and self.key in (None, actor.get("key"))
            and self.address in (None, actor.get("ip"))
        )


@dataclass(frozen=True, slots=True)
class Seen:
    lines: tuple[Mapping[str, Any], ...]
    next_before: int | None  # where to look on; None: there is nothing more


def look(folder: Path, sought: Sought) -> Seen:
    """Blocking. Raise OSError. Lines that are none of ours are passed over: `verify` names them."""
    found: list[Mapping[str, Any]] = []
    looked_at, last = 0, None
    for line in _backwards(folder):
        if sought.before is not None and line["seq"] >= sought.before:
            continue
        if len(found) >= min(sought.limit, READ_MAX) or looked_at >= LOOKED_AT_MAX:
            return Seen(tuple(found), last)
        looked_at, last = looked_at + 1, line["seq"]
        if sought.has(line):
            found.append(line)
    return Seen(tuple(found), None)


def _backwards(folder: Path) -> Iterator[dict[str, Any]]:
    for file in reversed(files_of(folder)):
        try:
            lines = [raw for _, raw, ended in numbered(file) if ended]
        except FileNotFoundError:  # rotated away meanwhile
            continue
        for raw in reversed(lines):
            try:
                yield decode(raw)
            except NoLine:
                continue
