"""Writes GGUF files of any shape, right or wrong, without a byte of tensor data."""

import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.gguf.quantization import BLOCK_TYPES

F32, F16, Q4_K, Q8_0 = 0, 1, 12, 8
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 5, 6, 7, 8, 9, 10

# The least that an estimate needs to know.
LLAMA = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
}


@dataclass(frozen=True)
class Raw:
    """Bytes of a value, type included, where a test wants them wrong."""

    content: bytes


Value = int | float | str | bool | Raw | Sequence[int] | Sequence[float] | Sequence[str]
TensorShape = tuple[str, tuple[int, ...], int]


def text(content: str) -> bytes:
    encoded = content.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def value_bytes(value: Value) -> bytes:
    match value:
        case Raw():
            return value.content
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", UINT32, value)
        case float():
            return struct.pack("<If", FLOAT32, value)
        case str():
            return struct.pack("<I", STRING) + text(value)
    if all(isinstance(each, str) for each in value):
        words = b"".join(text(str(each)) for each in value)
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + words
    if any(isinstance(each, float) for each in value):
        floats = [float(each) for each in value]
        return struct.pack(f"<IIQ{len(floats)}f", ARRAY, FLOAT32, len(floats), *floats)
    numbers = [int(each) for each in value]
    return struct.pack(f"<IIQ{len(numbers)}I", ARRAY, UINT32, len(numbers), *numbers)


def size_bytes(dimensions: tuple[int, ...], type_id: int) -> int:
    rows = 1
    for each in dimensions[1:]:
        rows *= each
    return BLOCK_TYPES[type_id].row_bytes(dimensions[0]) * rows


def header_bytes(metadata: Mapping[str, Value], tensors: Sequence[TensorShape] = ()) -> bytes:
    pieces = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))]
    pieces += [text(key) + value_bytes(value) for key, value in metadata.items()]
    offset = 0
    for name, dimensions, type_id in tensors:
        rank = len(dimensions)
        pieces.append(text(name) + struct.pack(f"<I{rank}Q", rank, *dimensions))
        pieces.append(struct.pack("<IQ", type_id, offset))
        offset += -(-size_bytes(dimensions, type_id) // 32) * 32
    content = b"".join(pieces)
    return content + bytes(-len(content) % 32)


def write_model(
    path: Path,
    metadata: Mapping[str, Value],
    tensors: Sequence[TensorShape] = (),
    *,
    whole: bool = False,
) -> Path:
    """A header alone, or a sparse file as long as the whole model."""
    content = header_bytes(metadata, tensors)
    with path.open("wb") as file:
        file.write(content)
        if whole:
            data = sum(-(-size_bytes(dims, kind) // 32) * 32 for _, dims, kind in tensors)
            file.truncate(len(content) + data)
    return path


def unknown_architecture(path: Path) -> Path:
    """A model of a kind that nobody here has heard of."""
    metadata: dict[str, Value] = {
        "general.architecture": "novel",
        "novel.block_count": 2,
        "novel.embedding_length": 256,
        "novel.attention.head_count": 4,
        "novel.context_length": 4096,
    }
    tensors: list[TensorShape] = [("token_embd.weight", (256, 1000), F16)]
    tensors += [(f"blk.{i}.attn_q.weight", (256, 256), F16) for i in range(2)]
    return write_model(path, metadata, tensors, whole=True)


def write_adapter(path: Path, seed: int, *, width: int = 576, layers: int = 30) -> Path:
    """A LoRA adapter of rank 4 for the way out of every layer of a llama: small numbers, which
    change what it says.
    """
    chance, rank = random.Random(seed), 4
    shapes = {"lora_a": (width, rank), "lora_b": (rank, width)}
    tensors: list[TensorShape] = [
        (f"blk.{layer}.attn_output.weight.{side}", shape, F32)
        for layer in range(layers)
        for side, shape in shapes.items()
    ]
    metadata: dict[str, Value] = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
    }
    count = width * rank
    numbers = [chance.uniform(-0.4, 0.4) for _ in range(count * len(tensors))]
    data = struct.pack(f"<{len(numbers)}f", *numbers)
    path.write_bytes(header_bytes(metadata, tensors) + data)
    return path
