"""What a swap takes beyond the servers' own stop and start, from a request to its first byte.

    python bench/bench_swap.py [--swaps 20] [--load-s 0.2]

Two models that do not fit together are asked for by turns, through the gateway; after a swap the
same stand-in is started and stopped by hand. The card gives its bytes back at once. How long the
steps took stands beside it, by the daemon's own events.
"""

import argparse
import statistics
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise

import httpx
from stage import Daemon, daemon, model, percentile, say_load

from tests.scenarios.daemon import chat, free_port

OVER_MS_MAX = 60.0
LOOK_S = 0.001
IDLE_S = 0.3  # between a swap and the next
STEPS = ("reserve", "evict", "evicted", "load", "loaded")


def by_hand(load_s: float) -> float:
    """Seconds of a start, until it is ready, and of a stop."""
    port = free_port()
    words = ["--model", "a", "--port", str(port), "--load-s", str(load_s)]
    began_s = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "orchestrator.stand_in.server", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with httpx.Client(trust_env=False) as http:
        while not ready(http, port):
            time.sleep(LOOK_S)
    server.terminate()
    server.wait()
    return time.perf_counter() - began_s


def ready(http: httpx.Client, port: int) -> bool:
    try:
        return http.get(f"http://127.0.0.1:{port}/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def first_byte(started: Daemon, name: str) -> float:
    """Seconds until the answer of the model begins, with its first token."""
    body = {"model": name, "stream": True, "max_tokens": 1, **chat()}
    began_s = time.perf_counter()
    with started.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(answer.iter_bytes())
        return time.perf_counter() - began_s


def steps_ms(started: Daemon, swaps: int) -> dict[str, float]:
    """Medians of the time from each event of a swap to the next."""
    told = [event for event in started.decisions() if event["kind"] in STEPS]
    told = told[-swaps * len(STEPS) :]
    taken: dict[str, list[float]] = {}
    for before, after in pairwise(told):
        if after["kind"] != "reserve":
            passed = datetime.fromisoformat(after["at"]) - datetime.fromisoformat(before["at"])
            step = f"{before['kind']} to {after['kind']}"
            taken.setdefault(step, []).append(passed.total_seconds() * 1e3)
    return {step: statistics.median(values) for step, values in taken.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--swaps", type=int, default=20)
    arguments.add_argument("--load-s", type=float, default=0.2)
    said = arguments.parse_args()
    say_load("before")
    fake = {"load_s": said.load_s, "tokens_per_s": 1000}
    card = {"fake": [{"name": "Fake 32 GB", "total_mb": 32768, "release_lag_s": 0.0}]}
    with daemon({name: model(20_000, fake=fake) for name in "ab"}, devices=card) as started:
        for name in "ab":
            first_byte(started, name)
        swaps_s, own_s = [], []
        for turn in range(said.swaps):
            time.sleep(IDLE_S)
            swaps_s.append(first_byte(started, "ab"[turn % 2]))
            own_s.append(by_hand(said.load_s))
        steps = steps_ms(started, said.swaps)
    over_ms = [1e3 * (swap - own) for swap, own in zip(swaps_s, own_s, strict=True)]
    print(f"a swap to its first byte: p50 {1e3 * percentile(swaps_s, 50):.0f} ms")
    print(f"  start and stop by hand: p50 {1e3 * percentile(own_s, 50):.0f} ms")
    worst_ms = percentile(over_ms, 95)
    verdict = "reached" if worst_ms <= OVER_MS_MAX else "MISSED"
    print(
        f"  beyond that: p50 {percentile(over_ms, 50):.0f} ms, p95 {worst_ms:.0f} ms, "
        f"at most {OVER_MS_MAX:.0f} ms: {verdict}"
    )
    for step, taken_ms in steps.items():
        print(f"  {step}: {taken_ms:.0f} ms")
    say_load("after")


if __name__ == "__main__":
    main()
