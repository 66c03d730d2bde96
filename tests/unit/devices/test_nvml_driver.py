"""What single questions to the driver are answered; the real binding, one child process a trial."""

import os
from pathlib import Path

import pytest

from orchestrator.core.values.vram import DeviceKind, DeviceState, MiB, ProcessUse
from tests.standins.nvml import NvmlChild, compile_standin, write_state
from tests.unit.devices.nvml_trials import NOBODY, A, B, by_id, check_unknown, only, read


def test_two_gpus_are_read_by_uuid(child, state):
    write_state(state, A, B)
    a, b = read(child)
    assert (a.device.id, a.device.name, a.device.kind) == ("GPU-a", "Fast One", DeviceKind.GPU)
    assert (a.state, a.problem) == (DeviceState.OK, "")
    assert (a.total_bytes, a.free_bytes) == (24576 * MiB, (24576 - 1300) * MiB)
    assert (a.utilization_percent, a.temperature_c, a.processes) == (35.0, 51.0, None)
    assert (b.device.id, b.free_bytes) == ("GPU-b", 8092 * MiB)


def test_old_driver_is_read_with_the_old_questions(tmp_path, state, standin):
    old = compile_standin(tmp_path / "old", "NO_MEMORY_V2", "NO_TEMPERATURE_V", "NO_PROCESSES_V3")
    write_state(state, A, "process GPU-a 41 500")
    with NvmlChild(old, state) as child:
        reading = only(read(child, NOBODY))
    assert reading.state is DeviceState.OK
    assert reading.free_bytes == (24576 - 1800) * MiB
    assert reading.temperature_c == 51.0
    assert reading.processes == (ProcessUse(pid=41, used_bytes=500 * MiB),)


def test_processes_are_listed_only_when_asked_for(child, state):
    write_state(
        state,
        A,
        "process GPU-a 41 500",
        "process GPU-a 42 70 graphics",
        "process GPU-a 41 500 graphics",
    )
    assert only(read(child)).processes is None
    assert only(read(child, NOBODY)).processes == (
        ProcessUse(pid=41, used_bytes=500 * MiB),
        ProcessUse(pid=42, used_bytes=70 * MiB),
    )


def test_process_list_that_grows_is_asked_for_again(child, state):
    write_state(state, A, "process GPU-a 41 500", "grows 3")
    assert only(read(child, NOBODY)).processes == (ProcessUse(pid=41, used_bytes=500 * MiB),)


def test_process_list_that_never_stops_growing_is_unknown(child, state):
    write_state(state, A, "process GPU-a 41 500", "grows 99")
    reading = only(read(child, NOBODY))
    assert (reading.state, reading.processes) == (DeviceState.OK, None)


def test_wsl2_without_process_list_and_utilization(child, state):
    write_state(state, A + " no-util no-processes")
    reading = only(read(child, NOBODY))
    assert reading.state is DeviceState.OK
    assert (reading.utilization_percent, reading.processes) == (None, None)
    assert reading.free_bytes == (24576 - 1300) * MiB


def test_processes_without_sizes_are_no_answer(child, state):
    write_state(state, A, "process GPU-a 41 unknown")
    assert only(read(child, NOBODY)).processes is None


def test_a_container_without_host_pids_sees_an_empty_list(child, state):
    write_state(state, A)
    assert only(read(child, frozenset({os.getpid()}))).processes == ()


# --- MIG --------------------------------------------------------------------------------------------


def test_mig_instances_are_devices_and_their_gpu_is_not(child, state):
    write_state(
        state,
        A,
        B,
        "mig MIG-1 parent=GPU-a total=4864 used=64 name=Fast_One_MIG_1g",
        "mig MIG-2 parent=GPU-a total=9728 used=128",
        "process MIG-2 41 500",
    )
    readings = by_id(read(child, NOBODY))
    assert list(readings) == ["MIG-1", "MIG-2", "GPU-b"]
    assert readings["MIG-1"].device.name == "Fast One MIG 1g"
    assert readings["MIG-1"].free_bytes == 4800 * MiB
    assert readings["MIG-2"].processes == (ProcessUse(pid=41, used_bytes=500 * MiB),)
    assert readings["MIG-2"].utilization_percent is None
    assert readings["MIG-2"].temperature_c == 51.0  # the chip's


def test_mig_without_instances_says_what_to_do(child, state):
    write_state(state, A + " mig-mode")
    check_unknown(only(read(child)), "MIG", "nvidia-smi mig")


# --- GPUs without memory of their own ------------------------------------------------------------


@pytest.mark.parametrize("words", ["name=NVIDIA_GB10", "name=Orin_(nvgpu)", "fpci", "ats"])
@pytest.mark.parametrize("memory", ["no-memory", "zero-memory"])
def test_integrated_gpu_has_the_memory_of_the_host(child, state, words, memory):
    write_state(state, f"gpu GPU-a {memory} {words}")
    reading = only(read(child))
    assert (reading.device.kind, reading.state) == (DeviceKind.UNIFIED, DeviceState.OK)
    lines = Path("/proc/meminfo").read_text().splitlines()
    machine_bytes = int(lines[0].split()[1]) * 1024
    assert 0 < reading.free_bytes < reading.total_bytes <= machine_bytes


@pytest.mark.parametrize("words", ["no-memory", "zero-memory", "no-memory ats numa"])
def test_discrete_card_without_memory_is_unreadable(child, state, words):
    write_state(state, f"gpu GPU-a {words}", B)
    readings = by_id(read(child))
    assert readings["GPU-a"].device.kind is DeviceKind.GPU
    check_unknown(readings["GPU-a"], "memory", "reset")
    assert readings["GPU-b"].state is DeviceState.OK
