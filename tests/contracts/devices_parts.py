"""The implementations of `Devices` under the contract, each with hands to change its world.

A subject holds bytes through a real process of its own where that can be done, and breaks and
mends its devices where they can be broken; what it cannot do is None.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from orchestrator.core.values.vram import DeviceId, MiB, Reading
from orchestrator.devices.fake import FakeDevices, FakeDeviceSpec
from orchestrator.devices.host import HOST_ID, HostDevices
from orchestrator.devices.nvml import REOPEN_AFTER_S_MAX, NvmlDevices
from orchestrator.ports import Devices
from orchestrator.stand_in.claims import Fault
from tests.standins.nvml import NvmlChild, write_state

ROOT = Path(__file__).parents[2]
TAKEN_BYTES = 512 * MiB
CLAIMS = (
    "import sys; from pathlib import Path; from orchestrator.stand_in.claims import Claims;"
    "Claims(Path(sys.argv[1])).claim('fake-0', int(sys.argv[2]));"
)
ALLOCATES = "import sys; held = bytearray(b'w') * int(sys.argv[2]);"
NOTHING = "import sys;"
HOLDS = "print('holds', flush=True); sys.stdin.read()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    name: str
    devices: Devices
    now_s: Callable[[], float]
    device: DeviceId | None = None  # the one that is charged and broken
    alone: bool = True  # whether nobody else takes bytes of it while a test runs
    take: Callable[[], "subprocess.Popen[bytes]"] | None = (
        None  # start a process that holds TAKEN_BYTES
    )
    break_: Callable[[], None] | None = None
    mend: Callable[[], None] | None = None

    def read(self, pids: frozenset[int] | None = None) -> tuple[Reading, ...]:
        return asyncio.run(self.devices.read(pids))

    def reading(self, pids: frozenset[int] | None = None) -> Reading:
        (reading,) = (r for r in self.read(pids) if r.device.id == self.device)
        return reading

    def free_bytes(self) -> int | None:
        return self.reading().free_bytes


@dataclass(slots=True)
class Holders:
    """Processes that hold something until they are ended."""

    stack: ExitStack = field(default_factory=ExitStack)

    def start(self, script: str, *arguments: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", script + HOLDS, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.stack.callback(end, process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        return process


def end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


@contextmanager
def holders() -> Iterator[Holders]:
    held = Holders()
    with held.stack:
        yield held


@contextmanager
def fake_subject(directory: Path) -> Iterator[Subject]:
    specs = [
        FakeDeviceSpec(name="One", total_bytes=4096 * MiB, release_lag_s=0.0),
        FakeDeviceSpec(name="Two", total_bytes=2048 * MiB, release_lag_s=0.0),
    ]
    devices = FakeDevices(time.time, directory, specs)
    device = DeviceId("fake-0")
    with holders() as held:
        yield Subject(
            name="fake",
            devices=devices,
            now_s=time.time,
            device=device,
            take=lambda: held.start(CLAIMS, str(directory), str(TAKEN_BYTES)),
            break_=lambda: devices.set(device, fault=Fault.UNREADABLE),
            mend=lambda: devices.set(device, fault=None),
        )
        asyncio.run(devices.close())


@contextmanager
def host_subject() -> Iterator[Subject]:
    devices = HostDevices(time.time)
    with holders() as held:
        yield Subject(
            name="host",
            devices=devices,
            now_s=time.time,
            device=HOST_ID,
            alone=False,
            take=lambda: held.start(ALLOCATES, "", str(TAKEN_BYTES)),
        )
        asyncio.run(devices.close())


@contextmanager
def standin_subject(directory: Path, library: Path) -> Iterator[Subject]:
    state = directory / "state"
    machine = ["gpu GPU-a total=4096 used=100", "gpu GPU-b total=2048 used=0 util=7"]
    write_state(state, *machine)
    with NvmlChild(library, state) as child, holders() as held:

        def take() -> "subprocess.Popen[bytes]":
            process = held.start(NOTHING)
            charge = f"process GPU-a {process.pid} {TAKEN_BYTES // MiB} alive"
            write_state(state, *machine, charge)
            return process

        def mend() -> None:
            write_state(state, *machine)
            child.advance(REOPEN_AFTER_S_MAX)

        yield Subject(
            name="nvml over the stand-in",
            devices=child,
            now_s=child.now_s,
            device=DeviceId("GPU-a"),
            take=take,
            break_=lambda: write_state(state, "driver none"),
            mend=mend,
        )
        asyncio.run(child.close())


@contextmanager
def nvml_subject() -> Iterator[Subject]:
    devices = NvmlDevices(time.time)
    yield Subject(name="nvml", devices=devices, now_s=time.time)
    asyncio.run(devices.close())


@cache
def real_driver_problem() -> str:
    """Why no real GPU can be tested here; empty if one can."""

    async def ask() -> str:
        devices = NvmlDevices(time.time)
        problem = await devices.open()
        await devices.close()
        return problem

    return asyncio.run(ask())
