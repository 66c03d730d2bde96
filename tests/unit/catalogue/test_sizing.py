"""From a model as the operator wrote it to what it will take, by its files."""

from dataclasses import replace
from itertools import pairwise

import pytest

from orchestrator.catalogue.predictions import Predictions
from orchestrator.catalogue.sizing import IN_PYTHON, LLAMA_SERVER
from orchestrator.core.values.footprints import UNKNOWN, Provenance
from orchestrator.core.values.residents import Placement
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName, Serving
from orchestrator.core.values.vram import DeviceId, GiB, MiB
from orchestrator.engines.llama.argv import server_arguments
from orchestrator.engines.xllamacpp.flags import FLAGS
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.settings import GPU_OVERHEAD_BYTES, Settings
from tests.unit.gguf.shapes import FOOTPRINTS, header

LLAMA = ModelSpec(
    name=ModelName("llama"),
    service=ServiceName("local"),
    footprint=UNKNOWN,
    file=str(FOOTPRINTS / "llama31-8b.gguf"),
    serving=Serving(context_size=8192),
)
WORDS = 128_256


@pytest.fixture
def predictions():
    return Predictions(Headers())


def of(predictions, **changes):
    footprint = predictions.footprint(replace(LLAMA, **changes))
    assert footprint is not None
    return footprint


def served(**changes):
    return {"serving": replace(LLAMA.serving, **changes)}


def test_the_footprint_is_the_estimate_with_the_drivers_part_and_the_process(predictions):
    found = of(predictions)
    asked = estimate(header("llama31-8b"), Settings(context_size=8192))
    assert found.provenance is Provenance.ESTIMATED
    assert found.device_bytes == asked.on_devices.planned_bytes + GPU_OVERHEAD_BYTES
    process = LLAMA_SERVER.own_bytes + WORDS * LLAMA_SERVER.word_bytes
    assert found.host_bytes == asked.host.planned_bytes + process
    alone = estimate(header("llama31-8b"), Settings(context_size=8192, tensor_split=()))
    assert found.host_only_bytes == alone.host.planned_bytes + process


def test_a_server_in_python_holds_more_beside_the_same_model(predictions):
    service = LLAMA.service
    wheel = of(Predictions(Headers(), servers={service: IN_PYTHON}))
    plain = of(predictions)
    more = (
        IN_PYTHON.own_bytes
        - LLAMA_SERVER.own_bytes
        + WORDS * (IN_PYTHON.word_bytes - LLAMA_SERVER.word_bytes)
    )
    assert wheel.device_bytes == plain.device_bytes
    assert wheel.without_gpu_bytes - plain.without_gpu_bytes == more > 0


def test_the_prompt_cache_in_host_ram_is_charged(predictions):
    more = of(predictions, **served(host_cache_mb=1024))
    assert more.host_bytes - of(predictions).host_bytes == GiB
    assert more.without_gpu_bytes - of(predictions).without_gpu_bytes == GiB


def test_every_slot_with_a_context_of_its_own_costs_its_own(predictions):
    shared = of(predictions, **served(slots=4))
    split = of(predictions, **served(slots=4, unified_cache=False))
    assert split.device_bytes - shared.device_bytes > 3 * 1000 * MiB


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("unified", [True, False])
@pytest.mark.parametrize("embeddings", [True, False])
def test_what_is_charged_is_what_is_launched(predictions, slots, unified, embeddings):
    spec = replace(
        LLAMA, **served(slots=slots, unified_cache=unified, embeddings=embeddings, batch=1024)
    )
    placement = Placement(((DeviceId("GPU-1"), 1),))
    words = server_arguments(spec, placement, FLAGS, physical_cores=1)
    said = dict(pairwise(words))
    launched = Settings(
        context_size=int(said["-c"]),
        slots=int(said["-np"]),
        unified_cache="--kv-unified" in words,
        cache_type_k=said["-ctk"],
        cache_type_v=said["-ctv"],
        batch=int(said["-b"]),
        ubatch=int(said["-ub"]),
        flash_attention=said["-fa"] == "on",
        checkpoints=int(said["--ctx-checkpoints"]),
    )
    assert predictions.appraise(spec).estimate == estimate(header("llama31-8b"), launched)


def test_spread_evenly_it_does_for_the_device_that_holds_most(predictions):
    wide = of(predictions, span=3)
    split = Settings(context_size=8192, tensor_split=(1.0,) * 3)
    most = max(share.total_bytes for share in estimate(header("llama31-8b"), split).devices)
    assert wide.device_bytes == of(predictions).device_bytes
    assert 0 <= wide.spread_bytes(3) - 3 * most < 3


def test_the_parts_are_those_of_as_many_gpus_as_it_may_be_spread_over(predictions):
    wide = predictions.appraise(replace(LLAMA, span=2))
    split = Settings(context_size=8192, tensor_split=(1.0,) * 2, checkpoints=3)
    assert wide.estimate == estimate(header("llama31-8b"), split)
