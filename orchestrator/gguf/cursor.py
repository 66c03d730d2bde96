"""Steps through the bytes of a GGUF header, value by value, and never past their end.

Nothing is allocated or repeated on the word of the file alone: a length is checked against what
is left, and what cannot be checked that way has a bound named here.
"""

import struct
from collections.abc import Callable
from pathlib import Path

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Skipped, Value

# The largest vocabularies have 262 144 words and 514 906 merges; stepping over a string costs
# 70 ns, so a hostile file can take a third of a second and no more.
STRINGS_MAX = 4_000_000
# The largest vocabularies, with their merges and a tokenizer in full, make headers of 50 MB. A file
# whose header never ends is read so far, in half a second, and no further.
HEADER_BYTES_MAX = 512 << 20
# What is read at once: a small header whole, a large one in some ten steps.
CHUNK_BYTES = 1 << 20
# ggml allows 64 bytes for the name of a tensor; no key comes near this either.
NAME_BYTES_MAX = 256
# Longer strings are licences and the like: nothing that is asked of a header.
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


_CUT = "ends where {} more bytes are promised"
_CUT_LIST = "ends in a list of strings"

# Bytes of the file from an offset on, at most so many; fewer only where the file ends.
Read = Callable[[int, int], bytes]


class Cursor:
    """A place in a file; every step moves it on or raises `GgufError`.

    Holds one chunk of the file at a time, and reads the next one when a step leads out of it. What
    is stepped over is not read. What `read` raises passes.
    """

    def __init__(self, path: Path, read: Read, size_bytes: int) -> None:
        self.path = path
        self._read = read
        self._chunk = b""
        self._chunk_start = 0
        self._at = 0  # in the chunk, or behind its end where something was stepped over
        self._size = size_bytes
        self._strings_left = STRINGS_MAX

    @property
    def offset(self) -> int:
        return self._chunk_start + self._at

    def take(self, layout: struct.Struct) -> tuple[int, ...]:
        start = self._hold(layout.size)
        self._at += layout.size
        return layout.unpack_from(self._chunk, start)

    def name(self) -> str:
        (length,) = self.take(_LENGTH)
        if length > NAME_BYTES_MAX:
            raise self.damaged(f"has a name of {length} bytes")
        return self._text(length)

    def value(self, kept_bytes: int = STRING_KEPT_BYTES_MAX) -> Value:
        """A string of more than `kept_bytes` is stepped over."""
        (kind,) = self.take(_TYPE)
        if kind == _STRING:
            return self._string(kept_bytes)
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

    def _string(self, kept_bytes: int) -> str | Skipped:
        (length,) = self.take(_LENGTH)
        if length <= kept_bytes:
            return self._text(length)
        self._step_over(length)
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
        if length > NUMBERS_KEPT_MAX:
            self._step_over(length * layout.size)
            return Skipped(length)
        numbers = layout.iter_unpack(self._bytes(length * layout.size))
        return tuple(number for (number,) in numbers)

    def _skip_strings(self, count: int) -> None:
        """The hot loop of this package: nearly all bytes of a header are passed here."""
        self._strings_left -= count
        if self._strings_left < 0:
            raise self.damaged(f"has a list of {count} strings ({STRINGS_MAX} in all are allowed)")
        left, length_at = count, _LENGTH.unpack_from
        while left:
            at, chunk = self._hold(_LENGTH.size, _CUT_LIST), self._chunk
            try:
                for passed in range(left):  # noqa: B007 - counted for what comes below
                    at += 8 + length_at(chunk, at)[0]
                left = 0
            except (struct.error, OverflowError):
                left -= passed  # the next length is not in this chunk
            self._at = at
            self._require(0, _CUT_LIST)

    def _text(self, length: int) -> str:
        return self._bytes(length).decode("utf-8", errors="replace")

    def _bytes(self, count: int) -> bytes:
        start = self._hold(count)
        self._at += count
        return self._chunk[start : self._at]

    def _step_over(self, count: int) -> None:
        self._require(count)
        self._at += count

    def _hold(self, count: int, cut: str = _CUT) -> int:
        """Where in the chunk the next `count` bytes start: all of them are in it afterwards."""
        if self._at + count > len(self._chunk):
            self._require(count, cut)
            self._chunk_start, self._at, self._chunk = self.offset, 0, b""
            self._chunk = self._read(self._chunk_start, max(count, CHUNK_BYTES))
            if len(self._chunk) < count:
                raise self.damaged(cut.format(count))
        return self._at

    def _require(self, count: int, cut: str = _CUT) -> None:
        if count > self._size - self.offset:
            raise self.damaged(cut.format(count))
        if count > HEADER_BYTES_MAX - self.offset:
            raise self.damaged(f"has a header of more than {HEADER_BYTES_MAX >> 20} MiB")
