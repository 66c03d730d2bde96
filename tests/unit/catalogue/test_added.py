"""The file of the models that were put through the API."""

import pytest

from orchestrator.catalogue.added import ADDED_FILE, read_added, write_added
from orchestrator.errors import ConfigInvalid, RegistryFailed

ADDED = {"new": {"service": "rehearsal", "vram_mb": 200}}


def test_what_is_written_is_read_again_and_before_that_there_is_none(tmp_path):
    assert read_added(tmp_path) == {}
    write_added(tmp_path, ADDED)
    assert read_added(tmp_path) == ADDED
    assert [each.name for each in tmp_path.iterdir()] == [ADDED_FILE]


@pytest.mark.parametrize("text", ["{", "[]", '{"new": 3}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / ADDED_FILE).write_text(text)
    with pytest.raises(ConfigInvalid, match=ADDED_FILE):
        read_added(tmp_path)


def test_a_disk_that_refuses_is_said_and_nothing_is_left_there(tmp_path):
    with pytest.raises(RegistryFailed, match=ADDED_FILE):
        write_added(tmp_path / "gone", ADDED)
    (tmp_path / ADDED_FILE).mkdir()
    with pytest.raises(RegistryFailed, match=ADDED_FILE):
        write_added(tmp_path, ADDED)
    assert [each.name for each in tmp_path.iterdir()] == [ADDED_FILE]
