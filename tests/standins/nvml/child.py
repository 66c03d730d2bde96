"""The child's side of `NvmlChild`: one JSON order a line in, one JSON answer a line out."""

import asyncio
import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.devices.machine import detect
from orchestrator.devices.nvml import NvmlDevices


class MovedClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def answer(devices: NvmlDevices, clock: MovedClock, order: dict[str, Any]) -> Any:
    match order["verb"]:
        case "open":
            return await devices.open()
        case "read":
            pids = order["pids"]
            heard = await devices.read(None if pids is None else frozenset(pids))
            return [asdict(reading) for reading in heard]
        case "read_many":
            began_s = time.perf_counter()
            for _ in range(order["times"]):
                await devices.read(None)
            return (time.perf_counter() - began_s) * 1000 / order["times"]
        case "detect":
            found = await detect(clock)
            readings = [asdict(reading) for reading in await found.devices.read(None)]
            await found.devices.close()
            return {"source": found.source, "problem": found.problem, "readings": readings}
        case "advance":
            clock.now_s += order["seconds"]
            return None
        case "now":
            return clock.now_s
        case "threads":
            return threading.active_count()
        case "close":
            await devices.close()
            return None
    raise AssertionError(order)


def main(arguments: Sequence[str]) -> int:
    deadline_s, answer_s = float(arguments[0]), int(arguments[1])
    clock = MovedClock()
    devices = NvmlDevices(clock, deadline_s=deadline_s)
    for line in sys.stdin:
        signal.alarm(answer_s)  # a trial that goes wrong ends
        print(json.dumps(asyncio.run(answer(devices, clock, json.loads(line)))), flush=True)
    return 0
