"""Processes that use a registry, to be killed or to suffer a disk with defects."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CHILD_PATIENCE_S = 60  # on a machine that does many other things as well


def start(program: str, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
    """Run the text `program` in a Python of its own, with our package and its own standard streams."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={"PATH": os.defpath, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(child: "subprocess.Popen[str]") -> str:
    """What it printed. Fails with what it complained of."""
    printed, complained = child.communicate(timeout=CHILD_PATIENCE_S)
    assert child.returncode == 0, complained
    return printed


def build_bad_disk(directory: Path) -> Path:
    library = directory / "bad_disk.so"
    source = Path(__file__).with_name("bad_disk.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def on_bad_disk(
    program: str, library: Path, directory: Path, *, slow_ms: int = 0
) -> "subprocess.Popen[str]":
    """Start `program` with two arguments: its state directory and the file of the disk's mood."""
    mood = directory / "mood"
    return start(
        program,
        directory / "state",
        mood,
        LD_PRELOAD=str(library),
        DISK_NAME="registry.sqlite",
        DISK_MOOD=str(mood),
        DISK_SLOW_MS=str(slow_ms),
    )
