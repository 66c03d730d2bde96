"""How long `GET /models/status` takes while 50 poll it, a model loads and another stops slowly.

    python bench/bench_status.py

The daemon is real, its devices and servers are stand-ins. On each of two devices two models that
ignore SIGTERM push each other out all the time. `GET /health` and a bare server in a process of
its own are asked in the same run: what they take as well is not the status.
"""

import asyncio
import contextlib
import itertools
import json
import random
import time

from stage import (
    Caller,
    bare_server,
    config,
    cpu_s,
    daemon,
    measured,
    model,
    percentile,
    say_load,
    say_times,
)

CATALOGUE = 1000
POLLERS = 50
HEALTH_POLLERS = 10
EVERY_S = 0.25  # each poller; a dashboard asks once a second
RUN_S = 12.0
QUIET_S = 6.0
IN_A_ROW = 3000  # requests on one connection, for the processor time of one
TARGET_S = 0.005

CARD_MB = 32768
HEAVY = {"load_s": 2.0, "ignore_sigterm": True}


def catalogue():
    """Pairs that cannot share a card, and many that are only listed."""
    models = {
        f"heavy-{card}-{side}": model(20_000, fake=HEAVY, devices=[f"fake-{card}"])
        for card in (0, 1)
        for side in ("a", "b")
    }
    models |= {f"light-{n}": model(200, devices=[f"fake-{n % 2}"]) for n in range(10)}
    return models | {f"listed-{n:03d}": model(4_000) for n in range(CATALOGUE - len(models))}


async def poll(port: int, path: str, until_s: float, times_s: list[float]) -> None:
    caller = await Caller.to(port)
    await asyncio.sleep(random.uniform(0, EVERY_S))  # not all at the same moment
    while time.perf_counter() < until_s:
        taken_s, _ = await caller.get(path)
        times_s.append(taken_s)
        await asyncio.sleep(max(0.0, random.uniform(0.5, 1.5) * EVERY_S - taken_s))
    caller.close()


async def swap(port: int, card: int) -> None:
    """Load one of the two and then the other, for as long as anybody looks."""
    caller = await Caller.to(port)
    try:
        for side in itertools.cycle("ab"):
            wish = {"model": f"heavy-{card}-{side}"}
            await caller.post("/models/load", json.dumps(wish).encode())
    finally:
        caller.close()


async def look(ports: dict[str, int], seconds: float) -> dict[str, list[float]]:
    until_s = time.perf_counter() + seconds
    times_s: dict[str, list[float]] = {"status": [], "health": [], "bare": []}
    pollers = [("status", "/models/status")] * POLLERS
    pollers += [("health", "/health"), ("bare", "/")] * HEALTH_POLLERS
    await asyncio.gather(
        *(poll(ports[what], path, until_s, times_s[what]) for what, path in pollers)
    )
    return times_s


async def watch_states(port: int, seen: set[str]) -> None:
    """What went on meanwhile, so that the figures are of what they claim to be."""
    caller = await Caller.to(port)
    while True:
        _, body = await caller.get("/models/status")
        heavy = json.loads(body)["loaded_models"].items()
        seen.update(each["status"] for name, each in heavy if name.startswith("heavy"))
        await asyncio.sleep(0.1)


def say(label: str, times_s: dict[str, list[float]]) -> None:
    print(label)
    say_times("  GET /models/status", times_s["status"], times_s["health"])
    say_times("  GET /health", times_s["health"], times_s["bare"])
    say_times("  a bare server", times_s["bare"])


async def cost_of_one(port: int, pid: int, path: str) -> float:
    caller = await Caller.to(port)
    began_s = cpu_s(pid)
    for _ in range(IN_A_ROW):
        await caller.get(path)
    caller.close()
    return (cpu_s(pid) - began_s) / IN_A_ROW


async def bench(port: int, bare_port: int, pid: int) -> None:
    ports = {"status": port, "health": port, "bare": bare_port}
    caller = await Caller.to(port)
    for n in range(10):
        await caller.post("/models/load", json.dumps({"model": f"light-{n}"}).encode())
    _, body = await caller.get("/models/status")
    caller.close()
    print(f"{CATALOGUE} models listed, 10 loaded; a status has {len(body)} bytes")
    say(f"{POLLERS} pollers, nothing else going on", await look(ports, QUIET_S))
    seen: set[str] = set()
    going_on = [asyncio.create_task(swap(port, card)) for card in (0, 1)]
    going_on.append(asyncio.create_task(watch_states(port, seen)))
    before_s = cpu_s(pid)
    times_s = await look(ports, RUN_S)
    used = (cpu_s(pid) - before_s) / RUN_S
    for each in going_on:
        each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await each
    say(f"{POLLERS} pollers, models load and stop slowly ({', '.join(sorted(seen))})", times_s)
    print(f"daemon meanwhile: {used * 100:.1f} % of a core")
    for path in ("/models/status", "/health"):
        print(f"CPU of one GET {path:15s} {await cost_of_one(port, pid, path) * 1e3:6.3f} ms")
    p99_s = percentile(times_s["status"], 99)
    verdict = "reached" if p99_s < TARGET_S else "MISSED"
    print(f"target p99 < {TARGET_S * 1e3:.0f} ms: {p99_s * 1e3:.2f} ms, {verdict}")


def main() -> None:
    say_load("start")
    cards = [
        {"name": f"Fake {n}", "total_mb": CARD_MB, "release_lag_s": 0.5, "kind": "gpu"}
        for n in (0, 1)
    ]
    devices = config({})["devices"] | {"fake": cards, "sample_interval_s": 1.0}
    with bare_server() as bare_port, daemon(catalogue(), devices=devices) as started:
        measured(bench(started.port, bare_port, started.process.pid))
    say_load("end")


if __name__ == "__main__":
    main()
