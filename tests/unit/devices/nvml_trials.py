"""What the trials against the stand-in driver share."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from orchestrator.core.values.vram import DeviceId, DeviceState, Reading
from tests.standins.nvml import NvmlChild

T = TypeVar("T")

A = "gpu GPU-a total=24576 used=1000 reserved=300 util=35 temp=51 name=Fast_One"
B = "gpu GPU-b total=8192 used=100"
NOBODY: frozenset[int] = frozenset()


WAIT_S = 20  # for what happens in milliseconds


def read(child: NvmlChild, pids: frozenset[int] | None = None) -> tuple[Reading, ...]:
    return asyncio.run(child.read(pids))


def by_id(readings: Iterable[Reading]) -> dict[DeviceId, Reading]:
    return {reading.device.id: reading for reading in readings}


def only(readings: Iterable[Reading]) -> Reading:
    (reading,) = readings
    return reading


def check_unknown(
    reading: Reading, *words: str, state: DeviceState = DeviceState.UNREADABLE
) -> None:
    assert reading.state is state
    assert all(word in reading.problem for word in words), reading.problem
    assert (reading.total_bytes, reading.free_bytes, reading.used_bytes) == (None, None, None)
    assert (reading.utilization_percent, reading.temperature_c) == (None, None)
    assert reading.processes is None


def wait_until(claim: Callable[[], T]) -> T:
    """What the claim returns, as soon as it is true."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        if found := claim():
            return found
    raise AssertionError("it never came to that")
