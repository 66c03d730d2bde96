"""All tables on one page: what each way takes, beside its peers, in one run on this machine.

    python bench/page.py [--to build/bench.md]

What a table says, and what it needs, stands in README.md. One that cannot be measured here says
why; one that breaks off does too, and the page goes on. Takes some ten minutes on two cores.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stage import ROOT

from tests.scenarios.world import smollm_file

TABLE_S_MAX = 300.0  # of one script: the longest takes a minute on two idle cores


def no_edge() -> str:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    lacking = [
        name for name, found in (("nginx", nginx), ("wrk", shutil.which("wrk"))) if not found
    ]
    return f"there is no {' and no '.join(lacking)} here" if lacking else ""


def llama_server() -> str:
    """The path of the one that the tests have built, or on PATH; empty if there is none."""
    tool = ROOT / "tests" / "tools" / "build_llama_cpp.sh"
    told = subprocess.run([tool, "--check"], capture_output=True, text=True, check=False)
    if told.returncode == 0:
        return str(Path(told.stdout.strip().splitlines()[-1]) / "llama-server")
    return shutil.which("llama-server") or ""


def no_llama() -> str:
    return "" if llama_server() else "there is no llama-server: tests/tools/build_llama_cpp.sh"


def no_docker() -> str:
    said = "DOCKER_HOST does not say where Docker is"
    return no_llama() or ("" if os.environ.get("DOCKER_HOST") else said)  # noqa: TID251 - Docker's


def nothing() -> str:
    return ""


@dataclass(frozen=True)
class Table:
    title: str
    words: Callable[[], Sequence[str]]
    lacking: Callable[[], str] = nothing


def of(*words: str) -> Callable[[], Sequence[str]]:
    return lambda: words


def real_swap() -> Sequence[str]:
    server, model = llama_server(), str(smollm_file())
    return ("bench_swap.py", "--swaps", "12", "--llama-server", server, "--model", model)


TABLES = (
    Table("Warm request: edge", of("bench_edge.py", "--rounds", "3"), no_edge),
    Table("Warm request: relay", of("bench_relay.py", "--rounds", "3"), no_edge),
    Table("Streaming", of("bench_streams.py", "--rounds", "2", "--seconds", "3"), no_edge),
    Table("Swap: stand-in", of("bench_swap.py", "--swaps", "12")),
    Table("Swap: llama-server as process", real_swap, no_llama),
    Table(
        "Swap: llama-server in Docker", of("bench_swap.py", "--docker", "--swaps", "8"), no_docker
    ),
    Table("Contention", of("bench_cuts.py", "--tries", "16")),
    Table("Oversubscription", of("bench_oversubscription.py")),
    Table("Eviction", of("bench_eviction.py")),
    Table("Prediction", of("bench_prediction.py")),
    Table("Recovery", of("bench_warm.py")),
    Table("Scale: status", of("bench_status.py")),
    Table("Scale: decisions", of("bench_decisions.py")),
)


def measured(table: Table) -> str:
    if why := table.lacking():
        return f"not measured: {why}"
    words = [sys.executable, str(ROOT / "bench" / table.words()[0]), *table.words()[1:]]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=TABLE_S_MAX, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return f"broke off: it took more than {TABLE_S_MAX:g} s"
    said = done.stdout.rstrip()
    if done.returncode != 0:
        said += f"\nbroke off: {done.stderr.strip().splitlines()[-1:]}"
    return said


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--to", type=Path, default=ROOT / "build" / "bench.md")
    to = arguments.parse_args().to
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    head = (
        "# What it takes, beside its peers\n\n"
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip() or 'unknown'}, "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}. What "
        "counts are the ratios within one table; `bench/README.md` says what each says.\n"
    )
    parts = [head]
    to.parent.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        began_s = time.monotonic()
        said = measured(table)
        parts.append(f"## {table.title}\n\n```\n{said}\n```\n")
        print(f"{parts[-1]}({time.monotonic() - began_s:.0f} s)\n", flush=True)
        to.write_text("\n".join(parts))
    print(f"written: {to}")


if __name__ == "__main__":
    main()
