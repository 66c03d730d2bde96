"""What the second file of a model with eyes or ears occupies: its encoders, whole, in one place."""

from dataclasses import dataclass

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.footprint import Share
from orchestrator.gguf.header import Header

_FLOAT = 4
# llama.cpp cuts a picture of any size off at this many tokens, each of some patches squared.
_TOKENS_MAX = 4096
_ANY_SIZE = frozenset(
    {
        "qwen2vl_merger",
        "qwen2.5vl_merger",
        "qwen3vl_merger",
        "pixtral",
        "kimivl",
        "lightonocr",
        "glm4v",
    }
)
_FRAMES = 1500  # 30 seconds of sound, to which encoders of the whisper kind pad everything
_WIDTH_MAX = 1 << 16
# Residual, its norm, and what comes of them before the feed-forward; the planner says so.
_RESIDUALS = 4


@dataclass(frozen=True, slots=True)
class _Encoder:
    places: int  # patches of a picture, or frames of a sound
    embedding: int
    feed_forward: int
    heads: int

    def compute_bytes(self, flash_attention: bool) -> int:
        inside = 2 * self.feed_forward + _RESIDUALS * self.embedding
        scores = 0 if flash_attention else self.heads * self.places
        return _FLOAT * self.places * max(inside, scores + _RESIDUALS * self.embedding)


def projector_share(header: Header, *, flash_attention: bool) -> Share:
    """Weights and the largest buffer while it encodes; `GgufError` where it is no projector."""
    if header.architecture != "clip":
        raise GgufError(f"{header.path} is no projector but a {header.architecture} model")
    kinds = [kind for kind in ("vision", "audio") if header.has(f"{kind}.embedding_length")]
    compute = max(
        (_encoder(header, kind).compute_bytes(flash_attention) for kind in kinds), default=0
    )
    return Share(weights_bytes=header.tensor_bytes, compute_bytes=compute)


def _encoder(header: Header, kind: str) -> _Encoder:
    return _Encoder(
        places=_patches(header) if kind == "vision" else _FRAMES,
        embedding=_width(header, f"{kind}.embedding_length"),
        feed_forward=_width(header, f"{kind}.feed_forward_length"),
        heads=_width(header, f"{kind}.attention.head_count"),
    )


def _patches(header: Header) -> int:
    fixed = (
        _width(header, "vision.image_size") // max(_width(header, "vision.patch_size"), 1)
    ) ** 2
    family = header.text("clip.vision.projector_type") or header.text("clip.projector_type")
    if family not in _ANY_SIZE:
        return fixed
    merged = header.integer("vision.spatial_merge_size", 2)
    return max(fixed, _TOKENS_MAX * min(max(merged, 1), 8) ** 2)


def _width(header: Header, key: str) -> int:
    width = header.integer(key)
    if not 0 <= width <= _WIDTH_MAX:
        raise GgufError(f"{header.path}: clip.{key} is {width}: out of reason")
    return width
