"""What a projector, the encoders for pictures and sound, occupies: whole, in one place.

llama.cpp plans for a picture of the size that it warms up with; here it is the largest one that it
accepts, because that is the one that runs out of memory.
"""

from dataclasses import dataclass

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.footprint import Share
from orchestrator.gguf.header import Header

_FLOAT = 4
# llama.cpp cuts a picture of any size off at this many tokens of some patches squared.
_TOKENS_MAX = 4096
_ANY_SIZE = frozenset(
    {
        "glm4v",
        "kimivl",
        "lightonocr",
        "pixtral",
        "qwen2.5vl_merger",
        "qwen2vl_merger",
        "qwen3vl_merger",
    }
)
_MERGED_MAX = 8
_FRAMES = 1500  # 30 seconds of sound, to which encoders of the whisper kind pad everything
_WIDTH_MAX = 1 << 16
# Residuals that live beside the inside of a feed-forward, and beside the matrix of scores.
_BESIDE_FEED_FORWARD = 3
_BESIDE_SCORES = 6


@dataclass(frozen=True, slots=True)
class _Encoder:
    places: int  # patches of a picture, or frames of a sound
    merged: int  # places that become one token
    embedding: int
    inside: int  # numbers per place inside the feed-forward
    outside: int  # numbers per token in the matrices that lead to the language model
    heads: int

    def compute_bytes(self, *, flash_attention: bool) -> int:
        feed_forward = self.inside + _BESIDE_FEED_FORWARD * self.embedding
        scores = 0 if flash_attention else self.heads * self.places
        attention = scores + _BESIDE_SCORES * self.embedding
        projection = 2 * self.outside // self.merged + _BESIDE_FEED_FORWARD * self.embedding
        return _FLOAT * self.places * max(feed_forward, attention, projection)


def projector_share(header: Header, *, flash_attention: bool) -> Share:
    """Weights and the largest buffer while it encodes; `GgufError` where it is no projector."""
    if header.architecture != "clip":
        raise GgufError(f"{header.path} is no projector but a {header.architecture} model")
    kinds = [kind for kind in ("vision", "audio") if header.has(f"{kind}.embedding_length")]
    needed = [
        _encoder(header, kind).compute_bytes(flash_attention=flash_attention) for kind in kinds
    ]
    return Share(weights_bytes=header.tensor_bytes, compute_bytes=max(needed, default=0))


def _encoder(header: Header, kind: str) -> _Encoder:
    feed_forward = _width(header, f"{kind}.feed_forward_length")
    gated = any(tensor.name.endswith(".ffn_gate.weight") for tensor in header.tensors)
    merged = _merged(header)
    return _Encoder(
        places=_patches(header, merged) if kind == "vision" else _FRAMES,
        merged=merged,
        embedding=_width(header, f"{kind}.embedding_length"),
        inside=3 * feed_forward if gated else feed_forward,
        outside=max((t.width for t in header.tensors if t.name.startswith("mm.")), default=0),
        heads=_width(header, f"{kind}.attention.head_count"),
    )


def _takes_any_size(header: Header) -> bool:
    family = header.text("clip.vision.projector_type") or header.text("clip.projector_type")
    return family in _ANY_SIZE


def _merged(header: Header) -> int:
    if not _takes_any_size(header):
        return 1
    side = header.integer("vision.spatial_merge_size", 2)
    return min(max(side, 1), _MERGED_MAX) ** 2


def _patches(header: Header, merged: int) -> int:
    patch = max(_width(header, "vision.patch_size"), 1)
    fixed = (_width(header, "vision.image_size") // patch) ** 2
    return max(fixed, _TOKENS_MAX * merged) if _takes_any_size(header) else fixed


def _width(header: Header, key: str) -> int:
    width = header.integer(key)
    if not 0 <= width <= _WIDTH_MAX:
        raise GgufError(f"{header.path}: clip.{key} is {width}: out of reason")
    return width
