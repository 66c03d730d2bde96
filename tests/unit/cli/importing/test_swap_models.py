"""One model of llama-swap's configuration."""

from pathlib import Path

import pytest

from orchestrator.cli.importing.drafts import Draft
from orchestrator.cli.importing.macros import Macros
from orchestrator.cli.importing.swap_models import NotTaken, put, taken


def made(**said):
    return taken("m", said, Macros({}), Path("/home/op"))


def test_a_file_that_is_here_needs_no_guess(tmp_path):
    file = tmp_path / "a.gguf"
    file.write_text("")
    found = made(cmd=f"llama-server -m {file} -c 1")
    assert found.model.keys == {"file": str(file), "context_size": 1}
    assert found.files == [str(file)]


def test_relative_paths_are_meant_from_the_files_folder():
    found = made(cmd="./bin/llama-server -m ../models/a.gguf -c 1")
    assert found.model.keys["file"] == "/home/models/a.gguf"
    assert found.service_keys["binary"] == "/home/op/bin/llama-server"


@pytest.mark.parametrize("cmd", ["", None, "run 'half", "# only a comment"])
def test_without_a_command_there_is_no_model(cmd):
    with pytest.raises(NotTaken):
        made(cmd=cmd)


def test_variables_before_a_command_are_its_environment():
    found = made(cmd="A=1 B=2 run ${PORT}", env=["C=3"])
    assert found.model.keys["command"] == ["run", "${PORT}"]
    assert found.model.keys["env"] == ["C=3", "A=1", "B=2"]


def test_it_joins_the_service_that_talks_alike():
    draft = Draft(head=())
    assert put(draft, "a", made(cmd="run ${PORT}")) == put(draft, "b", made(cmd="walk ${PORT}"))
    assert put(draft, "c", made(cmd="run ${PORT}", checkEndpoint="/ready")) == "programs-2"
    assert draft.models["a"].keys["service"] == "programs"
