"""What stands in a head, and how a file ends; the rest is told by real files in test_files.py."""

import os

import pytest

from orchestrator.access.audit.chain import read_head, tail_of
from orchestrator.access.audit.lines import NOTHING_YET, Act, Head, encode
from orchestrator.access.caller import THE_DAEMON

DIGEST = "ab" * 32


def test_a_head_may_be_shortened():
    assert read_head(f"7:{DIGEST}") == Head(7, DIGEST)
    assert read_head(f" 7:{DIGEST[:12].upper()}\n") == Head(7, DIGEST[:12])


@pytest.mark.parametrize(
    "text", ["", "7", "7:", f"7:{DIGEST[:11]}", f"-1:{DIGEST}", f"7:{DIGEST}0", "x:y"]
)
def test_what_is_no_head_is_refused(text):
    with pytest.raises(ValueError, match="SEQ:HASH"):
        read_head(text)


def written(path, *rows):
    path.write_bytes(b"".join(rows))
    return os.open(path, os.O_RDONLY)


def row(after=NOTHING_YET, target="x"):
    raw, head = encode(Act(action="a", caller=THE_DAEMON, target=target), at="now", after=after)
    return raw + b"\n", head


@pytest.mark.parametrize("torn", [b"", b'{"seq":3'])
def test_the_end_of_a_file_is_its_last_whole_line(tmp_path, torn):
    first, head = row()
    second, last = row(head, "y" * 100_000)
    tail = tail_of(written(tmp_path / "a", first, second, torn))
    assert tail.head == last
    assert (tail.bytes, tail.torn_bytes) == (len(first) + len(second), len(torn))
    assert tail.readable


def test_lines_of_others_at_the_end_are_counted(tmp_path):
    first, _ = row()
    tail = tail_of(written(tmp_path / "a", first, b"what?\n", b"and\n"))
    assert tail.head is not None
    assert (tail.head.seq, tail.readable) == (3, False)


@pytest.mark.parametrize(("rows", "torn"), [((), 0), ((b"torn",), 4)])
def test_a_file_without_a_line(tmp_path, rows, torn):
    tail = tail_of(written(tmp_path / "a", *rows))
    assert (tail.head, tail.bytes, tail.torn_bytes) == (None, 0, torn)


def test_a_file_of_nothing_of_ours(tmp_path):
    tail = tail_of(written(tmp_path / "a", b"one\n", b"two\n"))
    assert tail.head is not None
    assert (tail.head.seq, tail.readable) == (2, False)
