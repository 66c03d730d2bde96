"""Models as tests need them: the headers under tests/data, and shapes written to files."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.gguf.header import Header
from orchestrator.gguf.reader import read_header
from orchestrator.gguf.settings import Settings
from tests.unit.gguf.gguf_files import TensorShape, write_model

FOOTPRINTS = Path(__file__).parents[2] / "data" / "footprints"
NAMES = (
    "dsv2-lite",
    "g270",
    "gemma3-27b",
    "gpt-oss-20b",
    "llama31-8b",
    "qwen3-0.6b",
    "qwen3-30b-a3b",
    "qwen35-9b",
)


@cache
def header(name: str) -> Header:
    return read_header(FOOTPRINTS / f"{name}.gguf")


@cache
def rows(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((FOOTPRINTS / f"{name}.json").read_text())
    return loaded


def settings(row: dict[str, Any]) -> Settings:
    """The settings under which a row of an oracle was recorded."""
    return Settings(
        context_size=row["context_size"],
        slots=row["slots"],
        unified_cache=row["unified_cache"],
        cache_type_k=row["cache_type"],
        cache_type_v=row["cache_type"],
        ubatch=row["ubatch"],
        gpu_layers=row["gpu_layers"],
        tensor_split=tuple(row["tensor_split"]),
        flash_attention=row["flash_attention"],
        n_cpu_moe=row["n_cpu_moe"],
    )


def write_shape(name: str, path: Path, *, whole: bool = False) -> Path:
    """One of `other_shapes.json`, as a file that llama.cpp would load."""
    shape = json.loads((FOOTPRINTS / "other_shapes.json").read_text())[name]
    tensors: list[TensorShape] = [
        (suffix, tuple(dimensions), kind) for suffix, dimensions, kind in shape["tensors"]
    ]
    for suffix, dimensions, kind, layers in shape["layer_tensors"]:
        tensors += [(f"blk.{i}.{suffix}", tuple(dimensions), kind) for i in _numbers(layers)]
    return write_model(path, shape["metadata"], tensors, whole=whole)


def _numbers(ranges: str) -> list[int]:
    bounds = [part.partition("-") for part in ranges.split(",")]
    return [i for first, _, last in bounds for i in range(int(first), int(last or first) + 1)]


def write_quantized(path: Path, kind: int, *, width: int = 512) -> Path:
    """A small llama whose matrices are of one type: whole, and larger or smaller by that alone."""
    tensors: list[TensorShape] = [
        ("token_embd.weight", (width, 1000), kind),
        ("output_norm.weight", (width,), 0),
        ("output.weight", (width, 1000), kind),
    ]
    for i in range(2):
        tensors += [(f"blk.{i}.{norm}.weight", (width,), 0) for norm in ("attn_norm", "ffn_norm")]
        square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        tensors += [(f"blk.{i}.{name}.weight", (width, width), kind) for name in square]
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 4096,
        "llama.embedding_length": width,
        "llama.feed_forward_length": width,
        "llama.attention.head_count": 8,
        "llama.attention.head_count_kv": 8,
    }
    return write_model(path, metadata, tensors, whole=True)
