from datetime import datetime

import pytest

from orchestrator.cli.connect import files
from orchestrator.cli.connect.files import write
from orchestrator.cli.connect.merging import NotMerged

NOW = datetime(2026, 1, 15, 10, 30)  # noqa: DTZ001 - as a name of a file has it


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_new_file_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "new" / "settings.json"
    written = write(path, lambda old: old + "x", NOW)
    assert path.read_text() == "x"
    assert path.stat().st_mode & 0o777 == 0o600
    assert written.backup is None
    assert names(path.parent) == ["settings.json"]


def test_what_was_there_is_kept_beside_it(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("old")
    path.chmod(0o640)
    written = write(path, lambda old: old + "+new", NOW)
    assert path.read_text() == "old+new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert written.backup.read_text() == "old"
    assert written.backup.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["settings.json", "settings.json.20260115-103000.bak"]


def test_nothing_new_writes_nothing(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("old")
    assert not write(path, lambda old: old, NOW).changed
    assert names(tmp_path) == ["settings.json"]


def test_a_link_stays_one(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    write(link, lambda _: "new", NOW)
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_lines_end_as_they_did(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a\r\nb\r\n")
    write(path, lambda old: old + "c\n", NOW)
    assert path.read_bytes() == b"a\r\nb\r\nc\r\n"


def refuse(old):
    raise NotMerged("no")


def test_a_file_that_cannot_take_it_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(NotMerged, match="UTF-8"):
        write(path, str, NOW)
    path.write_text("old")
    with pytest.raises(NotMerged, match="no"):
        write(path, refuse, NOW)
    with pytest.raises(NotMerged, match="no file"):
        write(tmp_path, str, NOW)
    monkeypatch.setattr(files, "FILE_BYTES_MAX", 2)
    with pytest.raises(NotMerged, match="more than 2"):
        write(path, str, NOW)
    assert names(tmp_path) == ["x"]
    assert path.read_text() == "old"


def test_a_failure_leaves_no_half_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write(path, lambda _: "\ud800", NOW)
    assert path.read_text() == "old"
    assert not [name for name in names(tmp_path) if name.startswith(".")]
