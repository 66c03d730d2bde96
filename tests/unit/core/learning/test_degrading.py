"""Lesser settings, as far as there are any."""

from dataclasses import replace

import pytest

from orchestrator.core.learning.degrading import CONTEXT_LEAST, steps
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.specs import Degrading, ModelName, ModelSpec, ServiceName, Serving

SPEC = ModelSpec(name=ModelName("m"), service=ServiceName("s"), footprint=UNKNOWN)
LAYERS = 40


def given_up(degrading, spec=SPEC, **serving):
    found = steps(degrading, spec, replace(Serving(context_size=8192), **serving), LAYERS)
    return [each.given_up for each in found]


@pytest.mark.parametrize(
    ("degrading", "words"),
    [
        (Degrading.UBATCH, ["ubatch 128 instead of 512"]),
        (Degrading.CACHE_TYPE, ["cache type q8_0 instead of f16"]),
        (Degrading.MMPROJ, []),
        (Degrading.GPU_LAYERS, [f"{n} layers on the GPU instead of 40" for n in (30, 20, 10)]),
        (Degrading.CONTEXT_SIZE, [f"context {n} instead of 8192" for n in (4096, 2048)]),
    ],
)
def test_each_kind_has_its_steps(degrading, words):
    assert given_up(degrading) == words


def test_what_is_as_little_already_is_not_given_up():
    assert given_up(Degrading.UBATCH, ubatch=128) == []
    assert given_up(Degrading.CACHE_TYPE, flash_attention=False) == []
    assert given_up(Degrading.GPU_LAYERS, gpu_layers=15) == ["10 layers on the GPU instead of 15"]
    assert given_up(Degrading.CONTEXT_SIZE, context_size=CONTEXT_LEAST) == []


def test_a_projector_can_be_left_to_the_host():
    seeing = replace(SPEC, mmproj="/p.gguf")
    assert given_up(Degrading.MMPROJ, seeing) == ["projector on the host"]
    (step,) = steps(Degrading.MMPROJ, seeing, Serving(), LAYERS)
    assert not step.serving.projector_on_gpu
