"""How much of the machine's memory this process may have: what its cgroups allow.

Both versions are read. A machine may have both, and then counts memory in one of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path("/sys/fs/cgroup")
OF_SELF = Path("/proc/self/cgroup")
UNLIMITED_BYTES = 1 << 62  # version 1 writes a number where there is no limit


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A cgroup with a limit."""

    limit_bytes: int
    held_bytes: int  # that the kernel cannot drop


def memory_groups(root: Path = ROOT, of_self: Path = OF_SELF) -> tuple[MemoryGroup, ...]:
    """Our cgroup and those around it, as far as they have limits: all limits hold.

    Raise OSError or ValueError if the kernel does not say.
    """
    try:
        lines = of_self.read_text().splitlines()
    except FileNotFoundError:  # a kernel without cgroups
        return ()
    groups: list[MemoryGroup] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            groups += _groups(root, path, _VERSION_2)
        elif "memory" in controllers.split(","):
            groups += _groups(root / "memory", path, _VERSION_1)
    return tuple(groups)


def allowed_bytes(root: Path = ROOT, of_self: Path = OF_SELF) -> int:
    """The lowest limit round this process; all of the machine where there is none, or none that
    can be read.
    """
    machine = psutil.virtual_memory().total
    try:
        groups = memory_groups(root, of_self)
    except (OSError, ValueError):
        return machine
    return min([machine, *(group.limit_bytes for group in groups)])


def _groups(root: Path, path: str, files: "_Files") -> Iterator[MemoryGroup]:
    """In a container the path may be that outside of it: then its root alone is there."""
    ours = root / path.removeprefix("/")
    for group in (ours, *ours.parents):
        if group.is_relative_to(root):
            try:
                text = (group / files.limit).read_text().strip()
            except FileNotFoundError:  # the root has none, nor one that counts no memory
                continue
            if text != "max" and (limit := int(text)) < UNLIMITED_BYTES:
                yield MemoryGroup(limit, _held_bytes(group, files))


def _held_bytes(group: Path, files: "_Files") -> int:
    lines = (group / "memory.stat").read_text().splitlines()
    stat = {name: int(count) for name, _, count in (line.partition(" ") for line in lines)}
    current = int((group / files.current).read_text())
    return current - sum(stat.get(name, 0) for name in files.reclaimable)


@dataclass(frozen=True, slots=True)
class _Files:
    """What says it, in one version."""

    limit: str
    current: str
    reclaimable: Sequence[str]  # what the kernel gives back before it fails, as in MemAvailable


_VERSION_1 = _Files(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),  # with those of groups inside
)
_VERSION_2 = _Files(
    "memory.max", "memory.current", ("inactive_file", "active_file", "slab_reclaimable")
)
