from dataclasses import replace

import pytest

from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId, DeviceKind, GiB, MiB
from orchestrator.replay.history import read_trace
from orchestrator.replay.policies import PolicyName
from orchestrator.replay.scenarios import (
    Scenario,
    on_budget,
    played,
    said_size,
    sizes,
    usual_size,
    with_another,
)
from orchestrator.replay.trace import VirtualDevice
from tests.unit.replay.histories import turns


@pytest.fixture
def trace():
    return read_trace(turns().splitlines())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("48GB", (48 * GiB,)),
        ("24 GiB", (24 * GiB,)),
        ("24gb+16GB", (24 * GiB, 16 * GiB)),
        ("8192MB", (8192 * MiB,)),
        ("1.5g", (int(1.5 * GiB),)),
    ],
)
def test_sizes_are_those_of_cards(text, found):
    assert sizes(text) == found


@pytest.mark.parametrize("text", ["", "48", "GB", "-1GB", "0GB", "48GB+", "1e9GB", "9PB"])
def test_other_words_are_no_size(text):
    with pytest.raises(ValueError, match="is no size such as"):
        sizes(text)


def test_there_are_not_any_number_of_devices():
    with pytest.raises(ValueError, match="more than 64 devices"):
        sizes("+".join(["1GB"] * 65))


@pytest.mark.parametrize(
    ("size", "said"), [(24 * GiB, "24 GB"), (560 * MiB, "560 MB"), (int(1.5 * GiB), "1.5 GB")]
)
def test_sizes_are_said_as_they_are_typed(size, said):
    assert said_size(size) == said


def test_other_devices_take_the_place_of_those_that_models_are_on(trace):
    host = VirtualDevice(
        id=DeviceId("host"), name="host", kind=DeviceKind.HOST, total_bytes=64 * GiB
    )
    with_host = replace(trace, devices=(*trace.devices, host))
    devices = on_budget(with_host, (8 * GiB, 16 * GiB))
    assert [(device.kind, device.total_bytes // GiB) for device in devices] == [
        ("gpu", 8),
        ("gpu", 16),
        ("host", 64),
    ]
    [only] = on_budget(replace(trace, devices=(host,)), (8 * GiB,))
    assert only.kind is DeviceKind.HOST


def test_another_device_stands_beside_those_that_there_are(trace):
    devices = with_another(trace, (usual_size(trace),))
    assert [device.total_bytes for device in devices] == [24 * GiB, 24 * GiB]
    assert len({device.id for device in devices}) == 2


def test_a_second_device_would_help(trace):
    as_it_was = played(trace, Scenario(title="", devices=trace.devices))
    beside = played(trace, Scenario(title="", devices=with_another(trace, (24 * GiB,))))
    assert (as_it_was.loads, beside.loads) == (6, 2)
    assert sum(beside.waits_s) < sum(as_it_was.waits_s) / 2


def test_a_smaller_one_refuses_what_does_not_fit(trace):
    devices = on_budget(trace, (8 * GiB,))
    small = played(trace, Scenario(title="", devices=devices, other_devices=True))
    assert small.refused == {"does_not_fit": 6}


def test_a_model_that_names_its_device_goes_to_another_if_that_one_is_replaced(trace):
    bound = {name: replace(spec, devices=("g0",)) for name, spec in trace.models.items()}
    trace = replace(trace, models=bound)
    devices = on_budget(trace, (24 * GiB,))
    lost = played(trace, Scenario(title="", devices=devices))
    assert not lost.answered
    assert len(played(trace, Scenario(title="", devices=devices, other_devices=True)).answered) == 6


def test_by_another_rule_others_leave(trace):
    smaller = replace(
        trace.models[ModelName("b")],
        footprint=replace(trace.models[ModelName("b")].footprint, device_bytes=4 * GiB),
    )
    trace = replace(trace, models=trace.models | {smaller.name: smaller})
    ours = played(trace, Scenario(title="", devices=trace.devices))
    alone = played(
        trace, Scenario(title="", devices=trace.devices, policy=PolicyName.ONE_AT_A_TIME)
    )
    assert (ours.loads, alone.loads) == (2, 6)
