"""Steps through the bytes of a GGUF header, value by value, and never past their end.

Nothing is allocated or repeated on the word of the file alone: a length is checked against what
is left, and what cannot be checked that way has a bound named here.
"""

import mmap
import struct
from pathlib import Path

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Skipped, Value

# The largest vocabularies have 262 144 words and 514 906 merges; stepping over a string costs
# 70 ns, so a hostile file can take a third of a second and no more.
STRINGS_MAX = 4_000_000
# ggml allows 64 bytes for the name of a tensor; no key comes near this either.
NAME_BYTES_MAX = 256
# Longer strings are chat templates and licences: nothing that a footprint depends on.
STRING_KEPT_BYTES_MAX = 1024
# Arrays with one number per layer are kept, scores and token types of a vocabulary are not.
NUMBERS_KEPT_MAX = 1024

_STRING = 8
_ARRAY = 9
_NUMBERS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_LENGTH = struct.Struct("<Q")
_TYPE = struct.Struct("<I")
_ARRAY_START = struct.Struct("<IQ")


class Cursor:
    """A place in a mapped file; every step moves it on or raises `GgufError`."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path = path
        self.offset = 0
        self._content = content
        self._end = len(content)
        self._strings_left = STRINGS_MAX

    def take(self, layout: struct.Struct) -> tuple[int, ...]:
        start = self.offset
        self._advance(layout.size)
        return layout.unpack_from(self._content, start)

    def name(self) -> str:
        (length,) = self.take(_LENGTH)
        if length > NAME_BYTES_MAX:
            raise self.damaged(f"has a name of {length} bytes")
        return self._text(length)

    def value(self) -> Value:
        (kind,) = self.take(_TYPE)
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        return self._number(kind)

    def damaged(self, what: str) -> GgufError:
        return GgufError(f"{self.path} {what} at byte {self.offset}: it is damaged. Fetch it again")

    def _number(self, kind: int) -> int | float:
        layout = _NUMBERS.get(kind)
        if layout is None:
            raise self.damaged(f"has a value of unknown type {kind}")
        (number,) = self.take(layout)
        return number

    def _string(self) -> str | Skipped:
        (length,) = self.take(_LENGTH)
        if length <= STRING_KEPT_BYTES_MAX:
            return self._text(length)
        self._advance(length)
        return Skipped(length)

    def _array(self) -> tuple[int | float, ...] | Skipped:
        kind, length = self.take(_ARRAY_START)
        if kind == _STRING:
            self._skip_strings(length)
            return Skipped(length)
        if kind == _ARRAY:
            raise self.damaged("nests arrays, which no model does,")
        layout = _NUMBERS.get(kind)
        if layout is None:
            raise self.damaged(f"has an array of unknown type {kind}")
        start = self.offset
        self._advance(length * layout.size)
        if length > NUMBERS_KEPT_MAX:
            return Skipped(length)
        numbers = layout.iter_unpack(self._content[start : self.offset])
        return tuple(number for (number,) in numbers)

    def _skip_strings(self, count: int) -> None:
        """The hot loop of this package: nearly all bytes of a header are passed here."""
        self._strings_left -= count
        if self._strings_left < 0:
            raise self.damaged(f"has a list of {count} strings ({STRINGS_MAX} in all are allowed)")
        content, offset, length_at = self._content, self.offset, _LENGTH.unpack_from
        try:
            for _ in range(count):
                offset += 8 + length_at(content, offset)[0]
        except (struct.error, OverflowError, IndexError):
            raise self.damaged("ends in a list of strings that starts") from None
        self.offset = offset
        self._advance(0)

    def _text(self, length: int) -> str:
        start = self.offset
        self._advance(length)
        return self._content[start : self.offset].decode("utf-8", errors="replace")

    def _advance(self, count: int) -> None:
        if count > self._end - self.offset:
            raise self.damaged(f"ends where {count} more bytes are promised")
        self.offset += count
