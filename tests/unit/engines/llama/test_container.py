"""llama.cpp's server in a container: what is launched, and how its end is read."""

from pathlib import Path

import pytest

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Placement
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.engines.llama.container import IMAGE_FLAGS, PROGRAM, LlamaContainer
from orchestrator.ports import HOST_TOKEN, PORT_TOKEN, Exit
from tests.unit.engines.launched import INSTANCE, spec_of, with_http

MODELS = Path("/models")
HUB = Path("/hf-cache")
GPU = DeviceId("GPU-aaaa")
ON_GPU = Placement(((GPU, 4 * GiB),))
SPEC = spec_of(file="/models/a.gguf")
GONE = Failure(reason=FailureReason.IMAGE_MISSING, detail="no such image")


async def nothing_lacks(spec):
    return None


async def all_is_gone(spec):
    return GONE


def made(http, *, image="llama-service:cuda", container=None, lacking=nothing_lacks, **changes):
    return LlamaContainer(
        http,
        image=image,
        container=container,
        models_dir=MODELS,
        hub_home=HUB,
        physical_cores=4,
        lacking=lacking,
        **changes,
    )


def play(scene):
    async def played(http):
        await scene(http)

    with_http(played)


def test_a_model_of_a_hub_sees_the_hubs_cache():
    async def scene(http):
        cached = spec_of(file="/hf-cache/hub/a.gguf", hub="org/repo:a.gguf")
        assert made(http).launch(INSTANCE, cached, ON_GPU).mounts == (MODELS, HUB)

    play(scene)


def test_an_image_runs_the_server_with_everything_said():
    async def scene(http):
        launch = made(http).launch(INSTANCE, SPEC, ON_GPU)
        assert launch.argv[:3] == (PROGRAM, "-m", "/models/a.gguf")
        words = " ".join(launch.argv)
        for said in (f"--host {HOST_TOKEN} --port {PORT_TOKEN}", "--fit off", "--cors-origins"):
            assert said in words
        assert (launch.image, launch.container) == ("llama-service:cuda", None)
        assert (launch.mounts, launch.devices) == ((MODELS,), (GPU,))
        assert launch.env["CUDA_VISIBLE_DEVICES"] == GPU

    play(scene)


def test_a_named_container_is_started_as_it_was_defined():
    async def scene(http):
        launch = made(http, image=None, container="llama-cpp").launch(INSTANCE, SPEC, ON_GPU)
        assert (launch.container, launch.image, launch.argv) == ("llama-cpp", None, ())

    play(scene)


@pytest.mark.parametrize("container", [None, "llama-cpp"])
def test_what_the_engine_lacks_is_told_before_a_start(container):
    async def scene(http):
        image = None if container else "llama-service:cuda"
        engine = made(http, image=image, container=container, lacking=all_is_gone)
        assert await engine.check(SPEC) == GONE

    play(scene)


def test_a_broken_file_is_told_where_it_is_ours_to_see():
    async def scene(http):
        def torn(path):
            return "it ends in the middle"

        failure = await made(http, file_problem=torn).check(spec_of(file=__file__))
        assert failure.reason is FailureReason.MODEL_FILE
        named = made(http, image=None, container="llama-cpp", file_problem=torn)
        assert await named.check(spec_of(file=__file__)) is None

    play(scene)


def test_a_limit_of_host_ram_is_not_a_lack_of_vram():
    killed = Exit(code=137, out_of_memory=True, log_tail=("load_tensors: loading",))

    async def scene(http):
        limited = made(http, memory_mb=64).classify(killed)
        assert (limited.reason, limited.log_tail) == (FailureReason.EXITED, killed.log_tail)
        assert "64 MB" in limited.detail
        assert "memory_mb" in limited.remedy
        assert made(http).classify(killed).reason is FailureReason.OUT_OF_MEMORY
        other = made(http, memory_mb=64).classify(Exit(code=1))
        assert other.reason is FailureReason.EXITED

    play(scene)


def test_every_flag_with_a_value_is_one_that_the_image_knows():
    assert IMAGE_FLAGS.valued <= IMAGE_FLAGS.names
