"""What the context costs: keys and values per token, recurrent state per sequence."""

from dataclasses import dataclass

from orchestrator.gguf.architecture import Architecture, Layer
from orchestrator.gguf.quantization import BlockType, cache_type
from orchestrator.gguf.settings import Settings

# llama.cpp pads every cache to a multiple of this.
_CELL_PADDING = 256
_STATE_NUMBER_BYTES = 4


@dataclass(frozen=True, slots=True)
class Cells:
    """Places for tokens: in a layer that sees everything, and in one that sees a window."""

    full: int
    sliding: int
    streams: int  # caches side by side: one that all slots share, or one per slot
    tokens: int  # that are computed at once
    value_width: int  # that values are padded to in every layer; 0: they are not padded

    def of(self, layer: Layer) -> int:
        return self.sliding if layer.sliding else self.full


def cells_of(architecture: Architecture, settings: Settings) -> Cells:
    context = settings.context_size or architecture.trained_context
    tokens = min(context, settings.batch, settings.ubatch)
    sharing = settings.slots if settings.unified_cache else 1
    full = _padded(context if settings.unified_cache else context // settings.slots)
    if not any(layer.attends for layer in architecture.layers):
        full = tokens  # nothing is kept: the tokens of a batch see only one another
    sliding = 0
    if architecture.slides:
        sliding = _padded(min(full, architecture.window * sharing + tokens))
    streams = 1 if settings.unified_cache else settings.slots
    # Without flash attention, values lie transposed, which needs the same width everywhere.
    widths = [layer.value_width for layer in architecture.layers if layer.attends]
    value_width = 0 if settings.flash_attention else max(widths, default=0)
    return Cells(full, sliding, streams, tokens, value_width)


def context_bytes(layer: Layer, cells: Cells, settings: Settings) -> int:
    """Bytes that one layer keeps of the context."""
    state = layer.state * _STATE_NUMBER_BYTES * settings.slots
    if not layer.attends:
        return state
    per_token = _row(cache_type(settings.cache_type_k), layer.key_width)
    value_width = max(layer.value_width, cells.value_width)
    per_token += _row(cache_type(settings.cache_type_v), value_width)
    return state + per_token * cells.of(layer) * cells.streams


def checkpoint_bytes(architecture: Architecture, settings: Settings) -> int:
    """One copy that the server keeps, on the host, of what a cache forgets as it goes on: a window,
    or a state. Layers that see everything forget nothing.
    """
    keys, values = cache_type(settings.cache_type_k), cache_type(settings.cache_type_v)
    cells = min(architecture.window, settings.context_size or architecture.trained_context)
    kept = 0
    for layer in architecture.loaded_layers:
        kept += layer.state * _STATE_NUMBER_BYTES
        if layer.attends and layer.sliding:
            kept += (_row(keys, layer.key_width) + _row(values, layer.value_width)) * cells
    return kept


def _row(block: BlockType, width: int) -> int:
    return block.row_bytes(width) if width else 0


def _padded(count: int) -> int:
    return max(-(-count // _CELL_PADDING), 1) * _CELL_PADDING
