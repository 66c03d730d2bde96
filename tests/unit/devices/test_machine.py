import asyncio

import pytest

from orchestrator.core.values.vram import DeviceKind, DeviceState, MiB
from orchestrator.devices.fake import FakeDevices, FakeDeviceSpec
from orchestrator.devices.machine import Machine, detect
from tests.standins.nvml import write_state
from tests.unit.devices.nvml_trials import A


@pytest.fixture
def part(tmp_path):
    def make(name, kind):
        spec = FakeDeviceSpec(name=name, total_bytes=1024 * MiB, kind=kind)
        return FakeDevices(lambda: 1.0, tmp_path / name, [spec])

    return make


def names(machine):
    return [reading.device.name for reading in asyncio.run(machine.read(None))]


def test_machine_has_the_devices_of_all_its_parts(part):
    machine = Machine(part("gpu", DeviceKind.GPU), part("ram", DeviceKind.HOST))
    assert names(machine) == ["gpu", "ram"]
    asyncio.run(machine.close())


def test_ram_that_is_also_a_gpus_is_one_device(part):
    machine = Machine(part("orin", DeviceKind.UNIFIED), part("ram", DeviceKind.HOST))
    assert names(machine) == ["orin"]


def test_unified_memory_that_cannot_be_read_does_not_bring_the_host_back(part):
    unified = part("orin", DeviceKind.UNIFIED)
    unified.set("fake-0", fault="unreadable")
    assert names(Machine(unified, part("ram", DeviceKind.HOST))) == ["orin"]


def test_detect_takes_nvml_where_it_answers_with_the_host_beside_it(child, state):
    write_state(state, A)
    found = child.detect()
    assert (found["source"], found["problem"]) == ("nvml", "")
    assert [reading.device.id for reading in found["readings"]] == ["GPU-a", "host"]
    assert [reading.state for reading in found["readings"]] == [DeviceState.OK] * 2


@pytest.mark.parametrize(
    ("lines", "word"),
    [(["driver none", A], "not loaded"), (["driver 1.0", A], "versions"), ([], "lists no GPU")],
)
def test_detect_takes_the_host_where_nvml_does_not_answer_and_says_why(child, state, lines, word):
    write_state(state, *lines)
    found = child.detect()
    assert (found["source"], word in found["problem"]) == ("host", True)
    assert [reading.device.id for reading in found["readings"]] == ["host"]


def test_detect_works_here():
    async def scenario():
        found = await detect(lambda: 1.0)
        readings = await found.devices.read(None)
        await found.devices.close()
        return found, readings

    found, readings = asyncio.run(scenario())
    assert (found.source == "nvml") == (found.problem == "")
    assert readings
