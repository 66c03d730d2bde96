"""System RAM as a device: the budget of a machine that has no GPU, and what is budgeted beside one.

Three things are counted in a way of our own, so that the account adds up:

- A process is measured by its resident set: pages of a model file that it has mapped count. The
  proportional set (PSS) would halve a model's footprint as soon as a second server maps the same
  file, and the unique set (USS) would lose it altogether; a footprint must not depend on the
  neighbours. The price: libraries and files that several of our processes share count once for
  every process. The resident set also costs microseconds, where PSS walks the page tables.
- The kernel calls the pages of a mapped file available, because it could drop them. A server that
  runs needs them at once again, so what our own processes have mapped is not free.
- A cgroup may allow less than the machine has (see `cgroups`): then its limit is the total.
"""

import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.cgroups import OF_SELF, ROOT, memory_groups
from orchestrator.core.values.vram import (
    Device,
    DeviceId,
    DeviceKind,
    DeviceState,
    ProcessUse,
    Reading,
)
from orchestrator.ports import Clock

HOST_ID = DeviceId("host")
# Below this the kernel's tick of 10 ms is most of what is measured.
UTILIZATION_WINDOW_S_MIN = 0.2


@dataclass(frozen=True, slots=True)
class HostBytes:
    total: int
    available: int


@dataclass(frozen=True, slots=True)
class CpuTimes:
    busy_s: float
    all_s: float


def host_bytes(cgroup_root: Path = ROOT, cgroup_of_self: Path = OF_SELF) -> HostBytes:
    """What this process may use of the machine's RAM, and what of that is available.

    Raise OSError or ValueError if the kernel does not say.
    """
    machine = psutil.virtual_memory()
    total, available = machine.total, machine.available
    for group in memory_groups(cgroup_root, cgroup_of_self):
        total = min(total, group.limit_bytes)
        available = min(available, max(0, group.limit_bytes - group.held_bytes))
    return HostBytes(total, available)


class HostDevices:
    def __init__(
        self,
        clock: Clock,
        *,
        cgroup_root: Path = ROOT,
        cgroup_of_self: Path = OF_SELF,
    ) -> None:
        self._clock = clock
        self._cgroup = (cgroup_root, cgroup_of_self)
        self._device = Device(id=HOST_ID, name=_name(), kind=DeviceKind.HOST)
        self._pids: frozenset[int] = frozenset()
        self._cpu = _cpu_times()
        self._utilization_percent: float | None = None

    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        """Two to three files of /proc and two per process: done in place, they never block."""
        # Most readings do not ask for processes; what they have mapped is not free then either.
        self._pids = self._pids if pids is None else pids
        try:
            host = host_bytes(*self._cgroup)
        except (OSError, ValueError) as error:
            return (self._unreadable(error),)
        uses = tuple(use for pid in sorted(self._pids) if (use := _use(pid)) is not None)
        mapped_bytes = sum(mapped_bytes for _, mapped_bytes in uses)
        return (
            Reading(
                device=self._device,
                read_s=self._clock(),
                state=DeviceState.OK,
                total_bytes=host.total,
                free_bytes=max(0, host.available - mapped_bytes),
                utilization_percent=self._utilization(),
                processes=None if pids is None else tuple(use for use, _ in uses),
            ),
        )

    async def close(self) -> None:
        """Nothing is held."""

    def _unreadable(self, error: OSError | ValueError) -> Reading:
        problem = (
            f"The kernel does not say how much RAM is free ({error}). "
            "The daemon needs /proc, and /sys/fs/cgroup where it runs in a container."
        )
        return Reading(
            device=self._device,
            read_s=self._clock(),
            state=DeviceState.UNREADABLE,
            problem=problem,
        )

    def _utilization(self) -> float | None:
        """Of all processors since the last look; None until there is something to compare."""
        now = _cpu_times()
        window_s = now.all_s - self._cpu.all_s
        if window_s >= UTILIZATION_WINDOW_S_MIN:
            busy_s = now.busy_s - self._cpu.busy_s
            self._utilization_percent = round(min(100.0, max(0.0, 100 * busy_s / window_s)), 1)
            self._cpu = now
        return self._utilization_percent


def _use(pid: int) -> tuple[ProcessUse, int] | None:
    """What a process holds, and how much of it the kernel calls available; None if it is gone."""
    try:
        sizes = psutil.Process(pid).memory_info()
    except psutil.Error:
        return None
    # Zombies hold nothing.
    return (ProcessUse(pid=pid, used_bytes=sizes.rss), sizes.shared) if sizes.rss else None


def _cpu_times() -> CpuTimes:
    times = psutil.cpu_times()
    # The kernel counts a guest's time in `user` as well.
    all_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return CpuTimes(busy_s=all_s - times.idle - getattr(times, "iowait", 0.0), all_s=all_s)


def _name() -> str:
    """The processor's name, which tells machines apart; RAM has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine() or "host"
