"""What is run for a model of engine command, and what is not said there."""

import pytest

from orchestrator.config.models import build_spec, declared_only
from orchestrator.config.programs import program_of
from orchestrator.config.sections import ModelEntry, RuntimeName, ServiceEntry
from orchestrator.config.services import service_mistakes
from orchestrator.config.yaml_lines import show
from orchestrator.core.values.specs import Program

RUN = ("server", "--port", "${PORT}", "--model", "${MODEL}")


def service(**keys):
    return ServiceEntry(**{"engine": "command", "command": RUN, **keys})


def entry(**keys):
    return ModelEntry(**{"service": "s", "vram_mb": 100, **keys})


def complaints(entry, service):
    found = build_spec("m", entry, service, declared_only)
    return {show(mistake.where): mistake.sentence for mistake in found.mistakes}


def test_a_model_runs_its_own_command_or_its_services():
    assert program_of(entry(), service(env=("A=1",))) == Program(argv=RUN, env=(("A", "1"),))
    own = entry(command=("mine", "${PORT}"), env=("A=2", "B=x=y"))
    assert program_of(own, service(env=("A=1",))) == Program(
        argv=("mine", "${PORT}"), env=(("A", "2"), ("B", "x=y"))
    )
    assert program_of(entry(), ServiceEntry(engine="fake")) is None


def test_its_settings_are_where_its_command_is_written():
    spec = build_spec("m", entry(), service(), declared_only).spec
    assert spec.program.argv == RUN
    assert not spec.settings_ours
    found = complaints(entry(context_size=4096, file="a.gguf"), service())
    assert found["context_size"] == "would change nothing: set it where its command is written"
    assert found["file"] == "is not read by engine command: remove it"


def test_another_command_is_another_server():
    one, same, other = (
        build_spec("m", entry(command=words), service(), declared_only).spec
        for words in (None, RUN, ("mine", "${PORT}"))
    )
    assert one.launches_like(same)
    assert not one.launches_like(other)


def test_one_of_both_must_say_what_is_run_and_what_it_takes():
    assert (
        "is required, here or in the service"
        in complaints(entry(), service(command=None))["command"]
    )
    found = complaints(ModelEntry(service="s"), service())
    assert "is required" in found["vram_mb"]


def test_other_engines_know_what_they_run():
    wheel = ServiceEntry(engine="xllamacpp", models_dir="/m", command=RUN, metrics="/metrics")
    found = {show(mistake.where): mistake.sentence for mistake in service_mistakes(wheel)}
    assert found["command"] == "is only for engine command"
    assert "only for engines command and container" in found["metrics"]
    own = complaints(
        entry(file="a.gguf", command=RUN),
        ServiceEntry(engine="xllamacpp", models_dir="/m"),
    )
    assert own["command"] == "is only for models of a service with engine command"


@pytest.mark.parametrize(
    ("keys", "where", "words"),
    [
        ({"busy": ("queue",)}, "busy", "needs metrics"),
        ({"command": ("server",)}, "command", "must hold ${PORT}"),
        ({"env": ("CUDA_VISIBLE_DEVICES=0",)}, "env[0]", "is not for env"),
        ({"runtime": RuntimeName.DOCKER, "container": "a"}, "container", "use engine container"),
        ({"runtime": RuntimeName.DOCKER}, "image", "docker needs either an image"),
    ],
)
def test_what_does_not_go_together_in_a_service(keys, where, words):
    found = {show(mistake.where): mistake.sentence for mistake in service_mistakes(service(**keys))}
    assert words in found[where]


def test_a_llama_server_may_have_an_environment_but_no_arguments_in_it():
    def said(**keys):
        service = ServiceEntry(engine="llama_cpp", models_dir="/m", **keys)
        return {show(mistake.where): mistake.sentence for mistake in service_mistakes(service)}

    assert not said(env=("GGML_CUDA_FORCE_MMQ=1",))
    assert "is a key of the model" in said(env=("LLAMA_ARG_CTX_SIZE=1",))["env[0]"]
    elsewhere = said(env=("A=1",), runtime=RuntimeName.EXTERNAL, url="http://a")
    assert "whose servers we start" in elsewhere["env"]


def test_a_program_without_metrics_does_not_tell_whether_it_is_in_use():
    def told(**keys):
        return build_spec("m", entry(), service(**keys), declared_only).spec.tells_use

    assert told(metrics="/metrics")
    assert not told()
    fake = build_spec("m", entry(), ServiceEntry(engine="fake"), declared_only).spec
    assert fake.tells_use
