"""How a model is to be served, as far as that decides what it occupies."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Header

# CUDA's context, kernels and cuBLAS workspace take 300-500 MiB per process and GPU, which no plan
# of llama.cpp contains. This stands until it has been measured.
GPU_OVERHEAD_BYTES = 600 << 20

CONTEXT_MAX = 1 << 28
SLOTS_MAX = 256  # llama.cpp's own limit
BATCH_MAX = 1 << 20
DEVICES_MAX = 64
CHECKPOINTS_MAX = 1024
LAYERS_MAX = 10_000
PLAIN_CACHES = frozenset({"f32", "f16", "bf16"})  # what values may be without flash attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every default is llama-server's, except that one slot and one GPU are assumed."""

    context_size: int = 0  # tokens of all slots together; 0: what the model was trained for
    slots: int = 1
    unified_cache: bool = True
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    batch: int = 2048
    ubatch: int = 512
    gpu_layers: int | Literal["all"] = "all"  # the output counts as one
    tensor_split: tuple[float, ...] = (1.0,)  # a share per GPU; empty: there is none
    flash_attention: bool = True
    cache_on_gpu: bool = True
    n_cpu_moe: int = 0  # layers whose experts stay on the host, from the first
    loras: tuple[Header, ...] = ()
    draft: "Companion | None" = None
    projector: Header | None = None
    projector_on_gpu: bool = True
    gpu_overhead_bytes: int = GPU_OVERHEAD_BYTES
    checkpoints: int = 0  # per slot, of its context, in host RAM; in no plan of the engine

    def __post_init__(self) -> None:
        """Raise `GgufError` for what no server would start with."""
        _between("context_size", self.context_size, 0, CONTEXT_MAX)
        _between("slots", self.slots, 1, SLOTS_MAX)
        _between("batch", self.batch, 1, BATCH_MAX)
        _between("ubatch", self.ubatch, 1, BATCH_MAX)
        _between("checkpoints", self.checkpoints, 0, CHECKPOINTS_MAX)
        if self.gpu_layers != "all":
            _between("gpu_layers", self.gpu_layers, 0, LAYERS_MAX)
        if not self.flash_attention and self.cache_type_v not in PLAIN_CACHES:
            raise GgufError(f"cache_type_v {self.cache_type_v} needs flash attention")
        _between("tensor_split", len(self.tensor_split), 0, DEVICES_MAX)
        if self.tensor_split and not sum(self.tensor_split) > 0:
            raise GgufError("tensor_split gives every GPU a share of 0")
        if any(not 0 <= share < float("inf") for share in self.tensor_split):
            raise GgufError("tensor_split has a share below 0")


@dataclass(frozen=True, slots=True)
class Companion:
    """A second model in the same process: the one that drafts for speculative decoding."""

    header: Header
    settings: Settings


def _between(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise GgufError(f"{name} is {value}: {least} to {most} are possible")
