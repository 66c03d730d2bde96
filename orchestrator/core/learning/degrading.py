"""What giving something up means for the settings of a model, step by step."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.core.values.specs import Degrading, ModelSpec, Serving

UBATCH_LESS = 128  # below this, reading a prompt becomes much slower and little is saved
CACHE_TYPE_LESS = "q8_0"  # answers can hardly be told from those of f16
LAYERS_LESS = (0.75, 0.5, 0.25)
CONTEXT_LESS = (0.5, 0.25)
CONTEXT_LEAST = 2048  # a chat with tools does not fit into less


@dataclass(frozen=True, slots=True)
class Step:
    serving: Serving
    given_up: str  # in words


def steps(degrading: Degrading, spec: ModelSpec, serving: Serving, layers: int) -> Iterator[Step]:
    """Lesser settings than `serving`, where there are any; the model has so many layers."""
    match degrading:
        case Degrading.UBATCH if serving.ubatch > UBATCH_LESS:
            words = f"ubatch {UBATCH_LESS} instead of {serving.ubatch}"
            yield Step(replace(serving, ubatch=UBATCH_LESS), words)
        case Degrading.CACHE_TYPE if serving.flash_attention:
            words = f"cache type {CACHE_TYPE_LESS} instead of {serving.cache_type_k}"
            lesser = replace(serving, cache_type_k=CACHE_TYPE_LESS, cache_type_v=CACHE_TYPE_LESS)
            yield Step(lesser, words)
        case Degrading.MMPROJ if spec.mmproj is not None:
            yield Step(replace(serving, projector_on_gpu=False), "projector on the host")
        case Degrading.GPU_LAYERS:
            asked = min(layers if serving.gpu_layers is None else serving.gpu_layers, layers)
            for part in LAYERS_LESS:
                fewer = int(layers * part)
                if fewer < asked:
                    words = f"{fewer} layers on the GPU instead of {asked}"
                    yield Step(replace(serving, gpu_layers=fewer), words)
        case Degrading.CONTEXT_SIZE:
            for part in CONTEXT_LESS:
                shorter = max(int(serving.context_size * part), CONTEXT_LEAST)
                if shorter < serving.context_size:
                    words = f"context {shorter} instead of {serving.context_size}"
                    yield Step(replace(serving, context_size=shorter), words)
        case _:
            return
