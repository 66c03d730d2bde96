"""Asks llama.cpp's own planner about every shape in tests/data/footprints, and records it.

    tests/tools/build_llama_cpp.sh
    python -m tests.tools.ask_planner "$(tests/tools/build_llama_cpp.sh --check)"

Rewrites `other_oracle.json` (one GPU, other architectures) and `placement_oracle.json` (several
GPUs, experts on the host, the eight models of `oracle.json`). Files are sparse and pretend GPUs
compute nothing, so that a 350 GB model costs neither disk nor memory.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.gguf.dry_run import Planner, dry_run, find_planner
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.footprint import MIB, Share
from orchestrator.gguf.header import Skipped
from orchestrator.gguf.reader import read_header
from tests.unit.gguf.gguf_files import Value, write_model
from tests.unit.gguf.shapes import FOOTPRINTS, NAMES, header, settings, write_shape

BASE = {
    "context_size": 8192,
    "tensor_split": [1.0],
    "gpu_layers": "all",
    "n_cpu_moe": 0,
    "flash_attention": True,
    "ubatch": 512,
    "slots": 1,
    "unified_cache": True,
    "cache_type": "f16",
}
MIXTURES = ("dsv2-lite", "gpt-oss-20b", "qwen3-30b-a3b")


def main() -> None:
    planner = find_planner(Path(sys.argv[1]), pretend_gpus=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        shapes = json.loads((FOOTPRINTS / "other_shapes.json").read_text())
        others = [
            row
            for name in shapes
            for row in answers(planner, name, write_shape(name, path, whole=True), variations(name))
        ]
        record("other_oracle", others)
        placements = [
            row
            for name in NAMES
            for row in answers(planner, name, write_known(name, path), placements_of(name))
        ]
        record("placement_oracle", placements)


def variations(name: str) -> list[dict[str, Any]]:
    half = header_layers(name) // 2
    plain, batch = {"flash_attention": False}, {"ubatch": 2048, "slots": 4, "unified_cache": False}
    both = {"gpu_layers": half, "ubatch": 1024, "slots": 2, **plain}
    return [{}, batch, plain, {"gpu_layers": half}, both, {"gpu_layers": 0}]


def header_layers(name: str) -> int:
    shapes = json.loads((FOOTPRINTS / "other_shapes.json").read_text())
    metadata = shapes[name]["metadata"]
    count: int = metadata[f"{metadata['general.architecture']}.block_count"]
    return count


def placements_of(name: str) -> Iterator[dict[str, Any]]:
    for split in ([1.0, 1.0], [3.0, 1.0], [1.0, 2.0, 3.0]):
        yield {"tensor_split": split}
        yield {"tensor_split": split, "gpu_layers": 15}
    yield {"tensor_split": [1.0, 1.0], "flash_attention": False}
    yield {"flash_attention": False, "slots": 4, "unified_cache": False, "ubatch": 1024}
    yield {"tensor_split": []}
    for kept in (4, 99) if name in MIXTURES else ():
        yield {"n_cpu_moe": kept}
        yield {"n_cpu_moe": kept, "gpu_layers": 12}
        yield {"n_cpu_moe": kept, "flash_attention": False}
        yield {"n_cpu_moe": kept, "tensor_split": [1.0, 1.0]}


def write_known(name: str, path: Path) -> Path:
    """One of the headers, as long as the model and with as many words, but without any."""
    known = header(name)
    words = next(t.width for t in known.tensors if t.name == "token_embd.weight")
    wordless: dict[str, Value] = {
        "tokenizer.ggml.model": "no_vocab",
        f"{known.architecture}.vocab_size": words,
    }
    tensors = [(tensor.name, tensor.dimensions, tensor.type_id) for tensor in known.tensors]
    kept: dict[str, Value] = {
        key: value for key, value in known.metadata.items() if not isinstance(value, Skipped)
    }
    return write_model(path, kept | wordless, tensors, whole=True)


def answers(
    planner: Planner,
    name: str,
    path: Path,
    variants: Iterator[dict[str, Any]] | list[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    model = read_header(path)
    for variant in variants:
        row = {"model": name, **BASE, **variant}
        try:
            answer = dry_run(model, settings(row), planner)
        except GgufError as error:
            print(f"{name} {variant}: {error}", file=sys.stderr)
            continue
        yield row | {
            "devices": [in_mib(each) for each in answer.devices],
            "host": in_mib(answer.host),
        }


def in_mib(share: Share) -> dict[str, float]:
    return {
        "weights_mib": share.weights_bytes / MIB,
        "context_mib": share.context_bytes / MIB,
        "compute_mib": share.compute_bytes / MIB,
    }


def record(name: str, rows: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(row) for row in rows)
    (FOOTPRINTS / f"{name}.json").write_text(f"[\n{lines}\n]\n")
    print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
