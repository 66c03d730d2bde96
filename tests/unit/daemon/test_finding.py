"""Where models are looked for on this machine."""

from dataclasses import replace

import pytest

from orchestrator.config.loading import OWN_CONFIG, load_config
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.daemon.finding import NAMED_MAX, greeting, runs_here
from tests.factories import spec


@pytest.mark.parametrize("there", [True, False])
def test_a_service_runs_here_if_its_program_is_here(tmp_path, there):
    binary = tmp_path / "llama-server"
    if there:
        binary.write_text("")
    entry = ServiceEntry(engine="llama_cpp", binary=str(binary))
    assert runs_here(entry) is there
    docker = ServiceEntry(engine="llama_cpp", runtime=RuntimeName.DOCKER, image="i")
    assert runs_here(docker)


def greeted(tmp_path, specs, discovery="{}", path=None, runs=True):
    file = tmp_path / "o.yaml"
    file.write_text(f"discovery: {discovery}\nservices: {{local: {{engine: llama_cpp}}}}")
    config = load_config(file, environ={})
    if path is not None:
        config = replace(config, path=path)
    named = {each: spec(each, gib=1) for each in specs}
    return " ".join(greeting(config, named, lambda _: runs))


def test_a_start_says_what_there_is_or_what_to_type(tmp_path):
    said = greeted(tmp_path, ["a", "b"])
    assert said == "models: a, b"
    many = greeted(tmp_path, [f"m{n}" for n in range(NAMED_MAX + 3)])
    assert "and 3 more" in many
    nothing = greeted(tmp_path, [])
    assert "orchestrator serve DIR" in nothing
    assert "orchestrator add ORG/REPO:Q4_K_M" in nothing
    assert "under /m" in greeted(tmp_path, [], "{folders: [/m]}")
    assert "llama-server" not in greeted(tmp_path, ["a"], runs=False)
    assert "neither a llama-server" in greeted(tmp_path, ["a"], path=OWN_CONFIG, runs=False)
