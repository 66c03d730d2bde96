from dataclasses import replace

from orchestrator.access.audit.lines import Head
from orchestrator.core.values.failures import Breaker
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.snapshot import Waiting
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.speeds import Figure
from orchestrator.core.values.vram import DeviceState, MiB
from orchestrator.desk.speeds import Speed
from orchestrator.downloads import Download
from orchestrator.hub import Phase
from orchestrator.metrics.gauges import Moment, gauges
from tests.unit.web.samples import NOW_S, account, resident, snapshot, spec


def told(*residents, downloads=(), **more):
    names = (ModelName("a"), ModelName("b"))
    moment = Moment(snapshot(*residents, **more), names, "1", downloads)
    return {
        (one.name.removeprefix("orchestrator_"), *one.labels.values()): one.value
        for family in gauges(moment)
        for one in family.samples
    }


def test_a_device_that_cannot_be_read_has_no_bytes_rather_than_none():
    said = told(accounts=(account(state=DeviceState.LOST),))
    assert said["device_up", "fake-0"] == 0
    assert said["device_vram_headroom_bytes", "fake-0"] == 512 * MiB
    unknown = ("device_vram_total_bytes", "device_vram_available_bytes", "device_utilization_ratio")
    assert not {name for name, *_ in said} & {*unknown, "device_temperature_celsius"}


def test_what_processes_hold_beyond_their_promise_is_held_too():
    said = told(resident(spec("a")), accounts=(account(free_mb=32768 - 7000),))
    assert said["vram_held_bytes", "fake-0", "resident", "a"] == 6000 * MiB
    assert said["vram_held_bytes", "fake-0", "resident", "beyond_promise"] == 1000 * MiB


def test_what_is_expected_of_a_model_stands_beside_what_was_measured():
    figure = Figure.GENERATION
    slow = Speed(
        model=ModelName("a"), figure=figure, expected=45.0, bound=0.1, measured=39.0, drifts=True
    )
    unknown = replace(slow, model=ModelName("b"), measured=None, drifts=False)
    said = {
        (one.name.removeprefix("orchestrator_"), one.labels["model"]): one.value
        for family in gauges(Moment(snapshot(), (), "1", speeds=(slow, unknown)))
        for one in family.samples
        if one.labels.get("figure") == figure
    }
    assert said == {
        ("speed_expected", "a"): 45.0,
        ("speed_expected", "b"): 45.0,
        ("speed_measured", "a"): 39.0,
        ("speed_drifts", "a"): 1.0,
        ("speed_drifts", "b"): 0.0,
    }


def test_the_head_of_the_audit_log_is_two_numbers():
    head = Head(812, "9f2b5a1c" * 8)
    moment = replace(Moment(snapshot(), (), "1"), audit_head=head)
    said = {one.name: one.samples[0].value for one in gauges(moment) if "audit" in one.name}
    assert said == {"orchestrator_audit_lines": 812, "orchestrator_audit_head": 0x9F2B5A1C9F2B}
    assert not any("audit" in one.name for one in gauges(Moment(snapshot(), (), "1")))


def test_all_states_are_there_always():
    said = told(resident(spec("a"), ResidentState.STUCK))
    states = {state: said["residents", state] for state in ResidentState}
    assert states == {**dict.fromkeys(ResidentState, 0.0), "stuck": 1.0}


def test_requests_in_flight_are_those_that_pass_by_routes_too():
    one = resident(spec("a"))
    said = told(one, passing={one.instance: 3})
    assert said["resident_in_flight", "a"] == 3


def test_the_queue_by_its_oldest():
    waits = Waiting(
        model=ModelName("a"), priority=5, callers=2, waited_s=30, bound_s=120, waits_for=""
    )
    room = Waiting(
        model=ModelName("lease-x"), priority=5, callers=1, waited_s=9, bound_s=6, waits_for=""
    )
    said = told(queue=(waits, room))
    assert said["queue_depth", "a"] == 2
    assert ("queue_depth", "lease-x") not in said
    assert said["queue_oldest_wait_seconds",] == 30
    assert said["queue_oldest_bound_ratio",] == 1.5


def test_breakers():
    breakers = {ModelName("a"): Breaker(failures=3, open_until_s=NOW_S + 9)}
    said = told(breakers=breakers)
    assert (said["breaker_open", "a"], said["breaker_open", "b"]) == (1, 0)


def test_what_is_brought_and_an_unknown_size_has_no_figure():
    asking = Download(source="r", file="a.gguf", phase=Phase.ASKING, started_s=NOW_S)
    arriving = replace(asking, file="b.gguf", done_bytes=5, total_bytes=9)
    said = told(downloads=(asking, arriving))
    assert (said["download_bytes", "b.gguf"], said["download_size_bytes", "b.gguf"]) == (5, 9)
    assert ("download_size_bytes", "a.gguf") not in said
