import pytest

from orchestrator.config.loading import load_config
from orchestrator.errors import ConfigInvalid


def load(tmp_path, text):
    file = tmp_path / "o.yaml"
    file.write_text(text)
    return load_config(file, environ={"HOME": "/home/op"})


def test_there_is_none_unless_one_is_wanted(tmp_path):
    assert load(tmp_path, "state_dir: ./s").edge is None


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("edge: {}\nstate_dir: /s", "/s/edge"),
        ("edge: {}\nstate_dir: ~/s", "/home/op/s/edge"),
        ("edge: {dir: /run/edge}", "/run/edge"),
        ("edge: {dir: '${NONE:-~/e}'}", "/home/op/e"),
    ],
)
def test_its_folder_is_absolute(tmp_path, text, folder):
    edge = load(tmp_path, text).edge
    assert (edge.dir, edge.port) == (folder, 8080)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"edge: {{dir: /{'x' * 100}}}", "edge.dir: /xxx.*107 bytes.*shorter"),
        ("edge: {port: 8000}", "edge.port: is the daemon's own"),
        ("edge: {dir: '${NONE}/e'}", "edge.dir: the environment has no NONE"),
        ("edge: {port: 0}", "edge.port"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, text, said):
    with pytest.raises(ConfigInvalid, match=said):
        load(tmp_path, text)
