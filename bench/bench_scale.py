"""What a large catalogue and many devices cost: a status, a decision, memory.

    python bench/bench_scale.py [--models 10 100 1000 10000] [--devices 1 8 64 400]

A daemon of every size of catalogue on 8 devices, and of every number of devices with 1 000 models;
ten models are loaded. Asked on one connection, `GET /health` beside it. Then the core alone, all
sizes with one another: from a request for a model that has no room to the effects that make some,
and a tick; eight residents on a device, where the catalogue has so many, half of them in use.
"""

import argparse
import random
import statistics
from collections.abc import Sequence

import charts
import psutil
from bench_decisions import machine, request, spec, timed
from stage import Caller, Daemon, daemon, measured, model, percentile, say_load

from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.values.messages import Check, Checked, Ticked
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.vram import GiB

LOADED = 10
MIDDLE_MODELS, MIDDLE_DEVICES = 1000, 8
ASKED = 300
ON_A_DEVICE = 8
SAMPLES = 12
STATUS_MS_MAX = 5.0  # at the middle size
CARD = {"name": "Fake 32 GB", "total_mb": 32768, "release_lag_s": 0.0, "kind": "gpu"}


# --- the daemon ----------------------------------------------------------------------------------


def catalogue(models: int, devices: int) -> dict:
    loaded = {f"m{n}": model(200, devices=[f"fake-{n % devices}"]) for n in range(LOADED)}
    return loaded | {f"listed-{n}": model(4000) for n in range(models - LOADED)}


async def asked(port: int, path: str) -> tuple[list[float], int]:
    caller = await Caller.to(port)
    answers = [await caller.get(path) for _ in range(ASKED)]
    caller.close()
    return [taken_s for taken_s, _ in answers], len(answers[-1][1])


def of_one(models: int, devices: int) -> None:
    cards = {"sample_interval_s": 1.0, "fake": [CARD] * devices}
    with daemon(catalogue(models, devices), devices=cards) as started:
        for n in range(LOADED):
            started.load(f"m{n}")
        status_s, size = measured(asked(started.port, "/models/status"))
        health_s, _ = measured(asked(started.port, "/health"))
        say_of_one(models, devices, status_s, health_s)
        print(f"{'':32s}{size / 1000:.0f} kB of status; {rss_mb(started):.0f} MB of memory")
        label = f"{models} models, {devices} devices"
        charts.bar("Scale: memory", "MB", f"ours: {label}", rss_mb(started))


def rss_mb(started: Daemon) -> float:
    assert started.process is not None
    return psutil.Process(started.process.pid).memory_info().rss / 1e6


def say_of_one(
    models: int, devices: int, status_s: Sequence[float], health_s: Sequence[float]
) -> None:
    label = f"{models} models, {devices} devices"
    p50_ms, p99_ms = (1e3 * percentile(status_s, percent) for percent in (50, 99))
    charts.bar("Scale: a status", "ms", f"ours: {label}", p50_ms, [p50_ms, p99_ms])
    target = ""
    if (models, devices) == (MIDDLE_MODELS, MIDDLE_DEVICES):
        reached = p50_ms <= STATUS_MS_MAX
        target = f", target {STATUS_MS_MAX:g} ms: {'reached' if reached else 'MISSED'}"
    print(
        f"{label:30s}  status p50 {p50_ms:6.2f} ms, p99 {p99_ms:6.2f}{target}; "
        f"{p50_ms / 1e3 / percentile(health_s, 50):5.1f} times a GET /health"
    )


# --- the core ------------------------------------------------------------------------------------


def decision(rng: random.Random, models: int, devices: int) -> tuple[float, float]:
    """Seconds of a request that finds no room, and of a tick."""
    residents = min(models, ON_A_DEVICE * devices)
    account = machine(rng, devices, residents, leased=0.5)
    specs = {each.spec.name: each.spec for each in account.residents}
    specs |= {
        each.name: each
        for each in (spec(f"listed-{n}", 4 * GiB) for n in range(models - residents))
    }
    wanted = spec("wanted", rng.randrange(20, 60) * GiB)
    scheduler = Scheduler(specs | {wanted.name: wanted}, account, Rules())

    def ask() -> None:
        for effect in scheduler.handle(request(1, wanted), now_s=1001):
            if isinstance(effect, Check):
                scheduler.handle(Checked(effect.spec.name, None), now_s=1001)

    return timed(ask), timed(lambda: scheduler.handle(Ticked(), now_s=1001.2))


def of_the_core(models: Sequence[int], devices: Sequence[int]) -> None:
    rng = random.Random(7)
    for among in devices:
        for listed in models:
            samples = [decision(rng, listed, among) for _ in range(SAMPLES)]
            asks_ms, ticks_ms = ([1e3 * each for each in one] for one in zip(*samples, strict=True))
            label = f"{listed} models, {among} devices"
            print(
                f"{label:30s}  a decision {statistics.median(asks_ms):7.3f} ms, at most "
                f"{max(asks_ms):7.3f}; a tick {statistics.median(ticks_ms):7.3f} ms"
            )
            middle_ms = statistics.median(asks_ms)
            charts.bar("Scale: a decision", "ms", f"ours: {label}", middle_ms, asks_ms)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--models", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    arguments.add_argument("--devices", type=int, nargs="+", default=[1, 8, 64, 400])
    charts.add_option(arguments)
    said = arguments.parse_args()
    say_load("before")
    sizes = [(models, MIDDLE_DEVICES) for models in said.models]
    sizes += [(MIDDLE_MODELS, devices) for devices in said.devices]
    for models, devices in dict.fromkeys(sizes):
        of_one(models, devices)
    print("the core alone:")
    of_the_core(said.models, said.devices)
    say_load("after")
    charts.keep(said.json)


if __name__ == "__main__":
    main()
