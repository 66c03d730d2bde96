"""Opening, listing, giving up, and opening again; the real binding, one child process a trial."""

import asyncio

from orchestrator.core.values.vram import DeviceState
from orchestrator.devices.nvml import LIST_AFTER_S, REOPEN_AFTER_S, REOPEN_AFTER_S_MAX
from tests.standins.nvml import NvmlChild, compile_standin, write_state
from tests.unit.devices.nvml_trials import A, B, by_id, check_unknown, only, read, wait_until


def test_mig_instances_made_later_are_found(child, state):
    write_state(state, B)
    read(child)
    write_state(state, A, B, "mig MIG-1 parent=GPU-a total=4864 used=64")
    child.advance(LIST_AFTER_S)
    assert set(by_id(read(child))) == {"GPU-b", "MIG-1"}


def test_no_library_is_one_unnamed_device_with_the_remedy(state, tmp_path):
    # The real library, where there is one, is hidden by one that cannot be loaded.
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    with NvmlChild(tmp_path, state) as child:
        reading = only(read(child))
        check_unknown(reading, "No NVIDIA driver is installed", "Install")
        assert asyncio.run(child.open()) == reading.problem


def test_driver_that_is_loaded_later_is_found(child, state):
    write_state(state, "driver none", A)
    check_unknown(only(read(child)), "not loaded", "modprobe")
    write_state(state, A)
    assert only(read(child)).device.id != "GPU-a"  # not tried again at once
    child.advance(REOPEN_AFTER_S)
    assert only(read(child)).device.id == "GPU-a"


def test_driver_without_gpus_says_so(child, state):
    write_state(state, "# nothing")
    check_unknown(only(read(child)), "lists no GPU")


def test_devices_stay_known_while_the_driver_is_gone(child, state):
    write_state(state, A, B)
    known = [reading.device for reading in read(child)]
    write_state(state, "driver none")
    readings = read(child)
    assert [reading.device for reading in readings] == known
    for reading in readings:
        check_unknown(reading, "not loaded")
    write_state(state, A, B)
    child.advance(REOPEN_AFTER_S_MAX)
    assert [reading.state for reading in read(child)] == [DeviceState.OK] * 2


def test_lost_gpu_is_lost_until_the_driver_is_opened_again(child, state):
    write_state(state, A, B)
    read(child)
    write_state(state, A + " lost", B)
    readings = by_id(read(child))
    check_unknown(readings["GPU-a"], "fallen off the bus", "Xid", state=DeviceState.LOST)
    assert readings["GPU-b"].state is DeviceState.OK
    child.advance(REOPEN_AFTER_S)
    assert by_id(read(child))["GPU-a"].state is DeviceState.LOST  # opened again, in vain
    write_state(state, A, B)
    assert by_id(read(child))["GPU-a"].state is DeviceState.LOST
    child.advance(2 * REOPEN_AFTER_S)
    readings = by_id(read(child))
    assert {device: reading.state for device, reading in readings.items()} == {
        "GPU-a": DeviceState.OK,
        "GPU-b": DeviceState.OK,
    }


def test_gpu_that_was_lost_before_we_came_is_shown_without_a_name(child, state):
    write_state(state, A + " lost", B)
    readings = by_id(read(child))
    assert set(readings) == {"GPU-b", "nvml-0"}
    check_unknown(readings["nvml-0"], "fallen off the bus", state=DeviceState.LOST)


def test_gpu_that_is_no_longer_listed_is_lost(child, state):
    write_state(state, A, B)
    read(child)
    write_state(state, B)
    child.advance(LIST_AFTER_S)
    readings = by_id(read(child))
    check_unknown(readings["GPU-a"], "no longer lists", state=DeviceState.LOST)
    assert readings["GPU-b"].state is DeviceState.OK


def test_revoked_permission_is_named(child, state):
    write_state(state, A + " no-permission")
    check_unknown(only(read(child)), "may not talk", "/dev/nvidia")


def test_opening_is_tried_ever_more_rarely(child, state):
    write_state(state, "driver none")
    read(child)
    for _ in range(8):  # 1 + 2 + 4 + ... seconds
        child.advance(REOPEN_AFTER_S_MAX)
        read(child)
    write_state(state, A)
    child.advance(REOPEN_AFTER_S_MAX - 1)
    assert only(read(child)).state is DeviceState.UNREADABLE
    child.advance(1)
    assert only(read(child)).state is DeviceState.OK


def test_patience_with_a_new_trouble_begins_anew(child, state):
    write_state(state, "driver none")
    for _ in range(8):
        read(child)
        child.advance(REOPEN_AFTER_S_MAX)
    write_state(state, A)
    assert only(read(child)).state is DeviceState.OK
    write_state(state, A + " lost")
    assert only(read(child)).state is DeviceState.LOST
    write_state(state, A)
    child.advance(REOPEN_AFTER_S)
    assert only(read(child)).state is DeviceState.OK


def test_driver_upgraded_underneath_is_read_again_with_the_new_library(tmp_path, state, standin):
    library = compile_standin(tmp_path / "upgraded", version="550.54")
    write_state(state, "driver 550.54", A)
    with NvmlChild(library, state) as child:
        assert only(read(child)).state is DeviceState.OK
        write_state(state, "driver 580.10", A)
        check_unknown(only(read(child)), "different versions", "Reboot")
        compile_standin(library, version="580.10")
        child.advance(REOPEN_AFTER_S_MAX)
        assert only(read(child)).state is DeviceState.OK


def test_mismatch_at_the_start_ends_when_the_module_is_loaded_anew(child, state):
    write_state(state, "driver 535.1", A)
    check_unknown(only(read(child)), "different versions")
    write_state(state, "driver 550.54", A)
    child.advance(REOPEN_AFTER_S)
    assert only(read(child)).state is DeviceState.OK


def test_driver_that_hangs_is_given_up_and_recovers(child, state):
    write_state(state, A, B)
    known = [reading.device for reading in read(child)]
    threads = child.threads()
    write_state(state, A, B, "hang")
    for _ in range(5):
        readings = read(child)
        assert [reading.device for reading in readings] == known
        for reading in readings:
            check_unknown(reading, "hangs", "reboot")
    assert child.threads() == threads
    write_state(state, A, B)
    # The hung call looks at the state file every few milliseconds.
    wait_until(lambda: [reading.state for reading in read(child)] == [DeviceState.OK] * 2)


def test_child_with_a_hung_call_can_end(standin, state):
    write_state(state, A, "hang")
    with NvmlChild(standin, state, deadline_s=0.1) as child:
        check_unknown(only(read(child)), "hangs")
        asyncio.run(child.close())


def test_closed_devices_end_their_thread(child, state):
    write_state(state, A)
    read(child)
    asyncio.run(child.close())
    wait_until(lambda: child.threads() == 1)
