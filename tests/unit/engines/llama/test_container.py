"""llama.cpp's server in a container of ours: what is launched, and what is checked before."""

import asyncio
from pathlib import Path

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Placement
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.engines.llama.container import IMAGE_FLAGS, PROGRAM, LlamaImageLauncher
from orchestrator.ports import HOST_TOKEN, PORT_TOKEN
from tests.unit.engines.launched import INSTANCE, spec_of

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


def made(*, lacking=nothing_lacks, **changes):
    return LlamaImageLauncher(
        "llama-service:cuda",
        models_dir=MODELS,
        hub_home=HUB,
        physical_cores=4,
        lacking=lacking,
        **changes,
    )


def test_a_model_of_a_hub_sees_the_hubs_cache():
    cached = spec_of(file="/hf-cache/hub/a.gguf", hub="org/repo:a.gguf")
    assert made().launch(INSTANCE, cached, ON_GPU).mounts == (MODELS, HUB)


def test_an_image_runs_the_server_with_everything_said():
    launch = made().launch(INSTANCE, SPEC, ON_GPU)
    assert launch.argv[:3] == (PROGRAM, "-m", "/models/a.gguf")
    words = " ".join(launch.argv)
    for said in (f"--host {HOST_TOKEN} --port {PORT_TOKEN}", "--fit off", "--cors-origins"):
        assert said in words
    assert (launch.image, launch.container) == ("llama-service:cuda", None)
    assert (launch.mounts, launch.devices) == ((MODELS,), (GPU,))
    assert launch.env["CUDA_VISIBLE_DEVICES"] == GPU


def test_what_docker_lacks_is_told_before_a_start():
    assert asyncio.run(made(lacking=all_is_gone).check(SPEC)) == GONE


def test_a_broken_file_is_told_before_a_start():
    failure = asyncio.run(
        made(file_problem=lambda _: "it ends in the middle").check(spec_of(file=__file__))
    )
    assert failure.reason is FailureReason.MODEL_FILE
    assert asyncio.run(made().check(spec_of())) is None, "no file is ours to see"


def test_adapters_of_the_models_folder_are_seen_and_said_in_one_list():
    adapted = spec_of(
        file="/models/a.gguf", lora=("/models/x.gguf", "/models/y.gguf"), lora_scales=(1.0, 0.5)
    )
    launch = made().launch(INSTANCE, adapted, ON_GPU)
    said = launch.argv[launch.argv.index("--lora-scaled") + 1]
    assert said == "/models/x.gguf:1,/models/y.gguf:0.5"
    assert launch.mounts == (MODELS,)


def test_every_flag_with_a_value_is_one_that_the_image_knows():
    assert IMAGE_FLAGS.valued <= IMAGE_FLAGS.names


def test_an_image_may_keep_its_server_elsewhere():
    launch = made(program="/app/llama-server").launch(INSTANCE, SPEC, ON_GPU)
    assert launch.argv[0] == "/app/llama-server"


def test_the_operators_environment_does_not_win_over_the_placement():
    env = {"A": "1", "CUDA_VISIBLE_DEVICES": "7"}
    launch = made(env=env).launch(INSTANCE, SPEC, ON_GPU)
    assert (launch.env["A"], launch.env["CUDA_VISIBLE_DEVICES"]) == ("1", GPU)
