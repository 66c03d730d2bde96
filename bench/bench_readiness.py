"""How much later than the server itself the daemon says that a model is ready.

    python bench/bench_readiness.py

Forty loads of stand-ins that take 0.2 to 3 s. A probe in this process asks each server's `/health`
every millisecond from the moment its log names the port; what is told is the time from its first
200 to the arrival of the answer to `POST /models/load`.
"""

import asyncio
import contextlib
import json
import re
import time
from pathlib import Path

from stage import (
    Caller,
    bare_server,
    daemon,
    measured,
    model,
    percentile,
    say_load,
    say_times,
)

LOADS = 40
LOAD_S_MIN, LOAD_S_MAX = 0.2, 3.0
AT_ONCE = (2, 6)  # half of the loads each; one after the other would take too long
PROBE_S = 0.001
BARE_S = 0.025
TARGET_S = 0.060

LISTENING = re.compile(rb"listening on http://127\.0\.0\.1:(\d+)")


def catalogue():
    step_s = (LOAD_S_MAX - LOAD_S_MIN) / (LOADS - 1)
    return {
        f"m{n:02d}": model(100, fake={"load_s": round(LOAD_S_MIN + n * step_s, 3)})
        for n in range(LOADS)
    }


async def port_of(logs: Path, name: str) -> int:
    """What the server's own log says, as soon as it says it."""
    while True:
        found = LISTENING.search(log_of(logs, name))
        if found:
            return int(found[1])
        await asyncio.sleep(PROBE_S)


def log_of(logs: Path, name: str) -> bytes:
    return b"".join(log.read_bytes() for log in logs.glob(f"{name}@*.log"))


async def first_answer(logs: Path, name: str) -> float:
    """When the server first answered 200."""
    caller = await Caller.to(await port_of(logs, name))
    try:
        while True:
            try:
                await caller.get("/health")
            except AssertionError:  # 503: it loads
                await asyncio.sleep(PROBE_S)
            else:
                return time.perf_counter()
    finally:
        caller.close()


async def lateness(port: int, logs: Path, name: str, free: asyncio.Semaphore) -> float:
    async with free:
        probing = asyncio.create_task(first_answer(logs, name))
        caller = await Caller.to(port)
        await caller.post("/models/load", json.dumps({"model": name}).encode())
        answered_s = time.perf_counter()
        caller.close()
        return answered_s - await probing


async def ask_bare(port: int, times_s: list[float]) -> None:
    """How late anything is on this machine, asked as often as the daemon asks."""
    caller = await Caller.to(port)
    try:
        while True:
            times_s.append((await caller.get("/"))[0])
            await asyncio.sleep(BARE_S)
    finally:
        caller.close()


async def bench(port: int, bare_port: int, logs: Path) -> None:
    bare_s: list[float] = []
    asking = asyncio.create_task(ask_bare(bare_port, bare_s))
    all_s: list[float] = []
    for half, at_once in enumerate(AT_ONCE):
        names = [f"m{n:02d}" for n in range(half, LOADS, 2)]
        free = asyncio.Semaphore(at_once)
        late_s = await asyncio.gather(*(lateness(port, logs, name, free) for name in names))
        say_times(f"told ready after the server was, {at_once} at once", late_s, bare_s)
        all_s += late_s
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    say_times("all of them", all_s, bare_s)
    say_times("a bare server", bare_s)
    p95_s = percentile(all_s, 95)
    verdict = "reached" if p95_s <= TARGET_S else "MISSED"
    print(f"target p95 <= {TARGET_S * 1e3:.0f} ms: {p95_s * 1e3:.1f} ms, {verdict}")


def main() -> None:
    say_load("start")
    with bare_server() as bare_port, daemon(catalogue()) as started:
        measured(bench(started.port, bare_port, started.directory / "state" / "logs"))
    say_load("end")


if __name__ == "__main__":
    main()
