import asyncio

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.engines.llama.local import LlamaCpp
from orchestrator.errors import StartFailed
from tests.unit.engines.launched import INSTANCE, ON_HOST, real_model, spec_of, with_http

HELP = "-m,    --model FNAME                    model path"


@pytest.fixture
def server(tmp_path):
    def write(name: str, body: str):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write


def works(extra: str = "") -> str:
    return f'if [ "$1" = --help ]; then printf -- "{HELP}\\n{extra}\\n"; else echo v1; fi'


def with_engine(candidates, scene) -> None:
    with_http(lambda http: scene(LlamaCpp(candidates, http, physical_cores=2)))


def test_the_first_server_that_starts_is_taken(server):
    broken, good = server("broken", "kill -ILL $$"), server("good", works())

    async def scene(engine):
        assert await engine.check(spec_of(file=str(real_model()))) is None
        launch = engine.launch(INSTANCE, spec_of(file="/m.gguf"), ON_HOST)
        assert launch.argv[:3] == (str(good), "-m", "/m.gguf")
        assert launch.env["CUDA_VISIBLE_DEVICES"] == ""
        assert launch.devices == ("host",)

    with_engine([broken, good], scene)


def test_no_server_that_starts_is_told_by_the_first_cause(server, tmp_path):
    async def scene(engine):
        failure = await engine.check(spec_of(file=str(real_model())))
        assert failure.reason is FailureReason.BINARY_MISSING
        assert "another processor" in failure.detail

    with_engine([server("broken", "kill -ILL $$"), tmp_path / "none"], scene)


def test_no_server_at_all_is_told_with_the_way_out():
    async def scene(engine):
        failure = await engine.check(spec_of(file=str(real_model())))
        assert "No llama-server" in failure.detail
        assert "xllamacpp" in failure.remedy
        with pytest.raises(StartFailed):
            engine.launch(INSTANCE, spec_of(file="/m.gguf"), ON_HOST)

    with_engine([], scene)


def test_a_replaced_server_is_asked_again_and_an_unchanged_one_is_not(server, tmp_path):
    count = tmp_path / "count"

    async def scene(engine):
        await engine.prepare()
        await engine.prepare()
        assert count.read_text().count("x") == 2
        assert "--fit" not in engine.launch(INSTANCE, spec_of(file="/m"), ON_HOST).argv
        server("it", works("--fit [on|off]                          whether to fit"))
        await engine.prepare()
        assert "--fit" in engine.launch(INSTANCE, spec_of(file="/m"), ON_HOST).argv

    with_engine([server("it", f"printf x >> {count}\n{works()}")], scene)


def test_a_broken_file_is_found_before_anything_starts(server, tmp_path):
    text = tmp_path / "text.gguf"
    text.write_text("not a model")

    async def scene(engine):
        failure = await engine.check(spec_of(file=str(text)))
        assert failure.reason is FailureReason.MODEL_FILE

    with_engine([server("good", works())], scene)


def test_callers_at_the_same_time_all_get_the_answer(server):
    async def scene(engine):
        assert await asyncio.gather(*(engine.prepare() for _ in range(3))) == [None] * 3

    with_engine([server("good", works())], scene)
