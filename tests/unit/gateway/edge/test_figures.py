import pytest

from orchestrator.gateway.edge import figures
from orchestrator.gateway.edge.figures import FigureLines


@pytest.fixture
def log(tmp_path):
    return tmp_path / "figures.log"


def add(log, *lines):
    with log.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))


def test_lines_are_read_once_also_by_a_successor(tmp_path, log):
    assert FigureLines(tmp_path).read() == ([], 0)
    add(log, b"1", b"2")
    assert FigureLines(tmp_path).read() == ([b"1", b"2"], 0)
    reader = FigureLines(tmp_path)
    assert reader.read() == ([], 0)
    add(log, b"3")
    assert reader.read() == ([b"3"], 0)


def test_a_line_is_read_when_it_is_whole(tmp_path, log):
    reader = FigureLines(tmp_path)
    log.write_bytes(b"1\n2")
    assert reader.read() == ([b"1"], 0)
    log.write_bytes(b"1\n22\n")
    assert reader.read() == ([b"22"], 0)


def test_a_file_that_was_read_is_begun_anew(tmp_path, log, monkeypatch):
    monkeypatch.setattr(figures, "CUT_BYTES", 4)
    reader = FigureLines(tmp_path)
    add(log, b"1", b"2")
    assert reader.read() == ([b"1", b"2"], 0)
    assert log.read_bytes() == b""
    add(log, b"3")
    assert reader.read() == ([b"3"], 0)


def test_of_too_many_the_newest_are_read_and_the_others_counted(tmp_path, log, monkeypatch):
    monkeypatch.setattr(figures, "LINES_MAX", 2)
    monkeypatch.setattr(figures, "READ_BYTES_MAX", 9)
    add(log, *(b"%02d" % number for number in range(20)))
    lines, passed_over = FigureLines(tmp_path).read()
    assert lines == [b"18", b"19"]
    assert passed_over == 18


def test_one_that_was_cut_by_others_is_read_from_its_beginning(tmp_path, log):
    reader = FigureLines(tmp_path)
    add(log, b"1", b"2", b"3")
    reader.read()
    log.write_bytes(b"4\n")
    assert reader.read() == ([b"4"], 0)
