"""Devices, bytes, and what a device said at one instant."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

DeviceId = NewType("DeviceId", str)  # a GPU's UUID, "host", or "fake-0": survives reboots

MiB = 1 << 20
GiB = 1 << 30

_CUDA_PREFIXES = ("GPU-", "MIG-")  # how the driver begins the UUID of what CUDA can use


def is_cuda(device: str) -> bool:
    """Whether a program has to be given the device to use it: a GPU or a part of one, not RAM."""
    return device.startswith(_CUDA_PREFIXES)


class DeviceKind(StrEnum):
    GPU = "gpu"
    UNIFIED = "unified"  # one memory for processor and GPU: Jetson, GB10
    HOST = "host"


class DeviceState(StrEnum):
    OK = "ok"
    UNREADABLE = "unreadable"  # it may work, but what is free is not known: not planned on
    LOST = "lost"  # fallen off the bus: fenced until it reads again


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A place that holds bytes, as the driver names it. An index would not survive a reboot."""

    id: DeviceId
    name: str
    kind: DeviceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    pid: int
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one device said at one instant. Unknown is None, never 0."""

    device: Device
    read_s: float
    state: DeviceState
    problem: str = ""  # why it is not OK, and what would help; empty when OK
    total_bytes: int | None = None
    free_bytes: int | None = None
    utilization_percent: float | None = None
    temperature_c: float | None = None
    # Who holds how much. None: the driver does not tell, or was not asked this time.
    processes: tuple[ProcessUse, ...] | None = None

    @property
    def used_bytes(self) -> int | None:
        if self.total_bytes is None or self.free_bytes is None:
            return None
        return self.total_bytes - self.free_bytes


def to_mb(size_bytes: int) -> int:
    """Whole MiB, the way nvidia-smi counts them."""
    return size_bytes // MiB
