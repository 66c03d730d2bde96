"""Whether virtual time is to be believed: the real daemon, and its own history replayed.

    python bench/bench_replay.py [--seconds 15]

Ten stand-ins of four times the VRAM behind the real daemon's gateway, clients that ask for them by
Zipf's law; then what `orchestrator events --export` writes, replayed as by `orchestrator simulate`.
The tables of oversubscription and eviction rest on the same machine.
"""

import argparse
import asyncio
import json
import random
import time

import httpx
from stage import Daemon, daemon, model
from traces import zipf_weights

from orchestrator.cli.client import Remote
from orchestrator.cli.exporting import lines
from orchestrator.replay.history import read_trace
from orchestrator.replay.scenarios import Scenario, played
from orchestrator.replay.trace import Tally, at_quantile

CARD_MB = 24576
SIZES_MB = (2000, 4000, 5000, 6000, 8000, 9000, 12000, 13000, 16000, 21000)
LOAD_MB_PER_S = 20_000  # ten times as fast as in bench_oversubscription.py, to be done soon
CLIENTS = 20
PAUSE_S = 8.0
TOKENS = (5, 40)  # at 50 a second
ANSWER_S_MAX = 120.0


def models() -> dict[str, dict[str, object]]:
    return {
        f"model-{size_mb // 1000}": model(size_mb, fake={"load_s": 0.15 + size_mb / LOAD_MB_PER_S})
        for size_mb in SIZES_MB
    }


async def client(number: int, started: Daemon, ends_s: float) -> None:
    rng = random.Random(number)
    names = random.Random("names").sample(sorted(models()), len(SIZES_MB))
    weights = zipf_weights(len(names))
    url = f"http://127.0.0.1:{started.port}/v1/chat/completions"
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_S_MAX) as http:
        while time.monotonic() < ends_s:
            await asyncio.sleep(rng.expovariate(1 / PAUSE_S))
            said = {"role": "user", "content": "hello"}
            body = {"model": rng.choices(names, weights)[0], "messages": [said]}
            await http.post(url, json=body | {"max_tokens": rng.randrange(*TOKENS)})


async def traffic(started: Daemon, seconds: float) -> None:
    ends_s = time.monotonic() + seconds
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(client(number, started, ends_s))


ROWS = {
    "answered": lambda tally: len(tally.answered),
    "not answered": lambda tally: sum(tally.refused.values()),
    "loads": lambda tally: tally.loads,
    "evictions": lambda tally: tally.evictions,
    "waited p50 s": lambda tally: at_quantile(tally.waits_s, 0.5),
    "waited p95 s": lambda tally: at_quantile(tally.waits_s, 0.95),
    "waited longest s": lambda tally: at_quantile(tally.waits_s, 1.0),
    "waited all s": lambda tally: sum(tally.waits_s),
}


def show(was: Tally, replayed: Tally) -> None:
    print(f"{'':20}{'as it was':>12}{'replayed':>12}{'ratio':>9}")
    for name, figure in ROWS.items():
        real, virtual = figure(was), figure(replayed)
        ratio = f"{virtual / real:.2f}" if real else "-"
        print(f"{name:20}{real:>12.4g}{virtual:>12.4g}{ratio:>9}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    seconds = parser.parse_args().seconds
    devices = {"headroom_mb": 0, "fake": [{"name": "Fake 24 GB", "total_mb": CARD_MB}]}
    scheduling = {"min_residency_s": 10}  # the default, which replays have
    with daemon(models(), devices=devices, scheduling=scheduling) as started:
        asyncio.run(traffic(started, seconds))
        time.sleep(1.0)  # the last figures are on their way to the disk
        url = f"http://127.0.0.1:{started.port}"
        trace = read_trace([json.dumps(line) for line in lines(Remote(url))])
    assert trace.was is not None
    print(
        f"{len(trace.demands)} requests of {CLIENTS} clients for {len(SIZES_MB)} stand-ins of "
        f"{sum(SIZES_MB) // 1000} GB on {CARD_MB // 1024} GB, in {seconds:g} s\n"
    )
    show(trace.was, played(trace, Scenario(title="replayed", devices=trace.devices)))


if __name__ == "__main__":
    main()
