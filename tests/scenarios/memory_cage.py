"""A group of processes that may have so much memory and no more, in version 1 or 2 of cgroups."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.parts import do_without

ROOT = Path("/sys/fs/cgroup")
OF_VERSION_1 = ROOT / "memory"
# What a program is put behind, to be in the cage before it is executed: what it took before would
# be charged to where it came from.
ENTER = 'echo $$ >"$0/cgroup.procs" && exec "$@"'


class Cage:
    """As many processes as are put into it, with children."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first_version = path.is_relative_to(OF_VERSION_1)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before those of a program that is to run inside."""
        return ("sh", "-c", ENTER, str(self._path))

    def limit(self, size: int) -> None:
        name = "memory.limit_in_bytes" if self._first_version else "memory.max"
        (self._path / name).write_text(str(size))
        if not self._first_version:
            with suppress(FileNotFoundError):  # a kernel without swap
                (self._path / "memory.swap.max").write_text("0")

    @property
    def kills(self) -> int:
        """How many of its processes the kernel has ended for want of memory."""
        name = "memory.oom_control" if self._first_version else "memory.events"
        return int(self._counts(name).get("oom_kill", 0))

    @property
    def anonymous_bytes(self) -> int:
        """What its processes hold that the kernel cannot drop."""
        name = "rss" if self._first_version else "anon"
        return self._counts("memory.stat")[name]

    def _counts(self, name: str) -> dict[str, int]:
        lines = (self._path / name).read_text().splitlines()
        return {key: int(count) for key, _, count in (line.partition(" ") for line in lines)}

    def remove(self) -> None:
        """A process that is ending stays for another moment."""
        for _ in range(500):
            with suppress(OSError):
                self._path.rmdir()
                return
            time.sleep(0.01)
        raise AssertionError(f"somebody stays in {self._path}")


@contextmanager
def memory_cage(name: str, size: int) -> Iterator[Cage]:
    parent = OF_VERSION_1 if OF_VERSION_1.is_dir() else ROOT
    path = parent / f"vram-tests-{os.getpid()}-{name}"
    try:
        if parent is ROOT:
            (parent / "cgroup.subtree_control").write_text("+memory")
        path.mkdir()
        cage = Cage(path)
        cage.limit(size)
    except OSError as error:
        if path.is_dir():
            path.rmdir()
        do_without("memory_cage", str(error))
    try:
        yield cage
    finally:
        cage.remove()


def no_memory_cage() -> str:
    """Why none can be made here; empty if one can."""
    if OF_VERSION_1.is_dir():
        writable = os.access(OF_VERSION_1, os.W_OK)
        return "" if writable else f"{OF_VERSION_1} cannot be written"
    try:
        controllers = (ROOT / "cgroup.controllers").read_text().split()
    except OSError:
        controllers = []
    if "memory" not in controllers:
        return f"{ROOT} counts no memory"
    control = ROOT / "cgroup.subtree_control"
    return "" if os.access(control, os.W_OK) else f"{control} cannot be written"
