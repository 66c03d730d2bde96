"""What every implementation of `Devices` promises, on each of them.

A real GPU takes part by itself where one answers.
"""

import asyncio
import os

import pytest

from orchestrator.core.values.vram import DeviceState, MiB
from tests.contracts.devices_parts import (
    TAKEN_BYTES,
    end,
    fake_subject,
    host_subject,
    nvml_subject,
    real_driver_problem,
    standin_subject,
)
from tests.standins.nvml import COMPILER, compile_standin

INTERPRETER_BYTES = 64 * MiB  # of the holder itself, where the whole process is measured
NO_GPU = real_driver_problem()
STANDIN = ["nvml over the stand-in"] if COMPILER else []
REAL_GPU = [] if NO_GPU else [pytest.param("nvml", marks=pytest.mark.gpu)]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return compile_standin(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(params=["fake", "host", *STANDIN, *REAL_GPU])
def subject(request, tmp_path):
    with opened(request, tmp_path) as subject:
        yield subject


@pytest.fixture(params=["fake", "host", *STANDIN])
def chargeable(request, tmp_path):
    """Devices of which a test can take bytes."""
    with opened(request, tmp_path) as subject:
        yield subject


@pytest.fixture(params=["fake", *STANDIN])
def breakable(request, tmp_path):
    with opened(request, tmp_path) as subject:
        yield subject


def opened(request, directory):
    match request.param:
        case "fake":
            return fake_subject(directory)
        case "host":
            return host_subject()
        case "nvml":
            return nvml_subject()
    return standin_subject(directory, request.getfixturevalue("library"))


def check_reading(reading, *, asked):
    """Known or unknown, and never zero for unknown."""
    if reading.state is not DeviceState.OK:
        assert reading.problem.endswith((".", ")"))
        assert (reading.total_bytes, reading.free_bytes, reading.used_bytes) == (None, None, None)
        assert (reading.utilization_percent, reading.temperature_c) == (None, None)
        assert reading.processes is None
        return
    assert reading.problem == ""
    assert 0 <= reading.free_bytes <= reading.total_bytes
    assert reading.total_bytes > 0
    assert reading.utilization_percent is None or 0 <= reading.utilization_percent <= 100
    assert asked or reading.processes is None
    assert all(use.pid > 0 and use.used_bytes >= 0 for use in reading.processes or ())


@pytest.mark.parametrize("pids", [None, frozenset(), frozenset({os.getpid()})])
def test_every_device_says_what_it_knows(subject, pids):
    readings = subject.read(pids)
    assert readings
    for reading in readings:
        check_reading(reading, asked=pids is not None)


def test_devices_have_names_and_ids_of_their_own_that_stay(subject):
    first = [reading.device for reading in subject.read()]
    assert len({device.id for device in first}) == len(first)
    assert all(device.id and device.name for device in first)
    assert [reading.device for reading in subject.read()] == first


def test_reading_is_dated_by_the_clock_it_was_given(subject):
    before_s = subject.now_s()
    readings = subject.read()
    after_s = subject.now_s()
    assert all(before_s <= reading.read_s <= after_s for reading in readings)


def test_readings_at_once_are_all_answered(subject):
    async def scenario():
        return await asyncio.gather(*(subject.devices.read(None) for _ in range(8)))

    devices = {tuple(r.device.id for r in readings) for readings in asyncio.run(scenario())}
    assert len(devices) == 1


def test_processes_that_never_were_are_no_trouble(subject):
    for reading in subject.read(frozenset({2**22 + 1})):
        check_reading(reading, asked=True)
        assert 2**22 + 1 not in {use.pid for use in reading.processes or ()}


def test_bytes_that_a_process_takes_are_charged_to_it_until_it_is_gone(chargeable):
    free_bytes = chargeable.free_bytes()
    holder = chargeable.take()
    reading = chargeable.reading(frozenset({holder.pid}))
    (use,) = (use for use in reading.processes if use.pid == holder.pid)
    assert 0 <= use.used_bytes - TAKEN_BYTES < INTERPRETER_BYTES
    end(holder)
    gone = chargeable.reading(frozenset({holder.pid}))
    assert holder.pid not in {use.pid for use in gone.processes}
    if chargeable.alone:
        assert (reading.free_bytes, gone.free_bytes) == (free_bytes - TAKEN_BYTES, free_bytes)


def test_device_that_breaks_stays_known_and_comes_back(breakable):
    healthy = breakable.read()
    breakable.break_()
    broken = breakable.read(frozenset())
    assert [reading.device for reading in broken] == [reading.device for reading in healthy]
    assert breakable.reading().state is DeviceState.UNREADABLE
    for reading in broken:
        check_reading(reading, asked=True)
    breakable.mend()
    assert [reading.state for reading in breakable.read()] == [DeviceState.OK] * len(healthy)


@pytest.mark.compiler
def test_stand_in_takes_part():
    assert STANDIN


@pytest.mark.gpu
def test_real_gpu_takes_part():
    assert REAL_GPU
