import asyncio

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.specs import Serving
from orchestrator.engines.llama.local import LlamaBinaryLauncher
from orchestrator.errors import StartFailed
from tests.unit.engines.launched import INSTANCE, ON_HOST, real_model, spec_of

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


def with_launcher(candidates, scene) -> None:
    asyncio.run(scene(LlamaBinaryLauncher(candidates, physical_cores=2)))


def test_the_first_server_that_starts_is_taken(server):
    broken, good = server("broken", "kill -ILL $$"), server("good", works())

    async def scene(launcher):
        assert await launcher.check(spec_of(file=str(real_model()))) is None
        launch = launcher.launch(INSTANCE, spec_of(file="/m.gguf"), ON_HOST)
        assert launch.argv[:3] == (str(good), "-m", "/m.gguf")
        assert launch.env["CUDA_VISIBLE_DEVICES"] == ""
        assert launch.devices == ("host",)

    with_launcher([broken, good], scene)


def test_no_server_that_starts_is_told_by_the_first_cause(server, tmp_path):
    async def scene(launcher):
        failure = await launcher.check(spec_of(file=str(real_model())))
        assert failure.reason is FailureReason.BINARY_MISSING
        assert "another processor" in failure.detail

    with_launcher([server("broken", "kill -ILL $$"), tmp_path / "none"], scene)


def test_no_server_at_all_is_told_with_the_way_out():
    async def scene(launcher):
        failure = await launcher.check(spec_of(file=str(real_model())))
        assert "No llama-server" in failure.detail
        assert "xllamacpp" in failure.remedy
        with pytest.raises(StartFailed):
            launcher.launch(INSTANCE, spec_of(file="/m.gguf"), ON_HOST)

    with_launcher([], scene)


def test_a_replaced_server_is_asked_again_and_an_unchanged_one_is_not(server, tmp_path):
    count = tmp_path / "count"

    async def scene(launcher):
        await launcher.prepare()
        await launcher.prepare()
        assert count.read_text().count("x") == 2
        assert "--fit" not in launcher.launch(INSTANCE, spec_of(file="/m"), ON_HOST).argv
        server("it", works("--fit [on|off]                          whether to fit"))
        await launcher.prepare()
        assert "--fit" in launcher.launch(INSTANCE, spec_of(file="/m"), ON_HOST).argv

    with_launcher([server("it", f"printf x >> {count}\n{works()}")], scene)


def test_a_broken_file_is_found_before_anything_starts(server, tmp_path):
    text = tmp_path / "text.gguf"
    text.write_text("not a model")

    async def scene(launcher):
        failure = await launcher.check(spec_of(file=str(text)))
        assert failure.reason is FailureReason.MODEL_FILE

    with_launcher([server("good", works())], scene)


def test_callers_at_the_same_time_all_get_the_answer(server):
    async def scene(launcher):
        assert await asyncio.gather(*(launcher.prepare() for _ in range(3))) == [None] * 3

    with_launcher([server("good", works())], scene)


def test_an_argument_that_this_build_does_not_know_is_found_before_anybody_leaves(server, tmp_path):
    async def scene(launcher):
        spec = spec_of(
            file=str(tmp_path / "a.gguf"), serving=Serving(extra_args=("--new-flag", "1"))
        )
        failure = await launcher.check(spec)
        assert failure.reason is FailureReason.ARGUMENTS
        assert "knows no --new-flag" in failure.detail

    with_launcher([server("good", works())], scene)
