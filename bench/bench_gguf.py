"""How fast the header reader is, beside the `gguf` package, in one run on one file.

    python -m pip install gguf
    PYTHONPATH=. python bench/bench_gguf.py [FILE.gguf]

Without a file it makes one with the shape of an 8B model and a vocabulary of real size: 151 936
words with their types and 151 387 merges. The `gguf` package is timed where it is installed.
"""

import argparse
import importlib.util
import random
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.gguf.reader import read_header

WORDS = 151_936
MERGES = 151_387
TENSORS = 399
RUNS = 21
SLOW_RUNS = 3
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the header reader.")
    parser.add_argument("file", nargs="?", type=Path, help="a GGUF file; made up if left out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.file or made_up(Path(folder) / "made-up.gguf")
        compare(path)


def compare(path: Path) -> None:
    ours_s = seconds(lambda: read_header(path), RUNS)
    header = read_header(path)
    print(f"{path.name}: {header.file_bytes / MIB:,.0f} MiB, {len(header.tensors)} tensors")
    print(f"orchestrator.gguf   {ours_s * 1e3:10.1f} ms   (median of {RUNS})")
    if importlib.util.find_spec("gguf") is None:
        sys.exit("gguf package: not installed (python -m pip install gguf)")
    import gguf  # noqa: PLC0415

    theirs_s = seconds(lambda: gguf.GGUFReader(path), SLOW_RUNS)
    print(f"gguf.GGUFReader     {theirs_s * 1e3:10.1f} ms   (median of {SLOW_RUNS})")
    print(f"ratio               {theirs_s / ours_s:10.0f} x")


def seconds(read: Callable[[], object], runs: int) -> float:
    """The median time of a call; the first one warms the page cache and is not counted."""
    read()
    times = []
    for _ in range(runs):
        started_s = time.perf_counter()
        read()
        times.append(time.perf_counter() - started_s)
    return statistics.median(times)


def made_up(path: Path) -> Path:
    """A sparse file with a header as real ones have it; only the words are invented."""
    chance = random.Random(7)
    words = [word(chance, 2, 12) for _ in range(WORDS)]
    merges = [f"{word(chance, 1, 6)} {word(chance, 1, 6)}" for _ in range(MERGES)]
    architecture = "qwen3"
    numbers = {
        "block_count": 36,
        "embedding_length": 4096,
        "context_length": 40960,
        "attention.head_count": 32,
        "attention.head_count_kv": 8,
    }
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text(architecture)]
    pairs += [
        text(f"{architecture}.{key}") + struct.pack("<II", 4, n) for key, n in numbers.items()
    ]
    pairs += [strings("tokenizer.ggml.tokens", words)]
    kinds = struct.pack(f"<IIQ{WORDS}i", 9, 5, WORDS, *([1] * WORDS))
    pairs += [text("tokenizer.ggml.token_type") + kinds]
    pairs += [strings("tokenizer.ggml.merges", merges)]
    fixed = struct.pack("<4sIQQ", b"GGUF", 3, TENSORS, len(pairs))
    size = 4096 * 4096 * 2
    records = [
        text(f"blk.{i // 11}.part_{i % 11}.weight")
        + struct.pack("<IQQIQ", 2, 4096, 4096, 1, i * size)
        for i in range(TENSORS)
    ]
    header = b"".join([fixed, *pairs, *records])
    header += bytes(-len(header) % 32)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + TENSORS * size)
    return path


def word(chance: random.Random, least: int, most: int) -> str:
    return "".join(chance.choices("abcdefghijklmnopqrstuvwxyzĠ", k=chance.randint(least, most)))


def text(content: str) -> bytes:
    encoded = content.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def strings(key: str, values: list[str]) -> bytes:
    head = text(key) + struct.pack("<IIQ", 9, 8, len(values))
    return head + b"".join(text(value) for value in values)


if __name__ == "__main__":
    main()
