"""Model files made on the spot: the heads of real models, and weights that nobody trained.

What a model takes is told by its head (shapes, types, settings) and not by the values of its
weights, so a head of some kilobytes travels where a model of gigabytes cannot. Heads whose
vocabulary was left out get SmolLM2's, padded to their own length.
"""

import os
import random
import struct
from dataclasses import dataclass
from pathlib import Path

from orchestrator.gguf.reader import read_header

ALIGNMENT = 32
STRING, ARRAY = 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
INT32 = 5
UNUSED_TOKEN = 5  # as llama.cpp numbers the kinds of tokens
RANDOM_BYTES = 16 << 20
# Bytes below 0x30 are small finite numbers in every floating-point format that weights come in:
# with any others some scale would be infinite, and the model's answers no numbers.
FINITE = bytes(value & 0x2F for value in range(256))


@dataclass(frozen=True, slots=True)
class Head:
    """The keys of a file with their values as they lie in it, and its tensors likewise."""

    keys: dict[str, bytes]
    tensors: bytes
    tensor_count: int
    data_bytes: int
    vocabulary: int  # how many tokens the embedding has rows for


class _Cursor:
    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.take("<Q")
        self.at += length
        return self.content[self.at - length : self.at].decode()

    def skip(self, kind: int) -> None:
        if kind == STRING:
            length = self.take("<Q")
            self.at += length
        elif kind == ARRAY:
            inner, count = self.take("<I"), self.take("<Q")
            for _ in range(count if inner in (STRING, ARRAY) else 0):
                self.skip(inner)
            self.at += SIZES.get(inner, 0) * count
        else:
            self.at += SIZES[kind]


def head_bytes(path: Path) -> bytes:
    """The header of a whole model's file: what travels of it."""
    with path.open("rb") as file:
        cursor = _Cursor(file.read(64 << 20))
    _parse(cursor)
    return cursor.content[: cursor.at]


def read_head(path: Path) -> Head:
    cursor = _Cursor(path.read_bytes() if path.stat().st_size < 64 << 20 else head_bytes(path))
    keys, tensors, count, vocabulary = _parse(cursor)
    whole = read_header(path).parts[0].whole_bytes
    return Head(keys, tensors, count, whole - _aligned(cursor.at), vocabulary)


def _parse(cursor: _Cursor) -> tuple[dict[str, bytes], bytes, int, int]:
    assert cursor.content[:4] == b"GGUF"
    cursor.at = 8
    tensor_count, key_count = cursor.take("<Q"), cursor.take("<Q")
    keys = {}
    for _ in range(key_count):
        name, start = cursor.text(), cursor.at
        cursor.skip(cursor.take("<I"))
        keys[name] = cursor.content[start : cursor.at]
    began, vocabulary = cursor.at, 0
    for _ in range(tensor_count):
        name = cursor.text()
        dimensions = [cursor.take("<Q") for _ in range(cursor.take("<I"))]
        cursor.at += 12  # the type and the offset
        if name == "token_embd.weight":
            vocabulary = dimensions[1]
    return keys, cursor.content[began : cursor.at], tensor_count, vocabulary


def grafted(head: Head, donor: Head) -> Head:
    """The head with the donor's vocabulary in place of the one it lacks."""
    keys = {name: raw for name, raw in head.keys.items() if not name.startswith("tokenizer.")}
    keys |= {name: raw for name, raw in donor.keys.items() if name.startswith("tokenizer.")}
    more = head.vocabulary - donor.vocabulary
    assert more >= 0, "the donor's vocabulary is longer than the model's embedding"
    words = b"".join(_text(f"<unused{n}>") for n in range(more))
    for name, added in (
        ("tokenizer.ggml.tokens", words),
        ("tokenizer.ggml.token_type", struct.pack("<i", UNUSED_TOKEN) * more),
        ("tokenizer.ggml.scores", struct.pack("<f", 0.0) * more),
    ):
        if name in keys:
            kind, inner, _ = struct.unpack_from("<IIQ", keys[name])
            start = struct.pack("<IIQ", kind, inner, head.vocabulary)
            keys[name] = start + keys[name][16:] + added
    return Head(keys, head.tensors, head.tensor_count, head.data_bytes, head.vocabulary)


def write_model(head: Head, path: Path, *, written: bool = False) -> Path:
    """With weights that are zeros and take no room on the disk, or `written`: random and small."""
    start = struct.pack("<4sIQQ", b"GGUF", 3, head.tensor_count, len(head.keys))
    keys = b"".join(_text(name) + raw for name, raw in head.keys.items())
    header = start + keys + head.tensors
    with path.open("wb") as file:
        file.write(header.ljust(_aligned(len(header)), b"\0"))
        if written:
            block = random.Random(0).randbytes(RANDOM_BYTES).translate(FINITE)
            for offset in range(0, head.data_bytes, RANDOM_BYTES):
                file.write(block[: head.data_bytes - offset])
        file.truncate(_aligned(len(header)) + head.data_bytes)
        if written:
            file.flush()
            os.fsync(file.fileno())
    return path


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
