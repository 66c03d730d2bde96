"""All devices of one machine, read together: its GPUs, and the RAM beside them."""

import asyncio
from dataclasses import dataclass
from itertools import chain

from orchestrator.core.values.vram import DeviceKind, Reading
from orchestrator.devices.host import HostDevices
from orchestrator.devices.nvml import NvmlDevices
from orchestrator.ports import Clock, Devices


class Machine:
    def __init__(self, *parts: Devices) -> None:
        self._parts = parts

    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        """Where a GPU lives in the host's RAM, that RAM is one device: the GPU's."""
        groups = await asyncio.gather(*(part.read(pids) for part in self._parts))
        readings = tuple(chain.from_iterable(groups))
        if any(reading.device.kind is DeviceKind.UNIFIED for reading in readings):
            return tuple(r for r in readings if r.device.kind is not DeviceKind.HOST)
        return readings

    async def close(self) -> None:
        await asyncio.gather(*(part.close() for part in self._parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    devices: Devices
    source: str  # "nvml" | "host"
    problem: str = ""  # why NVML is not used; empty when it is


async def detect(clock: Clock) -> Detected:
    """NVML if its driver answers and lists a GPU, with the host beside it; else the host alone.

    Waits for the driver's first word, and no longer than `OPEN_DEADLINE_S`.
    """
    nvml = NvmlDevices(clock)
    problem = await nvml.open()
    if not problem:
        return Detected(devices=Machine(nvml, HostDevices(clock)), source="nvml")
    await nvml.close()
    return Detected(devices=HostDevices(clock), source="host", problem=problem)
