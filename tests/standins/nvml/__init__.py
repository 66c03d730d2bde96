"""A driver without a GPU: compiles `nvml.c`, writes its state file, and runs our side against it.

The binding keeps the library it has loaded, so each trial has a child process of its own, with
the stand-in first in the loader's path. `NvmlChild` is that child, seen from the test.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from orchestrator.core.values.vram import (
    Device,
    DeviceId,
    DeviceKind,
    DeviceState,
    ProcessUse,
    Reading,
)

SOURCE = Path(__file__).with_name("nvml.c")
ROOT = Path(__file__).parents[3]
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
STATE_VARIABLE = "STANDIN_NVML_STATE"
ANSWER_S = 30  # the longest a child may take for everything it is asked


def compile_standin(directory: Path, *defines: str, version: str = "550.54") -> Path:
    """The directory to put into LD_LIBRARY_PATH."""
    assert COMPILER is not None
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / "draft.so"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-pthread"]
    names = [f"-D{name}" for name in (*defines, f'VERSION="{version}"')]
    subprocess.run(
        [COMPILER, *flags, *names, "-Wl,-soname,libnvidia-ml.so.1", "-o", str(draft), str(SOURCE)],
        check=True,
    )
    draft.replace(directory / "libnvidia-ml.so.1")
    return directory


def write_state(path: Path, *lines: str) -> None:
    """Change the machine at once: a program never sees half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text("\n".join(lines) + "\n")
    draft.replace(path)


class NvmlChild:
    """`NvmlDevices` in a process of its own, on a clock that the test moves."""

    def __init__(self, library: Path | None, state: Path, *, deadline_s: float = 2.0) -> None:
        environment = {"PATH": os.environ["PATH"], STATE_VARIABLE: str(state)}  # noqa: TID251
        if library is not None:
            environment["LD_LIBRARY_PATH"] = str(library)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.standins.nvml.child", str(deadline_s), str(ANSWER_S)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(ANSWER_S)
        finally:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()
            self._process.stdout.close()

    async def open(self) -> str:
        return self._ask("open")

    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        answer = self._ask("read", pids=None if pids is None else sorted(pids))
        return tuple(_decode(reading) for reading in answer)

    async def close(self) -> None:
        self._ask("close")

    def detect(self) -> dict[str, object]:
        """What `auto` chooses, and what a first reading of it says."""
        answer = self._ask("detect")
        return {**answer, "readings": tuple(_decode(reading) for reading in answer["readings"])}

    def advance(self, seconds: float) -> None:
        self._ask("advance", seconds=seconds)

    def threads(self) -> int:
        return self._ask("threads")

    def read_many(self, times: int) -> float:
        """Milliseconds that one reading takes, on average."""
        return self._ask("read_many", times=times)

    def now_s(self) -> float:
        return self._ask("now")

    def _ask(self, verb: str, **arguments: object) -> object:
        self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the child ended"
        return json.loads(line)


def _decode(reading: dict[str, object]) -> Reading:
    device = reading.pop("device")
    processes = reading.pop("processes")
    return Reading(
        device=Device(
            id=DeviceId(device["id"]), name=device["name"], kind=DeviceKind(device["kind"])
        ),
        state=DeviceState(reading.pop("state")),
        processes=None if processes is None else tuple(ProcessUse(**use) for use in processes),
        **reading,
    )
