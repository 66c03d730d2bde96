"""Whether the lines of an audit log follow one another, over all its files; and which does not.

A chain alone proves nothing against one who rewrites its end. A head that was noted elsewhere (the
daemon's figures and its log tell it) does: what it names must still be there.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.access.audit.lines import (
    BEFORE_ALL,
    LINE_BYTES_MAX,
    NOTHING_YET,
    Head,
    NoLine,
    decode,
    digest_of,
)

CURRENT = "audit.jsonl"
HEAD_CHARS_MIN = 12  # of a hash that a head may be shortened to: what /metrics tells
_ROTATED = re.compile(r"audit-([0-9]{12})\.jsonl")
_BLOCK_BYTES = 64 << 10
_HEAD = re.compile(rf"([0-9]{{1,15}}):([0-9a-f]{{{HEAD_CHARS_MIN},64}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What a whole log comes to."""

    head: Head
    first: int  # the number of its first line; more than 1 where older files were dropped
    files: int
    torn_bytes: int = 0  # at the end: a line that a kill cut off


class BrokenChain(Exception):
    """Names the first line that is not what it should be."""

    def __init__(self, file: Path, line: int, reason: str) -> None:
        super().__init__(f"{file}, line {line}: {reason}")
        self.file, self.line, self.reason = file, line, reason


def rotated_name(last: Head) -> str:
    """Of a file that ends with this line."""
    return f"audit-{last.seq:012d}.jsonl"


def rotated_files(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in folder.glob("audit-*.jsonl") if _ROTATED.fullmatch(path.name))


def files_of(folder: Path) -> list[Path]:
    """Oldest first, the one that is written last."""
    current = folder / CURRENT
    return [*rotated_files(folder), *([current] if current.exists() else ())]


def read_head(text: str) -> Head:
    """`SEQ:HASH`; the hash may be shortened. Raise ValueError."""
    if (told := _HEAD.fullmatch(text.strip().lower())) is None:
        raise ValueError(f"a head is SEQ:HASH, with {HEAD_CHARS_MIN} digits of the hash at least")
    return Head(int(told[1]), told[2])


def verify(folder: Path, noted: Head | None = None) -> Followed:
    """Raise BrokenChain, or OSError where a file cannot be read."""
    before: Head | None = None
    first, torn = 1, 0
    files = files_of(folder)
    place = (folder / CURRENT, 1)
    met = noted is None or noted.seq == 0
    for file in files:
        is_last = file == files[-1]
        for number, raw, ended in numbered(file):
            place = (file, number)
            if not ended and is_last and file.name == CURRENT:
                torn = len(raw)
                break
            head = follow(raw, before, place)
            if before is None:
                first = head.seq
            before = head
            if noted is not None and head.seq == noted.seq:
                if not head.digest.startswith(noted.digest):
                    raise BrokenChain(*place, f"it is not the line {noted.seq} that was noted")
                met = True
    head = before or NOTHING_YET
    if not met and noted is not None and noted.seq >= first:
        missing = f"the log ends with line {head.seq}, and line {noted.seq} was noted"
        raise BrokenChain(*place, missing)
    return Followed(head=head, first=first, files=len(files), torn_bytes=torn)


def follow(raw: bytes, before: Head | None, place: tuple[Path, int]) -> Head:
    """The head that a line makes. Raise BrokenChain if it does not follow `before`."""
    try:
        line = decode(raw)
    except NoLine as error:
        raise BrokenChain(*place, str(error)) from error
    if before is None:
        if line["seq"] == 1 and line["prev"] != BEFORE_ALL:
            raise BrokenChain(*place, "line 1 names a line before it")
    elif line["seq"] != before.seq + 1:
        raise BrokenChain(*place, f"it has number {line['seq']} and follows {before.seq}")
    elif line["prev"] != before.digest:
        raise BrokenChain(*place, f"line {before.seq} before it was changed, or this one is new")
    return Head(line["seq"], digest_of(raw))


def numbered(file: Path) -> Iterator[tuple[int, bytes, bool]]:
    """The lines with their numbers, and whether they have their break."""
    with file.open("rb") as lines:
        number = 0
        while raw := lines.readline(LINE_BYTES_MAX + 1):
            number += 1
            yield number, raw.removesuffix(b"\n"), raw.endswith(b"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """How a file ends."""

    head: Head | None  # None: it has no line
    bytes: int  # up to the end of the last whole line
    torn_bytes: int  # behind it
    readable: bool = True  # whether the last line is one of ours


def tail_of(descriptor: int) -> Tail:
    """Read from the end. Where its last lines are none of ours, they are counted on from the last
    that is. Raise OSError.
    """
    size = os.fstat(descriptor).st_size
    held = b""
    start = size
    end = None
    while start > 0:
        begin = max(0, start - _BLOCK_BYTES)
        held = os.pread(descriptor, start - begin, begin) + held
        start = begin
        if end is None:
            if (found := held.rfind(b"\n")) < 0:
                continue
            end = start + found + 1
            held = held[: found + 1]
        lines = held[:-1].split(b"\n")
        whole = lines if start == 0 else lines[1:]
        for behind, raw in enumerate(reversed(whole)):
            try:
                seq = decode(raw)["seq"] + behind
            except NoLine:
                continue
            head = Head(seq, digest_of(whole[-1]))
            return Tail(head=head, bytes=end, torn_bytes=size - end, readable=behind == 0)
    end = end or 0
    if end == 0:
        return Tail(head=None, bytes=0, torn_bytes=size)
    lines = held[:-1].split(b"\n")
    head = Head(len(lines), digest_of(lines[-1]))
    return Tail(head=head, bytes=end, torn_bytes=size - end, readable=False)
