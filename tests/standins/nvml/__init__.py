"""A driver without a GPU: compiles `nvml.c`, writes its state file, and runs our side against it.

The binding keeps the library it has loaded, so each trial has a child process of its own, with
the stand-in first in the loader's path. `NvmlChild` is that child, seen from the test.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

from orchestrator.core.values.vram import (
    Device,
    DeviceId,
    DeviceKind,
    DeviceState,
    ProcessUse,
    Reading,
)
from tests.preloaded import Order, preloaded

SOURCE = Path(__file__).with_name("nvml.c")
ROOT = Path(__file__).parents[3]
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
STATE_VARIABLE = "STANDIN_NVML_STATE"
STDERR = 2
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
        loader = {} if library is None else {"LD_LIBRARY_PATH": str(library)}
        environment = {"PATH": os.environ["PATH"], STATE_VARIABLE: str(state)}  # noqa: TID251
        theirs, ours = os.pipe()
        answers, their_answers = os.pipe()
        self._orders, self._answers = os.fdopen(ours, "w"), os.fdopen(answers)
        self._process = preloaded("tests.standins.nvml.child", **loader).fork(
            Order((str(deadline_s), str(ANSWER_S)), str(ROOT), environment | loader),
            (theirs, their_answers, STDERR),
        )
        os.close(theirs)
        os.close(their_answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        try:
            self._process.wait(ANSWER_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._answers.close()

    async def open(self) -> str:
        problem: str = self._ask("open")
        return problem

    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        answer = self._ask("read", pids=None if pids is None else sorted(pids))
        return tuple(_decode(reading) for reading in answer)

    async def close(self) -> None:
        self._ask("close")

    def detect(self) -> dict[str, Any]:
        """What `auto` chooses, and what a first reading of it says."""
        answer = self._ask("detect")
        return {**answer, "readings": tuple(_decode(reading) for reading in answer["readings"])}

    def advance(self, seconds: float) -> None:
        self._ask("advance", seconds=seconds)

    def threads(self) -> int:
        count: int = self._ask("threads")
        return count

    def read_many(self, times: int) -> float:
        """Milliseconds that one reading takes, on average."""
        taken_ms: float = self._ask("read_many", times=times)
        return taken_ms

    def now_s(self) -> float:
        now_s: float = self._ask("now")
        return now_s

    def _ask(self, verb: str, **arguments: object) -> Any:
        self._orders.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self._orders.flush()
        line = self._answers.readline()
        assert line, "the child ended"
        return json.loads(line)


def _decode(reading: dict[str, Any]) -> Reading:
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
