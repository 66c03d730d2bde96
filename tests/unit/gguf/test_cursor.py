"""Steps through bytes that may be anything."""

import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.gguf.cursor import NUMBERS_KEPT_MAX, STRINGS_MAX, Cursor
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Skipped, Value
from tests.unit.gguf.gguf_files import ARRAY, STRING, UINT32, text, value_bytes

Open = Callable[[bytes], Cursor]


@pytest.fixture
def over(tmp_path: Path) -> Iterator[Open]:
    """A cursor over the given bytes."""
    maps: list[mmap.mmap] = []

    def open_cursor(content: bytes) -> Cursor:
        path = tmp_path / "bytes"
        path.write_bytes(content)
        with path.open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return Cursor(path, maps[-1])

    yield open_cursor
    for each in maps:
        each.close()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (value_bytes(7), 7),
        (value_bytes(0.5), 0.5),
        (value_bytes(True), True),
        (value_bytes("llama"), "llama"),
        (value_bytes([1, 2, 3]), (1, 2, 3)),
        (value_bytes(["a", "", "ccc"]), Skipped(3)),
        (value_bytes("x" * 5000), Skipped(5000)),
        (value_bytes([1] * (NUMBERS_KEPT_MAX + 1)), Skipped(NUMBERS_KEPT_MAX + 1)),
        (struct.pack("<IIQ", ARRAY, UINT32, 0), ()),
    ],
)
def test_reads_every_kind_of_value_and_stops_behind_it(
    over: Open, content: bytes, expected: Value
) -> None:
    cursor = over(content + b"rest")
    assert cursor.value() == expected
    assert cursor.offset == len(content)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (struct.pack("<I", 13), "unknown type 13"),
        (struct.pack("<IIQ", ARRAY, 77, 1), "array of unknown type 77"),
        (struct.pack("<IIQ", ARRAY, ARRAY, 1), "nests arrays"),
        (struct.pack("<IIQ", ARRAY, UINT32, 1 << 63), "more bytes are promised"),
        (struct.pack("<IQ", STRING, 1 << 63), "more bytes are promised"),
        (struct.pack("<IIQ", ARRAY, STRING, 1 << 63), f"{STRINGS_MAX} in all are allowed"),
        (struct.pack("<IIQ", ARRAY, STRING, 3) + text("a"), "ends in a list of strings"),
        (struct.pack("<IIQQ", ARRAY, STRING, 2, 1 << 63), "ends in a list of strings"),
        (struct.pack("<IIQQ", ARRAY, STRING, 1, 1 << 62), "more bytes are promised"),
        (struct.pack("<IIQQ", ARRAY, STRING, 2, (1 << 64) - 8), "ends in a list of strings"),
        (b"\x04", "more bytes are promised"),
    ],
)
def test_refuses_what_cannot_be_true(over: Open, content: bytes, complaint: str) -> None:
    with pytest.raises(GgufError, match=complaint):
        over(content).value()


def test_the_bound_on_strings_holds_over_all_lists_together(over: Open) -> None:
    one = struct.pack("<IIQ", ARRAY, STRING, STRINGS_MAX // 2 + 1)
    cursor = over(one + bytes(8 * (STRINGS_MAX // 2 + 1)) + one)
    assert cursor.value() == Skipped(STRINGS_MAX // 2 + 1)
    with pytest.raises(GgufError, match="in all are allowed"):
        cursor.value()


def test_a_name_as_long_as_the_file_is_refused(over: Open) -> None:
    with pytest.raises(GgufError, match="a name of 300 bytes"):
        over(struct.pack("<Q", 300) + bytes(300)).name()


def test_names_that_are_not_utf8_are_readable_all_the_same(over: Open) -> None:
    assert over(struct.pack("<Q", 2) + b"\xffk").name() == "\ufffdk"
