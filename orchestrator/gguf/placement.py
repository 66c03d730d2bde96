"""Which device each layer and each tensor is on, by the rules of llama.cpp's loader."""

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
_EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
_TIED = "token_embd.weight"
_SINGLE = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class Placement:
    """The device number of every layer, and of the output that follows them; `HOST` is one."""

    layers: tuple[int, ...]
    output: int

    def on(self, device: int) -> tuple[int, ...]:
        return tuple(i for i, place in enumerate(self.layers) if place == device)

    @property
    def whole(self) -> bool:
        """Nothing but the input is left on the host."""
        return self.output != HOST and HOST not in self.layers


def place(architecture: Architecture, settings: Settings) -> Placement:
    count = len(architecture.layers)
    asked = count + 1 if settings.gpu_layers == "all" else max(settings.gpu_layers, 0)
    offloaded = min(asked, count + 1) if settings.tensor_split else 0
    first = count + 1 - offloaded
    bounds = _bounds(settings.tensor_split)
    places = [HOST] * first + [
        bisect_right(bounds, _single(i / offloaded)) for i in range(offloaded)
    ]
    return Placement(tuple(places[:count]), places[count])


def _bounds(shares: tuple[float, ...]) -> list[float]:
    """Where each device's share ends, in the single precision that decides ties in the loader."""
    sums = list(accumulate((_single(share) for share in shares), lambda a, b: _single(a + b)))
    return [_single(each / sums[-1]) for each in sums[:-1]]


def _single(number: float) -> float:
    rounded: float = _SINGLE.unpack(_SINGLE.pack(number))[0]
    return rounded


def weights_bytes(
    architecture: Architecture, placement: Placement, settings: Settings
) -> dict[int, int]:
    """Bytes of weights on each device, `HOST` included."""
    held = dict.fromkeys([HOST, *range(len(settings.tensor_split))], 0)
    for i, layer in enumerate(architecture.loaded_layers):
        for tensor in layer.tensors:
            held[tensor_place(tensor, i, placement, settings)] += tensor.size_bytes
    for tensor in architecture.other_tensors:
        is_input = tensor.name.startswith(_INPUT_NAMES)
        held[HOST if is_input else placement.output] += tensor.size_bytes
    if placement.output != HOST:
        held[placement.output] += _tied_output_bytes(architecture)
    for adapter in settings.loras:
        for tensor in adapter.tensors:
            held[_adapter_place(tensor, placement)] += tensor.size_bytes
    return held


def tensor_place(tensor: Tensor, layer: int, placement: Placement, settings: Settings) -> int:
    if layer < settings.n_cpu_moe and is_expert(tensor):
        return HOST
    return placement.layers[layer]


def is_expert(tensor: Tensor) -> bool:
    return _EXPERTS.search(tensor.name) is not None


def _tied_output_bytes(architecture: Architecture) -> int:
    """A model whose output is its input embedding gets a second copy of that for the GPU."""
    sizes = {tensor.name: tensor.size_bytes for tensor in architecture.other_tensors}
    return 0 if "output.weight" in sizes else sizes.get(_TIED, 0)


def _adapter_place(tensor: Tensor, placement: Placement) -> int:
    """An adapter's matrices lie beside the matrix that they adapt."""
    number = re.match(r"blk\.(\d{1,4})\.", tensor.name)
    if number is None:
        return HOST if tensor.name.startswith(_INPUT_NAMES) else placement.output
    return placement.layers[min(int(number[1]), len(placement.layers) - 1)]
