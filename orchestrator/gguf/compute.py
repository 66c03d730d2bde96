"""How large the buffer for intermediate results becomes.

llama.cpp plans it once for the worst case, a full micro-batch. Its allocator reuses the place of
every result that is no longer needed, so what counts is the widest moment of a layer: the
feed-forward's, the experts', or without flash attention the matrix of all scores. Beside it live
some copies of the residual stream, and the inputs (masks) stay for the whole graph. The numbers
of residuals were found by asking the planner itself about many shapes; tests hold them to it.
"""

from dataclasses import dataclass

from orchestrator.gguf.architecture import Architecture, Layer
from orchestrator.gguf.cache import Cells
from orchestrator.gguf.placement import HOST, LayerPlacement, is_expert, tensor_place
from orchestrator.gguf.quantization import is_quantized_cache
from orchestrator.gguf.settings import Settings

_FLOAT = 4
_INDEX = 8
# With several GPUs and everything on them, four micro-batches are under way at once.
_PIPELINE_COPIES = 4


@dataclass(frozen=True, slots=True)
class Residuals:
    """Copies of the residual stream that live beside the widest moment of a layer."""

    dense: int
    experts: int
    attention: int
    state: int
    parallel: int  # more of them where attention and feed-forward start from the same residual


_WHOLE = Residuals(dense=4, experts=4, attention=4, state=4, parallel=1)
_PIPELINE_FIRST = Residuals(dense=16, experts=17, attention=16, state=16, parallel=1)
_PIPELINE_NEXT = Residuals(dense=11, experts=12, attention=12, state=12, parallel=1)
_PARTIAL = Residuals(dense=2, experts=6, attention=3, state=5, parallel=2)
_HOST = Residuals(dense=5, experts=5, attention=5, state=7, parallel=1)
_HOST_INPUT = 4
_HOST_PIPELINE_INPUT = 10
_HOST_EXPERTS = 2
# What a recurrent layer keeps at once, in multiples of its input projection or the embedding.
_MAMBA1_WIDTH = 2.1
_MAMBA2_WIDTH = 2.65
_RWKV_WIDTH = 15.2


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything that the size of a compute buffer depends on."""

    architecture: Architecture
    settings: Settings
    cells: Cells
    placement: LayerPlacement

    @property
    def pipelined(self) -> bool:
        several = len(self.settings.tensor_split) > 1
        return several and self.placement.whole and not self.settings.n_cpu_moe

    @property
    def copies(self) -> int:
        return _PIPELINE_COPIES if self.pipelined else 1


def device_compute_bytes(workload: Workload, device: int) -> int:
    """The compute buffer of one GPU; 0 for one that got nothing to do."""
    held = workload.placement.on(device)
    if not held:
        return _output_only_bytes(workload) if workload.placement.output == device else 0
    residuals = _device_residuals(workload, held)
    return _stage_bytes(workload, held, device, residuals) + _inputs_bytes(workload, held)


def host_compute_bytes(workload: Workload) -> int:
    """The host's buffer: the layers left to it, and the inputs that it prepares for the GPUs."""
    everything = tuple(range(len(workload.architecture.loaded_layers)))
    held = workload.placement.on(HOST)
    inputs = _inputs_bytes(workload, everything)
    if held:
        return _stage_bytes(workload, held, HOST, _HOST) + inputs
    d = workload.architecture.embedding
    width = (_HOST_PIPELINE_INPUT if workload.pipelined else _HOST_INPUT) * d
    width += workload.architecture.extra_width
    for i in everything[: workload.settings.n_cpu_moe]:
        layer = workload.architecture.layers[i]
        width = max(width, _expert_width(workload, layer) + _HOST_EXPERTS * d)
    return _FLOAT * workload.cells.tokens * width + inputs


def _device_residuals(workload: Workload, held: tuple[int, ...]) -> Residuals:
    if workload.pipelined:
        return _PIPELINE_FIRST if held[0] == 0 else _PIPELINE_NEXT
    return _WHOLE if workload.placement.whole and held[0] == 0 else _PARTIAL


def _output_only_bytes(workload: Workload) -> int:
    d = workload.architecture.embedding
    residuals = _PARTIAL.experts if workload.architecture.experts_used else _PARTIAL.dense
    return max(_FLOAT * workload.cells.tokens * residuals * d, _logits_bytes(workload))


def _stage_bytes(
    workload: Workload, held: tuple[int, ...], device: int, residuals: Residuals
) -> int:
    """The widest moment of the layers on a device, with the residuals that live beside it."""
    widest = max(_layer_width(workload, i, device, residuals) for i in held)
    widest += workload.architecture.extra_width
    stage = _FLOAT * workload.cells.tokens * widest
    if workload.placement.output == device:
        return max(stage, _logits_bytes(workload))
    return stage


def _layer_width(workload: Workload, number: int, device: int, residuals: Residuals) -> int:
    """Numbers per token at the widest moment of one layer."""
    layer = workload.architecture.layers[number]
    d = workload.architecture.embedding
    experts = [tensor for tensor in layer.tensors if is_expert(tensor)]
    beside = max(residuals.attention, residuals.experts if experts else 0)
    parallel = residuals.parallel if _is_parallel(layer) else 0
    widths = [
        _feed_forward_width(layer) + (residuals.dense + parallel) * d,
        _state_width(layer, d) + (residuals.state if layer.state else 0) * d,
        _attention_width(workload, layer) + beside * d,
    ]
    if experts:
        used = workload.architecture.experts_used
        if tensor_place(experts[0], number, workload.placement, workload.settings) == device:
            widths.append(_expert_width(workload, layer) + residuals.experts * d)
        else:
            arriving = used if residuals is _WHOLE else 2 * used + 1
            widths.append((arriving + residuals.dense) * d)
    return max(widths)


def _feed_forward_width(layer: Layer) -> int:
    """Gate, value and their product; without a gate the activation is made in place."""
    gate, value = layer.width(".ffn_gate.weight"), layer.width(".ffn_up.weight")
    product = layer.row(".ffn_down.weight")
    return value if not gate and value == product else gate + value + product


def _is_parallel(layer: Layer) -> bool:
    """Whether attention and feed-forward share one norm, and so one residual."""
    norms = (".ffn_norm.weight", ".post_attention_norm.weight")
    return layer.width(".ffn_up.weight") > 0 and not any(layer.width(norm) for norm in norms)


def _state_width(layer: Layer, embedding: int) -> int:
    """Of a recurrent layer: projections in several layouts, one per step."""
    if not layer.state:
        return 0
    if layer.width(".time_mix_output.weight"):
        return int(_RWKV_WIDTH * embedding)
    if layer.width(".shortconv.in_proj.weight"):
        return _feed_forward_width(layer)
    kind = _MAMBA1_WIDTH if layer.width(".ssm_x.weight") else _MAMBA2_WIDTH
    return int(kind * layer.width(".ssm_in.weight"))


def _expert_width(workload: Workload, layer: Layer) -> int:
    """Of all experts that one token is given to: first their insides, then what they put out."""
    used = workload.architecture.experts_used
    inside = (
        layer.width(".ffn_up_exps.weight")
        + layer.width(".ffn_gate_exps.weight")
        + layer.width(".ffn_gate_up_exps.weight")
        + layer.row(".ffn_down_exps.weight")
    )
    return max(used * inside, (2 * used + 1) * workload.architecture.embedding)


def _attention_width(workload: Workload, layer: Layer) -> int:
    if not layer.attends:
        return 0
    queries = layer.query_width
    if workload.settings.flash_attention:
        return queries if workload.architecture.latent else 2 * queries
    d = workload.architecture.embedding
    if not workload.architecture.latent and (
        queries > d or layer.width(".attn_q.weight") > queries
    ):
        queries *= 2
    return layer.heads * workload.cells.of(layer) + queries


def _logits_bytes(workload: Workload) -> int:
    return _FLOAT * workload.settings.slots * workload.architecture.vocabulary


def _inputs_bytes(workload: Workload, held: tuple[int, ...]) -> int:
    """Masks, and what goes with the cache's type; they are there for the whole graph."""
    layers = [workload.architecture.layers[i] for i in held]
    attending = [
        layer for layer in layers if layer.key_width and (layer.attends or not layer.state)
    ]
    if not attending:
        return 0
    cells, settings = workload.cells, workload.settings
    kinds = {layer.sliding for layer in attending}
    seen = (cells.full if False in kinds else 0) + (cells.sliding if True in kinds else 0)
    if settings.flash_attention:
        mask = 2 * cells.tokens * seen
        return workload.copies * mask + _rotation_bytes(settings, attending[0])
    mask = _FLOAT * cells.tokens * seen
    widest = max(layer.value_width for layer in attending)
    transposed = _INDEX * cells.tokens * widest * len(kinds)
    return workload.copies * (mask + transposed)


def _rotation_bytes(settings: Settings, layer: Layer) -> int:
    """A quantized cache holds rotated keys and values; the rotations are square matrices."""
    head = layer.query_width // layer.heads if layer.heads else 0
    quantized = (settings.cache_type_k, settings.cache_type_v)
    return sum(_FLOAT * head * head for name in quantized if is_quantized_cache(name))
