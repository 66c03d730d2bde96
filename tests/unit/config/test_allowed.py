"""Files that the operator lets servers read beside their roots."""

import pytest

from orchestrator.config.allowed import ALLOWED_FILE, allow, allowed_files, opened
from orchestrator.config.sections import RuntimeName, ServiceEntry

LOCAL = ServiceEntry(engine="llama_cpp", allowed_roots=("/r",))


def test_what_was_allowed_is_kept(tmp_path):
    assert allowed_files(tmp_path) == ()
    allow(tmp_path, [tmp_path / "a"])
    allow(tmp_path, [tmp_path / "b", tmp_path / "a"])
    assert allowed_files(tmp_path) == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert [path.name for path in tmp_path.iterdir()] == [ALLOWED_FILE]


@pytest.mark.parametrize("text", ["", "{}", '[1, ""]', "\xff"])
def test_a_damaged_list_allows_nothing(tmp_path, text):
    (tmp_path / ALLOWED_FILE).write_text(text, encoding="latin-1")
    assert allowed_files(tmp_path) == ()


def test_who_may_not_write_there_is_told(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        allow(tmp_path / "gone", [tmp_path])


def test_only_servers_that_see_this_machines_files_get_more_roots(tmp_path):
    allow(tmp_path, [tmp_path / "a.gguf"])
    roots = opened(LOCAL, ["/m"], tmp_path).allowed_roots
    assert roots == ("/r", "/m", str(tmp_path / "a.gguf"))
    docker = ServiceEntry(engine="llama_cpp", runtime=RuntimeName.DOCKER, image="i")
    fake = ServiceEntry(engine="fake")
    for entry in (docker, fake):
        assert opened(entry, ["/m"], tmp_path) == entry
