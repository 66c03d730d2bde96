import asyncio
import os
import subprocess
import sys
import time

import pytest

from orchestrator.core.values.vram import DeviceKind, DeviceState, MiB, ProcessUse
from orchestrator.devices.fake import FakeDevices, FakeDeviceSpec
from orchestrator.stand_in.claims import (
    ACCOUNT_FILE,
    LOCK_WAIT_S,
    Claims,
    Fault,
    account_lock,
    read_account,
)

LAG_S = 1.5
CLAIMANT = (
    "import sys; from pathlib import Path; from orchestrator.stand_in.claims import Claims;"
    "claims = Claims(Path(sys.argv[1]));"
    "[claims.claim(*(int(v) if v.isdigit() else v for v in word.split(':'))) for word in sys.argv[2:]];"
    "print('holds', flush=True); sys.stdin.read()"
)


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "devices"


def one(**changes):
    return FakeDeviceSpec(
        **{"name": "Fake 32 GB", "total_bytes": 32768 * MiB, "release_lag_s": LAG_S, **changes}
    )


@pytest.fixture
def fake(clock, directory):
    return FakeDevices(
        clock, directory, [one(), one(name="Small", total_bytes=4096 * MiB, release_lag_s=0.0)]
    )


def read(devices, pids=None):
    return asyncio.run(devices.read(pids))


def free_mb(devices):
    return [None if r.free_bytes is None else r.free_bytes // MiB for r in read(devices)]


@pytest.fixture
def claimant(directory):
    """Starts processes that claim and hold; those still alive are ended afterwards."""
    started = []

    def start(*claims):
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIMANT, str(directory), *claims],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"holds\n"
        return process

    yield start
    for process in started:
        end(process)


def end(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_devices_are_named_by_their_place_and_empty_at_first(fake):
    first, second = read(fake)
    assert (first.device.id, first.device.name, first.device.kind) == (
        "fake-0",
        "Fake 32 GB",
        DeviceKind.GPU,
    )
    assert (first.state, first.problem, first.read_s) == (DeviceState.OK, "", 100.0)
    assert first.free_bytes == first.total_bytes == 32768 * MiB
    assert (second.device.id, second.total_bytes) == ("fake-1", 4096 * MiB)


def test_what_runs_is_charged_and_listed(fake, claimant):
    process = claimant(f"fake-0:{6000 * MiB}", f"fake-1:{1000 * MiB}")
    assert free_mb(fake) == [26768, 3096]
    first, second = read(fake, frozenset())
    assert first.processes == (ProcessUse(pid=process.pid, used_bytes=6000 * MiB),)
    assert second.processes == (ProcessUse(pid=process.pid, used_bytes=1000 * MiB),)
    assert read(fake)[0].processes is None


def test_bytes_of_the_dead_come_back_after_each_devices_lag(fake, clock, claimant, directory):
    end(claimant(f"fake-0:{6000 * MiB}", f"fake-1:{1000 * MiB}"))
    assert free_mb(fake) == [26768, 4096]  # noticed now
    assert read(fake, frozenset())[0].processes == ()  # no driver lists the dead
    clock.now_s += LAG_S - 0.01
    assert free_mb(fake) == [26768, 4096]
    clock.now_s += 0.01
    assert free_mb(fake) == [32768, 4096]
    assert read_account(directory).claims == ()


def test_lag_goes_on_over_a_restart_of_the_daemon(fake, clock, claimant, directory):
    process = claimant(f"fake-0:{6000 * MiB}")
    end(process)
    read(fake)
    clock.now_s += 1.0
    again = FakeDevices(clock, directory, [one()])
    assert free_mb(again) == [26768]
    clock.now_s += LAG_S - 1.0
    assert free_mb(again) == [32768]


def test_what_still_runs_is_still_charged_after_a_restart(fake, clock, claimant, directory):
    process = claimant(f"fake-0:{6000 * MiB}")
    fake.set("fake-0", foreign_bytes=1000 * MiB)
    fake.set("fake-1", fault=Fault.LOST)
    again = FakeDevices(clock, directory, [one(), one()])
    first, second = read(again, frozenset())
    assert first.free_bytes == 25768 * MiB
    assert first.processes == (ProcessUse(pid=process.pid, used_bytes=6000 * MiB),)
    assert second.state is DeviceState.LOST


def test_smaller_device_after_a_restart_is_full_and_not_below_zero(
    fake, clock, claimant, directory
):
    claimant(f"fake-0:{6000 * MiB}")
    fake.set("fake-0", foreign_bytes=20000 * MiB)
    again = FakeDevices(clock, directory, [one(total_bytes=8192 * MiB)])
    assert free_mb(again) == [0]
    assert read_account(directory).devices["fake-0"].foreign_bytes == 8192 * MiB


def test_foreign_bytes_and_faults_change_apart(fake):
    fake.set("fake-0", foreign_bytes=4096 * MiB)
    fake.set("fake-0", fault=Fault.UNREADABLE)
    reading, healthy = read(fake, frozenset())
    assert (reading.state, reading.total_bytes, reading.free_bytes, reading.processes) == (
        DeviceState.UNREADABLE,
        None,
        None,
        None,
    )
    assert "/devices/fake-0/fake" in reading.problem
    assert healthy.state is DeviceState.OK
    fake.set("fake-0", foreign_bytes=2048 * MiB)
    assert read(fake)[0].state is DeviceState.UNREADABLE
    fake.set("fake-0", fault=None)
    assert read(fake)[0].free_bytes == (32768 - 2048) * MiB


@pytest.mark.parametrize("foreign_bytes", [-1, 32768 * MiB + 1])
def test_impossible_foreign_bytes_are_refused(fake, foreign_bytes):
    with pytest.raises(ValueError, match="between 0 and"):
        fake.set("fake-0", foreign_bytes=foreign_bytes)
    assert free_mb(fake)[0] == 32768


def test_unknown_device_is_refused(fake):
    with pytest.raises(KeyError):
        fake.set("fake-2", foreign_bytes=1)


def test_container_without_host_pids_sees_an_empty_list(clock, directory):
    fake = FakeDevices(clock, directory, [one(processes_visible=False)])
    Claims(directory).claim("fake-0", MiB)
    reading = read(fake, frozenset({os.getpid()}))[0]
    assert (reading.processes, reading.used_bytes) == ((), MiB)


def test_lock_held_by_a_stopped_process_delays_no_reading(fake, clock, claimant, directory):
    end(claimant(f"fake-0:{6000 * MiB}"))
    with account_lock(directory):
        began_s = time.monotonic()
        assert free_mb(fake)[0] == 26768
        assert time.monotonic() - began_s < LOCK_WAIT_S / 2
    read(fake)  # noticed only now
    clock.now_s += LAG_S
    assert free_mb(fake)[0] == 32768


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1, "devices": {}, "claims": []}'])
def test_broken_account_makes_the_devices_unreadable(fake, directory, text):
    (directory / ACCOUNT_FILE).write_text(text)
    for reading in read(fake):
        assert (reading.state, reading.free_bytes) == (DeviceState.UNREADABLE, None)
        assert "delete the directory" in reading.problem
