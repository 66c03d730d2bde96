import pytest

from orchestrator.access.resident_keys import ResidentKeys, no_bearer

HERE = "127.0.0.1:4711"


def test_a_key_is_in_a_file_of_its_own_and_known_to_who_asks(tmp_path):
    keys = ResidentKeys(tmp_path / "keys")
    file = keys.make(HERE)
    assert keys.bearer(f"http://{HERE}/v1/models") == f"Bearer {file.read_text().strip()}"
    assert keys.bearer("http://127.0.0.1:4712/") is None
    assert len(file.read_text().strip()) == 43
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_next_life_finds_it_again(tmp_path):
    file = ResidentKeys(tmp_path / "keys").make(HERE)
    assert (
        ResidentKeys(tmp_path / "keys").bearer(f"http://{HERE}")
        == f"Bearer {file.read_text()[:-1]}"
    )


def test_each_server_has_another_one_and_none_is_left(tmp_path):
    keys = ResidentKeys(tmp_path / "keys")
    first = keys.make(HERE).read_text()
    second = keys.make(HERE)
    assert second.read_text() != first
    keys.drop(HERE)
    keys.drop(HERE)
    assert keys.bearer(f"http://{HERE}") is None
    assert not second.exists()


def test_a_link_that_lies_there_is_not_written_through(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "keys" / HERE).symlink_to(tmp_path / "elsewhere")
    ResidentKeys(tmp_path / "keys").make(HERE)
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_what_cannot_be_written_is_raised(tmp_path):
    (tmp_path / "keys").write_text("")
    with pytest.raises(OSError, match="keys"):
        ResidentKeys(tmp_path / "keys").make(HERE)


def test_without_keys_nobody_hears_one():
    assert no_bearer(f"http://{HERE}") is None


def test_a_server_of_somebody_else_hears_the_key_that_was_given(tmp_path):
    keys = ResidentKeys(tmp_path / "keys")
    keys.take("http://llama-cpp:8000", "theirs")
    assert keys.bearer("http://llama-cpp:8000/v1/models") == "Bearer theirs"
    assert keys.bearer(f"http://{HERE}") is None
    assert not (tmp_path / "keys").exists(), "theirs is not kept"
