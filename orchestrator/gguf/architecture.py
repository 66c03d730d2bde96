"""The hyperparameters that decide what a model occupies, one record per layer."""

from collections import defaultdict
from dataclasses import dataclass

from orchestrator.gguf import families
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Header, Tensor

# llama.cpp's own limit is 512.
LAYERS_MAX = 1024
# Wider than any model by far; keeps products of a damaged file's numbers in reason.
WIDTH_MAX = 1 << 24
_GEMMA3N_CACHED_LAYERS = 20
_GEMMA3N_EXTRA_STREAMS = 5


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer keeps per token (`*_width`, in numbers) or per sequence (`state`)."""

    key_width: int
    value_width: int
    query_width: int  # of all forms of the queries that exist at once
    heads: int
    attends: bool  # has keys and values of its own in the cache
    sliding: bool  # and keeps those of a window only
    state: int
    tensors: tuple[Tensor, ...]

    def width(self, name: str) -> int:
        """Numbers per token that the named matrix of this layer puts out; 0 without it."""
        return next((tensor.width for tensor in self.tensors if tensor.name.endswith(name)), 0)

    def row(self, name: str) -> int:
        """Numbers per token that the named matrix takes in; 0 without it."""
        found = (tensor for tensor in self.tensors if tensor.name.endswith(name))
        return next((tensor.dimensions[0] for tensor in found), 0)


@dataclass(frozen=True, slots=True)
class Architecture:
    """`layers` includes the trailing ones that only predict further tokens and are not loaded."""

    name: str
    layers: tuple[Layer, ...]
    predictors: int
    embedding: int
    vocabulary: int
    window: int  # 0: no layer slides
    latent: int  # width of a compressed key and value (MLA); 0: none
    experts_used: int
    trained_context: int
    extra_width: int  # numbers per token beside the residual stream, all the way through
    other_tensors: tuple[Tensor, ...]
    understood: bool

    @property
    def loaded_layers(self) -> tuple[Layer, ...]:
        return self.layers[: len(self.layers) - self.predictors]

    @property
    def slides(self) -> bool:
        return any(layer.sliding for layer in self.layers)

    @property
    def recurrent(self) -> bool:
        return any(layer.state for layer in self.layers)


def architecture_of(header: Header) -> Architecture:
    """Read the hyperparameters, or raise `GgufError` naming the one that is missing or absurd."""
    count = header.integer("block_count")
    if not 0 < count <= LAYERS_MAX:
        raise GgufError(f"{header.path} has {count} layers: 1 to {LAYERS_MAX} are possible")
    predictors = min(max(header.integer("nextn_predict_layers", 0), 0), count - 1)
    by_layer, others = _tensors_by_layer(header, count)
    embedding = _width(header, "embedding_length")
    window = _window(header, count)
    return Architecture(
        name=header.architecture,
        layers=_layers(header, count, embedding, window, by_layer),
        predictors=predictors,
        embedding=embedding,
        vocabulary=_vocabulary(header, others),
        window=window,
        latent=_width(header, "attention.kv_lora_rank", 0),
        experts_used=_width(header, "expert_used_count", 0),
        trained_context=max(header.integer("context_length", 4096), 1),
        extra_width=_extra_width(header, count, embedding, others),
        other_tensors=others,
        understood=header.architecture in families.UNDERSTOOD,
    )


def _width(header: Header, key: str, default: int | None = None) -> int:
    if key == "expert_used_count" and header.is_array(key):
        width = max(header.per_layer(key, 1))
    else:
        width = header.integer(key, default)
    if not 0 <= width <= WIDTH_MAX:
        raise GgufError(f"{header.path}: {header.architecture}.{key} is {width}: out of reason")
    return width


def _widths(header: Header, key: str, count: int, default: int | None = None) -> tuple[int, ...]:
    widths = header.per_layer(key, count, default)
    if not all(0 <= width <= WIDTH_MAX for width in widths):
        raise GgufError(f"{header.path}: {header.architecture}.{key} is out of reason")
    return widths


def _tensors_by_layer(
    header: Header, count: int
) -> tuple[dict[int, list[Tensor]], tuple[Tensor, ...]]:
    by_layer: dict[int, list[Tensor]] = defaultdict(list)
    others = []
    for tensor in header.tensors:
        number = tensor.name.removeprefix("blk.").partition(".")[0]
        if tensor.name.startswith("blk.") and number.isdecimal() and len(number) < 5:
            by_layer[min(int(number), count - 1)].append(tensor)
        else:
            others.append(tensor)
    return by_layer, tuple(others)


def _extra_width(header: Header, count: int, embedding: int, others: tuple[Tensor, ...]) -> int:
    """Positions, embeddings per layer, and the further residual streams of Gemma 3n."""
    streams = _GEMMA3N_EXTRA_STREAMS if header.architecture == "gemma3n" else 0
    streams += any(tensor.name == "position_embd.weight" for tensor in others)
    return _width(header, "embedding_length_per_layer_input", 0) * count + streams * embedding


def _vocabulary(header: Header, others: tuple[Tensor, ...]) -> int:
    for tensor in others:
        if tensor.name == "token_embd.weight":
            return tensor.width
    return _width(header, "vocab_size", 0)


def _window(header: Header, count: int) -> int:
    name = header.architecture
    if name not in families.WINDOW_BY_ARRAY and name not in {"lfm2", "lfm2moe"}:
        return 0
    if name == "exaone4" and count != 64:
        return 0  # only the 32B slides
    pattern = families.WINDOW_PATTERNS.get(name)
    default = pattern.default_window if pattern else 0
    window = _width(header, "attention.sliding_window", default)
    return default if window and name in families.FIXED_WINDOW else window


def _layers(
    header: Header,
    count: int,
    embedding: int,
    window: int,
    by_layer: dict[int, list[Tensor]],
) -> tuple[Layer, ...]:
    heads = _widths(header, "attention.head_count", count, 0)
    kv_heads = (
        _widths(header, "attention.head_count_kv", count)
        if header.has("attention.head_count_kv")
        else heads
    )
    most_heads = max(heads)
    head = embedding // most_heads if most_heads else 0
    key_head = _width(header, "attention.key_length", head)
    value_head = _width(header, "attention.value_length", head)
    key_head_sliding = _width(header, "attention.key_length_swa", key_head)
    value_head_sliding = _width(header, "attention.value_length_swa", value_head)
    mla = header.has("attention.key_length_mla") and header.has("attention.value_length_mla")
    # Queries are made in their own width, then carried into the compressed one.
    unfolded = (
        _width(header, "attention.key_length_mla") + _width(header, "attention.kv_lora_rank")
        if mla
        else 0
    )
    indexer = _width(header, "attention.indexer.key_length", 0)
    sliding = _sliding(header, count, window)
    recurrent = _recurrent(header, count, kv_heads)
    attending = _attending(header, recurrent, kv_heads)
    state = _state(header, embedding, most_heads, key_head)
    return tuple(
        Layer(
            key_width=indexer + kv_heads[i] * (key_head_sliding if sliding[i] else key_head),
            value_width=0
            if mla
            else kv_heads[i] * (value_head_sliding if sliding[i] else value_head),
            query_width=heads[i] * (unfolded + (key_head_sliding if sliding[i] else key_head)),
            heads=heads[i],
            attends=attending[i],
            sliding=sliding[i],
            state=state if recurrent[i] else 0,
            tensors=tuple(by_layer[i]),
        )
        for i in range(count)
    )


def _sliding(header: Header, count: int, window: int) -> tuple[bool, ...]:
    if not window:
        return (False,) * count
    key = "attention.sliding_window_pattern"
    if header.is_array(key):
        return tuple(bool(flag) for flag in header.per_layer(key, count))
    pattern = families.WINDOW_PATTERNS.get(header.architecture)
    if pattern is None:
        return (True,) * count
    period = header.integer(key, pattern.period)
    chosen = families.WindowPattern(max(period, 1), pattern.full_first)
    return tuple(period == 0 or chosen.is_sliding(i) for i in range(count))


def _recurrent(header: Header, count: int, kv_heads: tuple[int, ...]) -> tuple[bool, ...]:
    name = header.architecture
    if name in families.RECURRENT or name in families.RECURRENT_AND_ATTENDING:
        return (True,) * count
    if header.is_array("attention.recurrent_layers"):
        return tuple(bool(flag) for flag in header.per_layer("attention.recurrent_layers", count))
    if name in families.RECURRENT_WITHOUT_HEADS:
        feed_forward = _widths(header, "feed_forward_length", count, 0)
        lone = name in families.ONE_BLOCK_PER_LAYER
        return tuple(kv_heads[i] == 0 and not (lone and feed_forward[i]) for i in range(count))
    if name in families.FULL_ATTENTION_INTERVAL:
        default = families.FULL_ATTENTION_INTERVAL[name]
        interval = max(header.integer("full_attention_interval", default), 1)
        return tuple((i + 1) % interval != 0 for i in range(count))
    return (False,) * count


def _attending(
    header: Header, recurrent: tuple[bool, ...], kv_heads: tuple[int, ...]
) -> tuple[bool, ...]:
    """Which layers fill a cache: later layers of some models read those of earlier ones."""
    name, count = header.architecture, len(recurrent)
    if name in families.CACHELESS:
        return (False,) * count
    if name in families.RECURRENT_AND_ATTENDING:
        return (True,) * count
    if name in families.ONE_BLOCK_PER_LAYER:
        return tuple(heads > 0 for heads in kv_heads)
    cached = count
    if name == "gemma3n":
        cached = _GEMMA3N_CACHED_LAYERS
    elif name == "gemma4":
        cached = count - header.integer("attention.shared_kv_layers", 0)
    return tuple(i < cached and not recurrent[i] for i in range(count))


def _state(header: Header, embedding: int, heads: int, key_head: int) -> int:
    """Numbers that a recurrent layer keeps per sequence, however long that is."""
    if header.has("wkv.head_size"):
        shifts = _width(header, "token_shift_count", 2)
        return embedding * (shifts + _width(header, "wkv.head_size"))
    if header.has("shortconv.l_cache"):
        return embedding * max(_width(header, "shortconv.l_cache") - 1, 0)
    kernel = _width(header, "ssm.conv_kernel", 0)
    if header.has("kda.head_dim"):
        head = _width(header, "kda.head_dim")
        return head * heads * (3 * max(kernel - 1, 0 if kernel else 3) + head)
    if header.architecture == "minimax-01":
        return heads * key_head * key_head
    inner = _width(header, "ssm.inner_size", 0)
    state = _width(header, "ssm.state_size", 0)
    groups = _width(header, "ssm.group_count", 0)
    return max(kernel - 1, 0) * (inner + 2 * groups * state) + state * inner
