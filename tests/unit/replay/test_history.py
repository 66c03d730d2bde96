import json

import pytest

from orchestrator.core.values.vram import MiB
from orchestrator.replay.history import TraceInvalid, read_trace
from tests.unit.replay.histories import decision, machine, model, request, text, turns


def read(*lines):
    return read_trace(text(*lines).splitlines())


def test_an_export_is_read():
    asked = request(5.0, "a", 4.0, wait_seconds=2.5, priority=8)
    trace = read(machine(), model("a", 14000, 7.0, ttl_seconds=60, pinned=True), asked)
    [demand] = trace.demands
    assert (demand.model, demand.serves_s, demand.priority) == ("a", 1.5, 8)
    spec = trace.models[demand.model]
    assert spec.footprint.device_bytes == 14000 * MiB
    assert (spec.load_s, spec.ttl_s, spec.pinned) == (7.0, 60.0, True)
    assert trace.devices[0].total_bytes == 24576 * MiB


def test_requests_are_put_in_order():
    trace = read(machine(), model("a"), request(9.0, "a"), request(1.0, "a"))
    first, second = trace.demands
    assert second.at_s - first.at_s == 8.0


def test_empty_lines_are_passed_over():
    assert len(read_trace(turns().replace("\n", "\n\n").splitlines()).demands) == 6


def test_what_came_of_it_is_told_as_it_was_written_down():
    trace = read(
        machine(),
        model("a", load_s=7.0),
        request(1.0, "a", 9.0, wait_seconds=8.0),
        request(5.0, "a", 2.0, model=None, outcome="refused"),
        decision(0.5, "loaded", "a"),  # before anything that is known was asked
        decision(2.0, "loaded", "a"),
        decision(3.0, "evicted", "a"),
    )
    assert trace.was is not None
    assert (trace.was.loads, trace.was.evictions, trace.was.reload_s) == (1, 1, 7.0)
    assert trace.was.waits_s == [2.0, 8.0]
    assert trace.was.refused == {"refused": 1}
    assert trace.was.lasted_s == 9.0


def test_a_request_counts_for_its_model_by_any_name():
    refused = request(1.0, "gpt", model=None, outcome="refused")
    trace = read(machine(), model("a", aliases=["gpt"]), refused)
    assert trace.demands[0].model == "a"


def test_who_left_before_it_was_served_leaves_then_again_and_would_have_been_served_as_usual():
    left = request(9.0, "a", 30.0, model=None, outcome="client_gone")
    served = [request(at_s, "a", total_s) for at_s, total_s in ((1.0, 2.0), (2.0, 6.0), (3.0, 3.0))]
    demand = read(machine(), model("a"), *served, left).demands[-1]
    assert (demand.patience_s, demand.serves_s) == (30.0, 3.0)


def test_who_left_while_it_was_served_was_served_as_long_as_that():
    left = request(9.0, "a", 30.0, wait_seconds=10.0, outcome="client_gone")
    [demand] = read(machine(), model("a"), left).demands
    assert (demand.patience_s, demand.serves_s) == (None, 20.0)


def test_what_is_no_model_now_is_left_out_and_said():
    trace = read(machine(), model("a"), request(1.0, "a"), request(2.0, "gone"))
    assert len(trace.demands) == 1
    assert trace.undescribed == {"gone": 1}


def test_a_model_whose_size_is_not_known_is_none():
    trace = read(
        machine(), model("a"), model("b", vram_mb=None), request(1.0, "a"), request(2.0, "b")
    )
    assert trace.undescribed == {"b": 1}


def test_a_request_without_a_priority_has_its_models():
    trace = read(machine(), model("a", priority=7), request(1.0, "a"))
    assert trace.demands[0].priority == 7


def test_a_device_under_a_budget_is_one_of_that_size():
    trace = read(
        machine(64000, foreign_mb=9000, headroom_mb=512, available_mb=300, charged_mb=260),
        model("a"),
        request(1.0, "a"),
    )
    [device] = trace.devices
    assert (device.total_bytes, device.foreign_bytes) == (560 * MiB, 0)
    assert trace.headroom_bytes == 0


def test_what_others_hold_and_the_headroom_stay():
    trace = read(
        machine(24000, foreign_mb=1000, headroom_mb=512, available_mb=22488),
        model("a"),
        request(1.0, "a"),
    )
    [device] = trace.devices
    assert (device.total_bytes, device.foreign_bytes) == (24000 * MiB, 1000 * MiB)
    assert trace.headroom_bytes == 512 * MiB


GOOD = text(machine(), model("a"), request(1.0, "a")).splitlines()


@pytest.mark.parametrize(
    ("at", "line", "said"),
    [
        (2, "{", "line 2: it is not JSON"),
        (2, "[1]", "line 2: it is not a JSON object"),
        (2, "[" * 100_000, "line 2: it is not JSON"),
        (1, "x" * (1 << 21), "line 1: it has more than"),
        (3, '{"began_at": 1}', "line 3: `type` is not a text: null"),
        (3, '{"type": "song"}', "line 3: `type` is none of machine, model, request, decision"),
        (1, '{"type": "machine", "format": 2}', "line 1: its `format` is not 1"),
        (1, '{"type": "machine", "format": 1}', "line 1: `devices` is not a list of objects"),
        (1, json.dumps(machine(kind="tape")), "line 1: `kind` of a device is not known"),
        (1, json.dumps(machine(total_mb=None)), "line 1: `devices` names none that could be read"),
        (2, json.dumps(model("a", load_s=None)), "line 2: `load_seconds` is not a number: null"),
        (2, json.dumps(model("a", vram_mb=-1)), "line 2: `vram_mb` is not a number from 0 on: -1"),
        (2, json.dumps(model("a", vram_mb=True)), "line 2: `vram_mb` is not a number: true"),
        (2, json.dumps(model("a", devices="g0")), "line 2: `devices` is not a list of texts"),
        (3, json.dumps(request(1, "a", began_at="noon")), "line 3: `began_at` is not an instant"),
        (3, json.dumps(request(1, "a", float("nan"))), "line 3: `total_seconds` is not a number"),
        (3, json.dumps(request(1, "a", outcome=7)), "line 3: `outcome` is not a text: 7"),
        (3, json.dumps(request(1, "b")), "it holds no request for a model that it describes"),
        (1, "", "it has no line of type machine"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(at, line, said):
    lines = [*GOOD[: at - 1], line, *GOOD[at:]]
    with pytest.raises(TraceInvalid) as wrong:
        read_trace(lines)
    assert str(wrong.value).startswith(said)
