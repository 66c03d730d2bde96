"""Oversubscription in real time: eight real models, room for two, beside llama-server's router.

    python bench/bench_crowd.py [--llama-server PATH] [--rounds 2] [--seconds 4]

The same small model under eight names: behind the daemon as it comes, behind one without
`scheduling.min_residency_s`, and behind llama-server's own router with `--models-max 2`. They take
turns; clients ask by Zipf's law for one token, and again some time after the answer.
"""

import argparse
import asyncio
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bench_docker
import httpx
import peers
from stage import daemon, percentile, say_load
from traces import zipf_weights

from tests.scenarios.daemon import chat, free_port
from tests.scenarios.world import smollm_file

NAMES = tuple(f"model-{number}" for number in range(8))
ROOM = 2
VRAM_MB = 752  # of one, as the daemon reckons
ROUTER = f"llama-server's router, --models-max {ROOM}"
CLIENTS = 8
PAUSE_S = 1.0
WHY = (
    "why   a model that has just come in another's place keeps it against equals for four of\n"
    "      its loads, 10 s at most (scheduling.min_residency_s)."
)
ANSWER_S_MAX = 60.0


@dataclass
class Way:
    url: str
    took_s: list[float] = field(default_factory=list)
    failed: int = 0
    lasted_s: float = 0.0


@contextmanager
def ours(binary: Path, file: Path, **scheduling: float) -> Iterator[Way]:
    service = {"engine": "llama_cpp", "runtime": "process", "binary": str(binary)}
    service |= {"allowed_roots": [str(file.parent)]}
    one = {"service": "llama", "file": str(file), "threads": 1, "context_size": 2048}
    card = {"name": "Fake", "total_mb": VRAM_MB * ROOM + 100, "release_lag_s": 0.0}
    with daemon(
        dict.fromkeys(NAMES, one),
        services={"llama": service},
        devices={"fake": [card]},
        scheduling=scheduling,
    ) as started:
        yield Way(started.url)


@contextmanager
def router(binary: Path, file: Path) -> Iterator[Way]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name in NAMES:
            (Path(folder) / f"{name}.gguf").symlink_to(file)
        port = free_port()
        words = ["--models-dir", folder, "--models-max", str(ROOM), "--port", str(port)]
        with subprocess.Popen(
            [str(binary), *words, "-c", "2048", "-t", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as server:
            try:
                bench_docker.wait_until_ready(f"http://127.0.0.1:{port}")
                yield Way(f"http://127.0.0.1:{port}")
            finally:
                server.terminate()


async def client(way: Way, rng: random.Random, ends_s: float) -> None:
    weights = zipf_weights(len(NAMES))
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_S_MAX) as http:
        while time.monotonic() < ends_s:
            body = {"model": rng.choices(NAMES, weights)[0], **chat()}
            began_s = time.monotonic()
            try:
                answer = await http.post(f"{way.url}/v1/chat/completions", json=body)
            except httpx.HTTPError:
                way.failed += 1
            else:
                way.took_s.append(time.monotonic() - began_s)
                way.failed += answer.status_code != httpx.codes.OK
            await asyncio.sleep(rng.expovariate(1 / PAUSE_S))


async def crowd(way: Way, turn: int, seconds: float) -> None:
    """Until all have their last answer."""
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            rng = random.Random(f"{turn}/{number}")
            tasks.create_task(client(way, rng, began_s + seconds))
    way.lasted_s += time.monotonic() - began_s


def show(ways: Mapping[str, Way]) -> None:
    print(
        f"{'':40}{'answered':>10}{'a minute':>10}{'failed':>8}{'p50 s':>8}{'p95 s':>8}{'max s':>8}"
    )
    for label, way in ways.items():
        answered = len(way.took_s) - way.failed
        figures = [percentile(way.took_s, percent) for percent in (50, 95)]
        print(
            f"{label:40}{answered:>10}{60 * answered / way.lasted_s:>10.0f}{way.failed:>8}"
            + "".join(f"{figure:>8.2f}" for figure in (*figures, max(way.took_s)))
        )
    theirs_s = statistics.mean(ways[ROUTER].took_s)
    for label, way in ways.items():
        ratio = statistics.mean(way.took_s) / theirs_s
        if label != ROUTER:
            print(f"{'' if ratio <= 1 else 'LOST  '}{label}: mean {ratio:.2f} of the router's")
        if ratio > 1:
            print(WHY)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    peers.add_options(parser)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    said = parser.parse_args()
    binary, file = peers.in_the_room(said).llama_server(), smollm_file().resolve()
    if binary is None:
        raise SystemExit("there is no llama-server: tests/tools/build_llama_cpp.sh")
    say_load("before")
    with ExitStack() as stack:
        ways = {
            "ours, as it comes": stack.enter_context(ours(binary, file, min_residency_s=10)),
            "ours, min_residency_s: 0": stack.enter_context(ours(binary, file, min_residency_s=0)),
            ROUTER: stack.enter_context(router(binary, file)),
        }
        for turn in range(said.rounds):
            for way in ways.values():
                asyncio.run(crowd(way, turn, said.seconds))
    show(ways)
    say_load("after")


if __name__ == "__main__":
    main()
