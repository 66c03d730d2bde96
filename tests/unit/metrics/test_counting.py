"""Events and effects, and what is counted of them."""

from dataclasses import replace

from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.messages import (
    Checked,
    Deny,
    Died,
    Evict,
    Forget,
    Grant,
    Loaded,
    LoadFailed,
    Recovered,
    Remember,
    Requested,
    Sampled,
    StopFailed,
    Stopped,
    Ticked,
    UseSeen,
    Withdrawn,
)
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import (
    ON_HANG,
    Endpoint,
    ForIdleness,
    ForNewcomer,
    ForOtherSettings,
    ForUnload,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, Reading
from orchestrator.metrics.counting import Counting, why_evicted
from orchestrator.metrics.families import Families
from tests.unit.web.samples import GPU, NOW_S, resident, spec

A = spec("a", load_s=4.0)
LIFE = resident(A, use_began_s=NOW_S)
FAILURE = Failure(reason=FailureReason.OUT_OF_MEMORY, detail="no room")
ENDPOINT = Endpoint("http://127.0.0.1:4000")


class Told:
    def __init__(self):
        self.families = Families()
        self.now_s = NOW_S
        self.life = LIFE
        self.counting = Counting(
            self.families,
            runtimes=lambda: {A.service: "process"},
            find=lambda _: self.life,
            clock=lambda: self.now_s,
        )

    def tell(self, event, *effects, after_s=0.0):
        self.now_s += after_s
        self.counting.observe(event, effects)

    def value(self, name, **labels):
        return self.families.registry.get_sample_value(f"orchestrator_{name}", labels)


def wish(number):
    return Requested(ticket=Ticket(number), spec=A, priority=5)


def grant(number, *, already=False, life=LIFE):
    return Grant(
        ticket=Ticket(number), resident=life, lease=None, evicted=(), already_loaded=already
    )


def test_waits_end_once_each_in_its_way():
    told = Told()
    for number in range(3):
        told.tell(wish(number))
    told.tell(Ticked(), grant(0), after_s=2.0)
    told.tell(Withdrawn(Ticket(1), load_goes_on=True))
    told.tell(Ticked(), grant(1))
    refusal = Refusal(code=RefusalCode.NO_ROOM, detail="no")
    told.tell(Ticked(), Deny(Ticket(2), refusal))
    told.tell(Ticked(), Deny(Ticket(99), refusal))  # of an unload
    counts = [
        told.value("wait_seconds_count", outcome=one) for one in ("granted", "refused", "withdrawn")
    ]
    assert counts == [1, 1, 1]
    assert told.value("wait_seconds_sum", outcome="granted") == 2.0
    assert told.value("refusals_total", code="no_room") == 1


def test_loads_by_their_result():
    told = Told()
    told.tell(Ticked(), Remember(LIFE))
    told.tell(
        Loaded(
            instance=LIFE.instance,
            endpoint=ENDPOINT,
            load_s=3.0,
            measured={GPU: LIFE.placement.total_bytes * 109 // 100},
        )
    )
    told.tell(LoadFailed(LIFE.instance, FAILURE))
    told.tell(Checked(A.name, FAILURE))
    told.tell(Checked(A.name, None))
    told.tell(Died(LIFE.instance, FAILURE))
    assert told.value("loads_total", model="a", result="ready") == 1
    assert told.value("loads_total", model="a", result="out_of_memory") == 2
    assert told.value("deaths_total", model="a", reason="out_of_memory") == 1
    assert told.value("load_duration_seconds_sum", model="a") == 3.0
    below = [
        told.value("footprint_error_ratio_bucket", provenance="declared", le=le)
        for le in ("0.05", "0.1")
    ]
    assert below == [0, 1]


def test_a_reload_is_one_of_a_model_that_had_left_for_another():
    told = Told()
    going = replace(LIFE, leaving=(ForNewcomer(ModelName("b"), NOW_S + 60),))
    loaded = Loaded(instance=LIFE.instance, endpoint=ENDPOINT, load_s=3.0)
    told.tell(Ticked(), Remember(LIFE))
    told.tell(loaded)
    told.tell(Ticked(), Remember(going), Evict(going))
    told.tell(Ticked(), Evict(going, force=True))  # a stop that is tried again
    told.tell(loaded)
    told.tell(loaded)
    assert told.value("evictions_total", model="a", reason="room") == 1
    assert told.value("reload_seconds_total", model="a") == 3.0


def test_bytes_on_their_way_back_are_timed_until_the_device_has_them():
    told = Told()
    told.tell(Ticked(), Remember(LIFE))
    told.tell(StopFailed(LIFE.instance, "it lives"))
    told.tell(Stopped(LIFE.instance))
    told.tell(Ticked(), Forget(LIFE.instance), after_s=0.75)
    assert told.value("vram_release_seconds_sum", device=GPU) == 0.75
    assert told.value("stops_total", runtime="process", result="stuck") == 1
    assert told.value("stops_total", runtime="process", result="verified") == 1


def test_a_use_that_began_after_the_load_saved_one():
    told = Told()
    told.tell(Ticked(), grant(1))
    told.tell(UseSeen(instance=LIFE.instance, busy=True, used=True))
    assert told.value("reload_avoided_seconds_total", model="a") is None
    told.life = replace(LIFE, use_began_s=NOW_S + 9)
    for _ in range(3):
        told.tell(UseSeen(instance=LIFE.instance, busy=True, used=True))
    told.tell(Ticked(), grant(2, already=True, life=told.life))
    assert told.value("reload_avoided_seconds_total", model="a") == 4.0
    told.life = None
    told.tell(UseSeen(instance=LIFE.instance, busy=True, used=True))


def test_readings_that_failed_and_what_was_taken_over():
    told = Told()
    device = Device(id=DeviceId("g0"), name="A", kind=DeviceKind.GPU)
    told.tell(Sampled([Reading(device=device, read_s=NOW_S, state=DeviceState.LOST)], {}))
    told.tell(Sampled([Reading(device=device, read_s=NOW_S, state=DeviceState.OK)], {}))
    told.tell(Recovered([LIFE]))
    told.tell(Recovered([LIFE], unseen=frozenset({LIFE.instance})))
    assert told.value("device_read_errors_total", device="g0", error="lost") == 1
    assert told.value("adoptions_total", result="adopted") == 1
    assert told.value("adoptions_total", result="unseen") == 1


def test_who_was_drained_for_a_due_wish_left_for_that():
    told = Told()
    going = replace(LIFE, leaving=(ForNewcomer(ModelName("b"), NOW_S + 60),))
    told.tell(Ticked(), Decide(kind=DecisionKind.DRAIN, text="It drains.", model=A.name))
    told.tell(Ticked(), Evict(going))
    assert told.value("evictions_total", model="a", reason="due") == 1


def test_why_it_left():
    def why(*leaving, force=False):
        return why_evicted(replace(LIFE, leaving=leaving), force=force, drained=False)

    assert why(ForIdleness()) == "ttl"
    assert why(ForOtherSettings(None)) == "settings"
    assert why(ForUnload(Ticket(1), NOW_S)) == "operator"
    assert why(force=True) == "operator"
    assert why() == "abandoned"
    hung = replace(LIFE, why_leaving=f"its server has not answered for 30 s {ON_HANG}")
    assert why_evicted(hung, force=True, drained=False) == "hang"
    assert LIFE.state is ResidentState.READY
