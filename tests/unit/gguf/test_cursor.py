"""Steps through bytes that may be anything."""

import struct
from pathlib import Path

import pytest

from orchestrator.gguf import cursor as module
from orchestrator.gguf.cursor import NUMBERS_KEPT_MAX, STRINGS_MAX, Cursor
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Skipped, Value
from tests.unit.gguf.gguf_files import ARRAY, STRING, UINT32, text, value_bytes

PATH = Path("model.gguf")


def over(content: bytes) -> Cursor:
    """A cursor over the given bytes."""
    return Cursor(PATH, lambda offset, count: content[offset : offset + count], len(content))


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
def test_reads_every_kind_of_value_and_stops_behind_it(content: bytes, expected: Value) -> None:
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
        (struct.pack("<IIQQ", ARRAY, STRING, 1, 1 << 62), "ends in a list of strings"),
        (struct.pack("<IIQQ", ARRAY, STRING, 2, (1 << 64) - 8), "ends in a list of strings"),
        (b"\x04", "more bytes are promised"),
    ],
)
def test_refuses_what_cannot_be_true(content: bytes, complaint: str) -> None:
    with pytest.raises(GgufError, match=complaint):
        over(content).value()


def test_the_bound_on_strings_holds_over_all_lists_together() -> None:
    one = struct.pack("<IIQ", ARRAY, STRING, STRINGS_MAX // 2 + 1)
    cursor = over(one + bytes(8 * (STRINGS_MAX // 2 + 1)) + one)
    assert cursor.value() == Skipped(STRINGS_MAX // 2 + 1)
    with pytest.raises(GgufError, match="in all are allowed"):
        cursor.value()


def test_a_name_as_long_as_the_file_is_refused() -> None:
    with pytest.raises(GgufError, match="a name of 300 bytes"):
        over(struct.pack("<Q", 300) + bytes(300)).name()


def test_names_that_are_not_utf8_are_readable_all_the_same() -> None:
    assert over(struct.pack("<Q", 2) + b"\xffk").name() == "\ufffdk"


@pytest.mark.parametrize("chunk_bytes", [1, 8, 13, 64])
def test_a_header_reads_the_same_in_chunks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    words = ["", "a", "word" * 9, "", "x" * 100, "end"]
    values = (words, 7, "llama", [1, 2, 3], "x" * 5000, [1] * 2000, words, 0.5)
    cursor = over(b"".join(map(value_bytes, values)))
    read = [cursor.value() for _ in values]
    skipped = [Skipped(5000), Skipped(2000), Skipped(6)]
    assert read == [Skipped(6), 7, "llama", (1, 2, 3), *skipped, 0.5]
    with pytest.raises(GgufError, match="ends where 4 more bytes"):
        cursor.value()


def test_what_is_stepped_over_is_not_read() -> None:
    asked: list[tuple[int, int]] = []
    content = value_bytes("x" * (5 * module.CHUNK_BYTES)) + value_bytes(7)

    def read(offset: int, count: int) -> bytes:
        asked.append((offset, count))
        return content[offset : offset + count]

    cursor = Cursor(PATH, read, len(content))
    assert [cursor.value(), cursor.value()] == [Skipped(5 * module.CHUNK_BYTES), 7]
    assert [offset for offset, _ in asked] == [0, len(content) - 8]


def test_a_header_that_never_ends_is_read_up_to_its_bound_and_no_further() -> None:
    """A sparse file of strings so long that each leads to another chunk."""
    asked: list[int] = []
    one = struct.pack("<Q", module.CHUNK_BYTES)

    def read(offset: int, count: int) -> bytes:
        asked.append(offset)
        return (struct.pack("<IIQ", ARRAY, STRING, 1 << 20) if not offset else b"") + one * 3

    with pytest.raises(GgufError, match="a header of more than 512 MiB"):
        Cursor(PATH, read, 1 << 42).value()
    assert len(asked) <= module.HEADER_BYTES_MAX // module.CHUNK_BYTES + 1


def test_bytes_that_are_gone_since_the_size_was_read_are_an_error() -> None:
    content = value_bytes(["word"] * 100)
    for length in range(len(content) - len("word")):  # the last word is stepped over
        cut = content[:length]

        def read(offset: int, count: int, cut: bytes = cut) -> bytes:
            return cut[offset : offset + count]

        with pytest.raises(GgufError, match="ends"):
            Cursor(PATH, read, len(content)).value()
