"""The card, as NVML tells it without us in between; in a rehearsal, a stand-in driver's.

The stand-in charges to its card what the processes that would be on it hold of the machine's own
memory, so that a rehearsal goes through everything that a real run does.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
import pynvml

from tests.standins.nvml import STATE_VARIABLE, write_state

MIB = 1 << 20
REHEARSAL_MIB = 1200
REHEARSAL_ID = "GPU-rehearsal"
CHARGE_PERIOD_S = 0.05
BECOMES_S_MAX = 20.0  # between a fork and the program that it executes, on a busy machine
HOLDER = Path(__file__).with_name("holder.py")
ANSWER_S_MAX = 60.0  # torch is imported and its context made in this time
SAMPLE_PERIOD_S = 0.005


@dataclass(frozen=True, slots=True)
class Truth:
    """What NVML says at one instant. A process whose bytes it does not tell has None."""

    total: int
    free: int
    processes: dict[int, int | None]

    @property
    def used(self) -> int:
        return self.total - self.free


class Holder:
    """One program of somebody else's, that grows when told."""

    def __init__(self, kind: str, python: str) -> None:
        # Without the packages that were carried for us: PyTorch has its own beside it.
        own = {name: said for name, said in os.environ.items() if name != "PYTHONPATH"}  # noqa: TID251
        self.process = subprocess.Popen(
            [python, str(HOLDER), kind],
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def grow(self, count: int) -> float:
        """Seconds that it took. Raise RuntimeError: it ended instead."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"grow {count}\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline().split()
        if not said:
            raise RuntimeError(f"the holder ended with {self.process.wait(ANSWER_S_MAX)}")
        return float(said[2])

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass(slots=True)
class Card:
    """The first that NVML lists. `python` has PyTorch, where it is real."""

    rehearsed: bool
    models: Path  # the folder of the files that servers of this run load
    python: str = sys.executable
    holders: list[Holder] = field(default_factory=list)
    _standin: "StandIn | None" = None

    def open(self) -> None:
        if self.rehearsed:
            self._standin = StandIn(Path(os.environ[STATE_VARIABLE]), self.models)  # noqa: TID251
            self._standin.start()
        pynvml.nvmlInit()

    def close(self) -> None:
        for holder in self.holders:
            holder.end()
        pynvml.nvmlShutdown()
        if self._standin is not None:
            self._standin.stop()

    def names(self) -> dict[str, str]:
        first = pynvml.nvmlDeviceGetHandleByIndex(0)
        return {
            "name": pynvml.nvmlDeviceGetName(first),
            "id": pynvml.nvmlDeviceGetUUID(first),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "cards": str(pynvml.nvmlDeviceGetCount()),
        }

    def truth(self) -> Truth:
        first = pynvml.nvmlDeviceGetHandleByIndex(0)
        memory = pynvml.nvmlDeviceGetMemoryInfo(first, version=pynvml.nvmlMemory_v2)
        listed = pynvml.nvmlDeviceGetComputeRunningProcesses(first)
        return Truth(memory.total, memory.free, {use.pid: use.usedGpuMemory for use in listed})

    def free(self) -> int:
        """Without the list of processes, which takes milliseconds under a lock of the driver's."""
        first = pynvml.nvmlDeviceGetHandleByIndex(0)
        free: int = pynvml.nvmlDeviceGetMemoryInfo(first, version=pynvml.nvmlMemory_v2).free
        return free

    def hold(self, kind: str) -> Holder:
        """A program that holds memory of it, gone when the card is closed."""
        holder = Holder("host" if self.rehearsed else kind, self.python)
        self.holders.append(holder)
        if self._standin is not None:
            self._standin.charged.add(holder.process.pid)
        return holder

    @contextmanager
    def filled(self, keep_free: int) -> Iterator[None]:
        """Somebody else has taken all but so much."""
        if self._standin is not None:
            self._standin.used_mib = max(0, (self.free() - keep_free) // MIB)
            self._standin.charge()
            yield
            self._standin.used_mib = 0
            self._standin.charge()
            return
        holder = self.hold("torch")
        holder.grow(1 << 20)  # its context is part of what it takes
        holder.grow(self.free() - keep_free)
        yield
        holder.end()

    def settled(self, limit_s: float = 3.0) -> Truth:
        """The truth once it stands still: two looks a tenth of a second apart agree."""
        deadline_s = time.monotonic() + limit_s
        before = self.truth()
        while time.monotonic() < deadline_s:
            time.sleep(0.1)
            now = self.truth()
            if abs(now.free - before.free) < MIB:
                return now
            before = now
        return before


class Extremes(threading.Thread):
    """The least that was free while its block ran."""

    def __init__(self, card: Card) -> None:
        super().__init__(daemon=True)
        self.card, self.least_free, self._end = card, card.free(), threading.Event()

    def run(self) -> None:
        while not self._end.wait(SAMPLE_PERIOD_S):
            self.least_free = min(self.least_free, self.card.free())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


def is_server(process: psutil.Process, models: Path) -> bool:
    """Whether it is a server of one of these models, and the card is not hidden from it."""
    if process.name() != "llama-server":
        return False
    ours = any(word.startswith(str(models)) for word in process.cmdline())
    return ours and process.environ().get("CUDA_VISIBLE_DEVICES") != "-1"


class StandIn(threading.Thread):
    """Keeps the stand-in driver's state file: who runs a model server holds what it holds here."""

    def __init__(self, state: Path, models: Path) -> None:
        super().__init__(daemon=True)
        self.state, self.models, self.used_mib = state, models, 0
        self.charged: set[int] = set()
        self._known: dict[int, bool] = {}  # whether a process is a server of ours
        self._end, self._writing = threading.Event(), threading.Lock()
        self.charge()

    def charge(self) -> None:
        with self._writing:
            lines = [f"gpu {REHEARSAL_ID} name=Stand-in total={REHEARSAL_MIB} used={self.used_mib}"]
            for pid in psutil.pids():
                with suppress(psutil.Error):  # it has ended meanwhile
                    if pid in self.charged or self._serves(pid):
                        size = psutil.Process(pid).memory_info().rss // MIB
                        lines.append(f"process {REHEARSAL_ID} {pid} {size} alive")
            write_state(self.state, *lines)

    def _serves(self, pid: int) -> bool:
        """What a process is, is remembered once it is no longer about to become something else."""
        known = self._known.get(pid)
        if known is None:
            process = psutil.Process(pid)
            known = is_server(process, self.models)
            if known or time.time() - process.create_time() > BECOMES_S_MAX:
                self._known[pid] = known
        return known

    def run(self) -> None:
        while not self._end.wait(CHARGE_PERIOD_S):
            self.charge()

    def stop(self) -> None:
        self._end.set()
        self.join()
