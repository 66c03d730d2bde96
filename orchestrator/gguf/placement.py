"""Which device a layer or a tensor is on, by the rules of llama.cpp's loader."""

import re
import struct
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from orchestrator.gguf.architecture import Architecture
from orchestrator.gguf.header import Tensor
from orchestrator.gguf.settings import Settings

HOST = -1  # where a GPU would have its number

# Looked up row by row on the host, never multiplied: the loader leaves them there.
_INPUT_NAMES = (
    "token_embd.",
    "position_embd.",
    "token_types.",
    "token_embd_norm.",
    "per_layer_token_embd.",
)
# Not numbered, but used by every layer: they go with the first one.
_FIRST_LAYER_NAMES = ("per_layer_model_proj.", "per_layer_proj_norm.", "rope_f")
_EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
_TIED = "token_embd.weight"
# q4_0, q2_k, q4_k, iq4_nl and mxfp4 on x86.
_REARRANGED_TYPES = frozenset({2, 10, 12, 20, 39})
_SINGLE = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class LayerPlacement:
    """The device number of every layer, and of the output that follows them; `HOST` is one."""

    layers: tuple[int, ...]
    output: int

    def on(self, device: int) -> tuple[int, ...]:
        return tuple(i for i, place in enumerate(self.layers) if place == device)

    @property
    def whole(self) -> bool:
        """Nothing but the input is left on the host."""
        return self.output != HOST and HOST not in self.layers


def place(architecture: Architecture, settings: Settings) -> LayerPlacement:
    count = len(architecture.layers)
    asked = count + 1 if settings.gpu_layers == "all" else max(settings.gpu_layers, 0)
    offloaded = min(asked, count + 1) if settings.tensor_split else 0
    first = count + 1 - offloaded
    bounds = _bounds(settings.tensor_split)
    places = [HOST] * first + [
        bisect_right(bounds, _single(i / offloaded)) for i in range(offloaded)
    ]
    return LayerPlacement(tuple(places[:count]), places[count])


def _bounds(shares: tuple[float, ...]) -> list[float]:
    """Where the devices' shares end, in the single precision that decides ties in the loader."""
    sums = list(accumulate((_single(share) for share in shares), lambda a, b: _single(a + b)))
    return [_single(end / sums[-1]) for end in sums[:-1]]


def _single(number: float) -> float:
    rounded: float = _SINGLE.unpack(_SINGLE.pack(number))[0]
    return rounded


def weights_bytes(
    architecture: Architecture, placement: LayerPlacement, settings: Settings
) -> dict[int, int]:
    """Bytes of weights by device, `HOST` included."""
    held = dict.fromkeys([HOST, *range(len(settings.tensor_split))], 0)
    for i, layer in enumerate(architecture.loaded_layers):
        for tensor in layer.tensors:
            held[tensor_place(tensor, i, placement, settings)] += tensor.size_bytes
    for tensor in architecture.other_tensors:
        held[_unnumbered_place(tensor, placement)] += tensor.size_bytes
    held[placement.output] += _tied_output_bytes(architecture, placement)
    return held


def adapters_bytes(placement: LayerPlacement, settings: Settings) -> dict[int, int]:
    """Bytes of all LoRA adapters by device, `HOST` included."""
    held = dict.fromkeys([HOST, *range(len(settings.tensor_split))], 0)
    for adapter in settings.loras:
        for tensor in adapter.tensors:
            held[_adapter_place(tensor, placement)] += tensor.size_bytes
    return held


def tensor_place(tensor: Tensor, layer: int, placement: LayerPlacement, settings: Settings) -> int:
    if layer < settings.n_cpu_moe and is_expert(tensor):
        return HOST
    return placement.layers[layer]


def is_expert(tensor: Tensor) -> bool:
    return _EXPERTS.search(tensor.name) is not None


def _unnumbered_place(tensor: Tensor, placement: LayerPlacement) -> int:
    if tensor.name.startswith(_INPUT_NAMES):
        return HOST
    if tensor.name.startswith(_FIRST_LAYER_NAMES):
        return placement.layers[0]
    return placement.output


def _tied_output_bytes(architecture: Architecture, placement: LayerPlacement) -> int:
    """Where the output is the input embedding, it is there twice: looked up, and multiplied.

    On the host one copy serves both, unless the type is one that the CPU multiplies rearranged.
    """
    named = {tensor.name: tensor for tensor in architecture.other_tensors}
    if "output.weight" in named or _TIED not in named:
        return 0
    embedding = named[_TIED]
    once = placement.output == HOST and embedding.type_id not in _REARRANGED_TYPES
    return 0 if once else embedding.size_bytes


def _adapter_place(tensor: Tensor, placement: LayerPlacement) -> int:
    """An adapter's matrices lie beside the matrix that they adapt."""
    number = re.match(r"blk\.(\d{1,4})\.", tensor.name)
    if number is None:
        return _unnumbered_place(tensor, placement)
    return placement.layers[min(int(number[1]), len(placement.layers) - 1)]
