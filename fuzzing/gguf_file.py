"""A model file that anybody may have made: read, and its needs told, or refused as a GgufError."""

import struct
from collections.abc import Mapping

from fuzzing.mutations import Target
from fuzzing.scratch import scratch
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.header import Header
from orchestrator.gguf.projector import projector_share
from orchestrator.gguf.reader import header_suffices, read_header
from orchestrator.gguf.settings import Settings

SETTINGS = (
    Settings(),
    Settings(context_size=1 << 20, slots=4, unified_cache=False, tensor_split=(1.0, 2.0)),
    Settings(gpu_layers=1, n_cpu_moe=2, ubatch=64, flash_attention=False, cache_on_gpu=False),
    Settings(tensor_split=(), checkpoints=8),
)


def check(content: bytes) -> None:
    path = scratch() / "model.gguf"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except GgufError as refused:
        _check_words(refused)
        return
    assert header.file_bytes == len(content)
    assert header.tensor_bytes >= 0
    assert header_suffices(path, len(content))
    for settings in SETTINGS:
        _check_estimate(header, settings)
    _check_projector(header)


def _check_estimate(header: Header, settings: Settings) -> None:
    try:
        told = estimate(header, settings)
    except GgufError as refused:
        _check_words(refused)
        return
    assert len(told.devices) == len(settings.tensor_split)
    for share in (*told.devices, told.host):
        assert min(share.weights_bytes, share.context_bytes, share.compute_bytes) >= 0
    assert told.to_json()["method"] == told.method


def _check_projector(header: Header) -> None:
    try:
        share = projector_share(header, flash_attention=True)
    except GgufError as refused:
        _check_words(refused)
        return
    assert min(share.weights_bytes, share.compute_bytes) >= 0


def _check_words(refused: GgufError) -> None:
    assert str(refused), "refused without a word"
    str(refused).encode("utf-8", "strict")


# --- seeds -----------------------------------------------------------------------------------

_UINT32, _STRING, _ARRAY = 4, 8, 9
Value = int | str | tuple[int, ...]


def _text(content: str) -> bytes:
    encoded = content.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Value) -> bytes:
    match value:
        case int():
            return struct.pack("<II", _UINT32, value)
        case str():
            return struct.pack("<I", _STRING) + _text(value)
    return struct.pack(f"<IIQ{len(value)}I", _ARRAY, _UINT32, len(value), *value)


def _file(metadata: Mapping[str, Value], tensors: tuple[tuple[str, tuple[int, ...]], ...]) -> bytes:
    """Tensors are of F16, all at offset 0: nobody reads them here."""
    content = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        content += _text(key) + _value(value)
    for name, dimensions in tensors:
        rank = len(dimensions)
        content += _text(name) + struct.pack(f"<I{rank}Q", rank, *dimensions)
        content += struct.pack("<IQ", 1, 0)
    return content + bytes(-len(content) % 32)


def _model(name: str, **more: Value) -> bytes:
    metadata: dict[str, Value] = {"general.architecture": name}
    told: dict[str, Value] = {
        "block_count": 2,
        "context_length": 4096,
        "embedding_length": 64,
        "feed_forward_length": 128,
        "attention__head_count": 4,
        "attention__head_count_kv": 2,
        **more,
    }
    metadata |= {f"{name}.{key.replace('__', '.')}": value for key, value in told.items()}
    tensors: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (64, 100))]
    tensors += [(f"blk.{layer}.attn_q.weight", (64, 64)) for layer in range(2)]
    return _file(metadata, tuple(tensors))


_PROJECTOR: Mapping[str, Value] = {
    "general.architecture": "clip",
    "clip.projector_type": "qwen2vl_merger",
    "clip.vision.embedding_length": 64,
    "clip.vision.feed_forward_length": 128,
    "clip.vision.attention.head_count": 4,
    "clip.vision.patch_size": 14,
    "clip.vision.image_size": 224,
}
MODELS = (
    _model("llama"),
    _model("gemma3", attention__sliding_window=512),
    _model("deepseek2", attention__kv_lora_rank=64, expert_used_count=2, expert_count=8),
    _model("mamba", ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16),
    _model("qwen3next", attention__head_count_kv=(0, 2), full_attention_interval=4),
    _model("novel", nextn_predict_layers=1),
)
TARGET = Target(
    check,
    seeds=(
        b"",
        b"GGUF",
        *MODELS,
        _file(_PROJECTOR, (("mm.0.weight", (64, 64)), ("v.blk.0.ffn_gate.weight", (64, 64)))),
    ),
    words=(
        _text("general.alignment"),
        _text("split.count") + _value(2),
        _text("llama.attention.key_length") + _value(128),
        _text("llama.vocab_size") + _value(32000),
        _text("output.weight"),
        _text("blk.1.ffn_gate_exps.weight"),
        *(struct.pack("<I", kind) for kind in range(14)),
    ),
)
