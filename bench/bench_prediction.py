"""How far formulas for a model's VRAM lie from what llama.cpp's own planner answers.

    python bench/bench_prediction.py

The planner's answers were recorded (tests/data/footprints): eight models, all layers on one GPU,
caches in f16, as the formulas of others have them. Compared are weights, context and compute
buffers, without what a driver takes for itself. Ours works out what the planner does and is tested
against these very answers; `bench_footprints.py` measures what a server really holds.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stage import ROOT

from orchestrator.core.values.measurements import p95_bytes
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.header import Header
from orchestrator.gguf.reader import read_header
from orchestrator.gguf.settings import Settings

MIB = 1 << 20
FOLDER = ROOT / "tests" / "data" / "footprints"
ALL_LAYERS = 999
SHOWN_CONTEXT = 32768  # of the table by models
Row = dict[str, Any]


def ours(header: Header, row: Row) -> float:
    asked = Settings(
        context_size=row["n_ctx"],
        slots=row["n_parallel"],
        unified_cache=row["kv_unified"],
        ubatch=row["n_ubatch"],
    )
    [device] = estimate(header, asked).devices
    return device.planned_bytes


def heads_kv(header: Header) -> Sequence[int]:
    layers = header.integer("block_count")
    return header.per_layer("attention.head_count_kv", layers, 1)


def ollama(header: Header, row: Row) -> float:
    """`PredictServerVRAM`, llm/llama_server.go at fb30760, August 2026: the file, and 2 · layers ·
    least KV heads · (embedding / heads) · context · 2 bytes.
    """
    layers = header.integer("block_count")
    heads = max(header.per_layer("attention.head_count", layers, 1))
    dimension = header.integer("embedding_length") // heads
    least = min(heads_kv(header)) or 1
    return header.tensor_bytes + 2 * layers * least * dimension * row["n_ctx"] * 2


def local_ai(header: Header, row: Row) -> float:
    """`computeVRAM`, pkg/vram/estimate.go at 82c191a, August 2026: the file and 4 % of it, 150 MB,
    and 2 bytes · embedding · KV heads · context.
    """
    layers = header.integer("block_count")
    heads = heads_kv(header)[0] or header.per_layer("attention.head_count", layers, 8)[0]
    cache = 2 * header.integer("embedding_length") * heads * row["n_ctx"]
    return header.tensor_bytes * 1.04 + 0.15e9 + cache


def rule_of_thumb(header: Header, _row: Row) -> float:
    """Parameters · bits / 8 · 1.2, as guides have it: the file and a fifth."""
    return header.tensor_bytes * 1.2


FORMULAS: Mapping[str, Callable[[Header, Row], float]] = {
    "ours, before a first load": ours,
    "Ollama's PredictServerVRAM": ollama,
    "LocalAI's computeVRAM": local_ai,
    "file x 1.2, as guides have it": rule_of_thumb,
}


@dataclass(frozen=True)
class Errors:
    """Signed, in percent: below zero is less than it takes."""

    percent: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(map(abs, self.percent))

    @property
    def p95(self) -> float:
        return p95_bytes([round(abs(one) * 1000) for one in self.percent]) / 1000

    @property
    def short(self) -> float:
        """Of all, in how many a load that was let in by it lacks more than 5 %."""
        return 100 * sum(one < -5 for one in self.percent) / len(self.percent)

    @property
    def wasted(self) -> float:
        """In how many more than 5 % is kept that nobody needs."""
        return 100 * sum(one > 5 for one in self.percent) / len(self.percent)


def rows() -> Sequence[Row]:
    found: list[Row] = json.loads((FOLDER / "oracle.json").read_text())
    return [
        row for row in found if row["n_gpu_layers"] == ALL_LAYERS and row["cache_type"] == "f16"
    ]


def error_percent(told_bytes: float, row: Row) -> float:
    planned_bytes = MIB * (row["model_mib"] + row["context_mib"] + row["compute_mib"])
    return 100 * (told_bytes - planned_bytes) / planned_bytes


def errors(headers: Mapping[str, Header], asked: Sequence[Row]) -> dict[str, Errors]:
    return {
        name: Errors([error_percent(formula(headers[row["model"]], row), row) for row in asked])
        for name, formula in FORMULAS.items()
    }


def signed(percent: float) -> str:
    """Without a sign where it is nothing."""
    return f"{percent:+.1f} %" if abs(percent) >= 0.05 else "0.0 %"


def main() -> None:
    asked = rows()
    names = sorted({row["model"] for row in asked})
    headers = {name: read_header(FOLDER / f"{name}.gguf") for name in names}
    print(
        f"{len(asked)} configurations of {len(names)} models: contexts of 2 048 to 32 768, one to "
        "four slots, all layers on a GPU, caches in f16\n"
    )
    heads = ("median error", "p95", "least", "most", "too little", "too much")
    print(f"{'':32}" + "".join(f"{head:>14}" for head in heads))
    for name, found in errors(headers, asked).items():
        figures = (
            *(f"{found.median:.1f} %", f"{found.p95:.1f} %"),
            *(signed(edge) for edge in (min(found.percent), max(found.percent))),
            *(f"{share:.0f} %" for share in (found.short, found.wasted)),
        )
        print(f"{name:32}" + "".join(f"{figure:>14}" for figure in figures))
    print(
        "\ntoo little, too much: configurations off by more than 5 %. Ours works out what the "
        "planner does, and is tested\nagainst these very answers: bench_footprints.py measures "
        "what a server really holds.\n"
    )
    print(f"{f'at a context of {SHOWN_CONTEXT}':32}" + "".join(f"{name:>15}" for name in names))
    for name, formula in FORMULAS.items():
        line = [
            statistics.mean(
                error_percent(formula(headers[model], row), row)
                for row in asked
                if (row["model"], row["n_ctx"]) == (model, SHOWN_CONTEXT)
            )
            for model in names
        ]
        print(f"{name:32}" + "".join(f"{signed(error):>15}" for error in line))


if __name__ == "__main__":
    main()
