"""A machine that systemd runs, over the files of this one: its changes are gone with it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests import parts, wheels
from tests.pace import crowd

BOOT_S = 60.0
ORDER_S = 120.0
ENVIRONMENT = "/opt/vram-orchestrator"
PROGRAM_LINK = "/usr/local/bin/orchestrator"
PROGRAM = f"{ENVIRONMENT}/bin/orchestrator"


@dataclass(frozen=True)
class SystemdMachine:
    init: int  # its process, as this machine counts

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.init}/root")

    def run(self, *words: object) -> "subprocess.CompletedProcess[str]":
        """As root there, from a shell with a usual environment."""
        entered = ("nsenter", "-t", str(self.init), "-m", "-p", "-u", "-i", "-C", "-r", "-w")
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*entered, "env", "-i", path, "HOME=/root", *map(str, words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ORDER_S * crowd(),
            check=False,
        )

    def say(self, *words: object) -> str:
        """What it printed; it must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def show(self, name: str, *, of: str = "vram-orchestrator") -> str:
        """One property of a service."""
        return self.say("systemctl", "show", of, "-P", name).strip()

    def install(self, scratch: Path) -> None:
        """The package with what the lock names, in an environment that all may read."""
        sources = wheels.sources(scratch / "context")
        wheel = wheels.build_wheel(sources, scratch)
        there = self.root / "srv" / "wheels"
        shutil.copytree(wheels.locked_wheels(), there)
        shutil.copy(wheel, there)
        here = Path("/srv/wheels")
        # What tests run on may lie in root's home: there, and only there, others may pass.
        interpreter = Path(sys.base_prefix).resolve()
        for folder in (interpreter, *interpreter.parents):
            (self.root / folder.relative_to("/")).chmod(0o755)
        python = Path(os.path.realpath(sys.executable))
        self.say(python, "-m", "venv", "--without-pip", ENVIRONMENT)
        offline = ("--no-index", "--find-links", here, "--no-compile")
        target = ("--python", f"{ENVIRONMENT}/bin/python")
        (self.root / PROGRAM_LINK.lstrip("/")).symlink_to(PROGRAM)
        self.say(sys.executable, "-m", "pip", *target, "install", "-q", *offline, here / wheel.name)


@contextmanager
def systemd_machine(scratch: Path) -> Iterator[SystemdMachine]:
    parts.require("systemd")
    root = scratch / "machine"
    root.mkdir()
    with (scratch / "console").open("wb") as console:
        booted = subprocess.Popen(
            [parts.TOOLS / "boot_systemd.sh", root],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    try:
        yield SystemdMachine(_init(booted, scratch / "console"))
    finally:
        booted.kill()
        booted.wait()
        _remove_groups(booted.pid)


def _init(booted: "subprocess.Popen[bytes]", console: Path) -> int:
    """Once it is up."""
    deadline = time.monotonic() + BOOT_S * crowd()
    while time.monotonic() < deadline:
        assert booted.poll() is None, console.read_text()
        children = psutil.Process(booted.pid).children()
        if children and children[0].name() == "systemd":
            machine = SystemdMachine(children[0].pid)
            if machine.run("systemctl", "is-system-running", "--wait").stdout.strip() in (
                "running",
                "degraded",
            ):
                return machine.init
        time.sleep(0.1)
    raise AssertionError(f"systemd did not come up: {console.read_text()}")


def _remove_groups(pid: int) -> None:
    """Those that it was given: they are empty once all that ran there has ended."""
    for groups in Path("/sys/fs/cgroup").glob(f"**/vram-tests-{pid}"):
        deadline = time.monotonic() + BOOT_S * crowd()
        inner = sorted((path for path in groups.rglob("*") if path.is_dir()), reverse=True)
        for folder in (*inner, groups):
            while True:
                try:
                    folder.rmdir()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
