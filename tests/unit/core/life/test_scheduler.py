"""Events and what they cause, in turn. Each test is a short play."""

from dataclasses import replace

import pytest

from orchestrator.core.life.survey import survey
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import BREAKER_FAILURES, Failure, FailureReason
from orchestrator.core.values.footprints import UNKNOWN, Provenance
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import (
    Bringing,
    CatalogueChanged,
    Check,
    Checked,
    Deny,
    Died,
    DropLease,
    Evict,
    Finish,
    Forget,
    ForgetPin,
    Grant,
    KeepLease,
    Learn,
    Load,
    Loaded,
    LoadFailed,
    PinChanged,
    Recovered,
    Released,
    Remember,
    Renewed,
    Sampled,
    SavePin,
    ShutdownBegan,
    StopFailed,
    Stopped,
    Ticked,
    Uncheck,
    UseSeen,
    Withdrawn,
)
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import Placement, ResidentState
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import Fallback, ModelName, room_spec
from orchestrator.core.values.tickets import UnloadStatus
from orchestrator.core.values.vram import DeviceId, GiB
from tests.factories import (
    ENDPOINT,
    gpu,
    lease,
    request,
    resident,
    sampled,
    scheduler,
    spec,
    unload,
    unreadable,
)

A, B, C = spec("a", gib=16), spec("b", gib=16), spec("c", gib=4)
FAILED = Failure(reason=FailureReason.EXITED, detail="it exited with code 1.")
NO_MEMORY = Failure(reason=FailureReason.OUT_OF_MEMORY, detail="out of memory.")


class Play:
    """A scheduler on a card of 24 GB, and the world that obeys it.

    The world is told in so many words: `stopped`, `loaded`, `failed`; the card's used bytes
    follow from what runs, unless a scene says otherwise.
    """

    def __init__(self, *parts, gib=24, **changes):
        parts = parts or (A, B, C)
        if not any(hasattr(part, "device") for part in parts):
            parts = (gpu(gib=gib), *parts)
        self.cards = [part for part in parts if hasattr(part, "device")]
        self.scheduler = scheduler(*parts, changes=changes)
        self.now_s = 0.0
        self.said = []
        self.learned = []
        self.running = {}  # instance -> placement
        self.files_are_sound = True
        for each in self.scheduler.state.ledger.residents:
            self.running[each.instance] = each.placement

    def tell(self, event, at_s=None):
        self.now_s = self.now_s + 0.01 if at_s is None else at_s
        effects = self.scheduler.handle(event, now_s=self.now_s)
        if self.files_are_sound:
            effects = [each for effect in effects for each in self.looked_at(effect)]
        self.said += [effect for effect in effects if isinstance(effect, Decide)]
        self.learned += [effect for effect in effects if isinstance(effect, Learn)]
        for effect in effects:
            if isinstance(effect, Load):
                self.running[effect.resident.instance] = effect.resident.placement
        return [
            effect
            for effect in effects
            if not isinstance(effect, Decide | Remember | Forget | Learn | KeepLease | DropLease)
        ]

    def looked_at(self, effect):
        """Files are looked at and found sound, unless a scene says otherwise."""
        if not isinstance(effect, Check):
            return [effect]
        return self.scheduler.handle(Checked(effect.spec.name, None), now_s=self.now_s)

    def sample(self, at_s=None, *, foreign_gib=0, lagging_gib=0):
        self.now_s = self.now_s + 0.01 if at_s is None else at_s
        readings = []
        for card in self.cards:
            held = sum(each.on(card.device.id) for each in self.running.values())
            used_gib = held / GiB + foreign_gib + lagging_gib
            readings.append(
                gpu(
                    card.device.id,
                    gib=card.total_bytes / GiB,
                    used_gib=used_gib,
                    at_s=self.now_s,
                )
            )
        return self.tell(sampled(*readings), self.now_s)

    def resident(self, name):
        return self.scheduler.state.ledger.resident(ModelName(name))

    def state(self, name):
        found = self.resident(name)
        return found and found.state

    def request(self, ticket, wanted, at_s=None, **changes):
        effects = self.tell(request(ticket, wanted, **changes), at_s)
        return effects + self.sample()

    def loaded(self, name, at_s=None, **seen):
        instance = self.resident(name).instance
        self.sample(at_s)
        return self.tell(Loaded(instance=instance, endpoint=ENDPOINT, load_s=1.0, **seen))

    def failed(self, name, failure=FAILED):
        instance = self.resident(name).instance
        self.running.pop(instance)
        return self.tell(LoadFailed(instance, failure)) + self.sample()

    def stopped(self, name, at_s=None):
        instance = self.resident(name).instance
        del self.running[instance]
        return self.tell(Stopped(instance), at_s) + self.sample()

    def bring_up(self, ticket, wanted, **changes):
        self.request(ticket, wanted, **changes)
        return self.loaded(wanted.name)

    def release(self, name, at_s=None):
        lease = next(lease for lease in self.scheduler.state.leases.values() if lease.model == name)
        return self.tell(Released(lease.id), at_s)

    def survey(self) -> Snapshot:
        return survey(self.scheduler.state, self.now_s)


def kinds(effects):
    return [type(effect) for effect in effects]


def granted(effects):
    return [effect.ticket for effect in effects if isinstance(effect, Grant)]


def denied(effects):
    return {effect.ticket: effect.refusal.code for effect in effects if isinstance(effect, Deny)}


# --- loading ---------------------------------------------------------------------------------


def test_first_request_loads_then_is_granted():
    play = Play()
    assert kinds(play.request(1, A)) == [Load]
    assert granted(play.loaded("a")) == [1]


def test_intent_is_remembered_before_anything_is_done():
    play = Play()
    effects = play.scheduler.handle(request(1, A), now_s=0)
    order = [type(each) for each in effects if isinstance(each, Remember | Load)]
    assert order[0] is Remember


def test_what_came_up_is_remembered_as_it_came_up():
    """With its endpoint and its measured charge: who takes it over after a crash believes them."""
    play = Play()
    play.request(1, A)
    came = Loaded(instance=play.resident("a").instance, endpoint=ENDPOINT, load_s=1.0)
    effects = play.scheduler.handle(came, now_s=3)
    written = [each.resident for each in effects if isinstance(each, Remember)]
    assert written[-1].state is ResidentState.READY
    assert written[-1].endpoint == ENDPOINT
    assert written[-1].placement == play.resident("a").placement


def test_second_request_joins_the_load():
    play = Play()
    play.request(1, A)
    assert play.request(2, A) == []
    assert granted(play.loaded("a")) == [1, 2]


def test_a_ready_model_is_granted_in_the_same_call():
    play = Play()
    play.bring_up(1, A)
    (grant,) = play.tell(request(2, A))
    assert isinstance(grant, Grant)
    assert grant.already_loaded


def test_load_waits_for_the_eviction_and_for_the_bytes():
    play = Play()
    play.bring_up(1, A)
    play.request(2, B)
    assert kinds(play.release("a")) == [Evict]
    instance = play.resident("a").instance
    del play.running[instance]
    play.tell(Stopped(instance))
    assert play.sample(lagging_gib=16) == [], "the driver still counts them"
    assert play.state("a") is ResidentState.RELEASING
    assert kinds(play.sample()) == [Load]
    assert granted(play.loaded("b")) == [2]


def test_a_model_that_comes_back_is_wanted_as_often_as_before():
    play = Play()
    play.bring_up(1, A)
    for ticket, began_s in ((2, 100.0), (3, 200.0)):
        play.release("a")
        play.tell(request(ticket, A), began_s)
    play.release("a")
    play.request(4, B)
    play.stopped("a")
    play.loaded("b")
    play.release("b")
    play.request(5, A, at_s=400.0)
    play.stopped("b")
    play.loaded("a")
    assert play.resident("a").use_gap_s == pytest.approx(0.7 * 100 + 0.3 * 200, abs=0.1)


def test_of_a_model_that_is_taken_out_nothing_is_remembered():
    play = Play()
    play.bring_up(1, A)
    play.release("a")
    play.request(2, B)
    play.stopped("a")
    assert {*play.scheduler.state.habits} == {"a"}
    play.tell(CatalogueChanged({B.name: B}))
    assert play.scheduler.state.habits == {}


def test_lagging_bytes_cost_no_second_victim():
    play = Play(spec("x", gib=10), spec("y", gib=10), C, gib=24, release_timeout_s=1.0)
    x, y = (play.scheduler.state.catalogue[ModelName(n)] for n in "xy")
    play.bring_up(1, x)
    play.bring_up(2, y)
    play.release("x")
    play.release("y")
    play.request(3, spec("z", gib=12))
    leaving = [each for each in "xy" if play.state(each) is ResidentState.UNLOADING]
    assert len(leaving) == 1
    instance = play.resident(leaving[0]).instance
    del play.running[instance]
    play.tell(Stopped(instance))
    for second in range(1, 20):
        assert play.sample(play.now_s + 1, lagging_gib=10) == [], f"after {second} s"
    assert any("did not come back" in each.text for each in play.said), "it is said"
    assert kinds(play.sample()) == [Load]


def test_room_taken_by_others_while_it_was_kept_is_planned_again():
    play = Play()
    assert play.tell(request(1, B), 5) == [], "the last reading is older than the promise"
    assert play.resident("b").state is ResidentState.RESERVED
    assert play.sample(foreign_gib=12) == [], "never a start into 12 GB of somebody else"
    assert play.resident("b") is None
    assert kinds(play.sample(foreign_gib=2)) == [Load]


def test_bytes_that_others_take_meanwhile_are_told_from_bytes_not_given_back():
    play = Play()
    play.bring_up(1, A)
    play.request(2, B)
    play.release("a")
    instance = play.resident("a").instance
    del play.running[instance]
    play.tell(Stopped(instance))
    assert play.sample(lagging_gib=16) == []
    assert play.sample(foreign_gib=7) == []
    assert play.sample(play.now_s + 2, foreign_gib=7) == [], "they may still be coming"
    assert kinds(play.sample(play.now_s + 2, foreign_gib=7)) == [Load]


def test_nobody_leaves_for_a_model_that_could_not_start():
    play = Play()
    play.files_are_sound = False
    play.bring_up(1, A)
    play.release("a")
    (check,) = play.request(2, B)
    assert check == Check(B), "nobody was asked to leave yet"
    assert play.sample() == [], "and it is asked once"
    torn = Failure(reason=FailureReason.MODEL_FILE, detail="it is truncated.")
    assert denied(play.tell(Checked(ModelName("b"), torn))) == {2: RefusalCode.LOAD_FAILED}
    assert play.state("a") is ResidentState.READY
    assert denied(play.request(3, B)) == {3: RefusalCode.BREAKER_OPEN}


def test_victims_leave_once_the_newcomer_was_looked_at():
    play = Play()
    play.files_are_sound = False
    play.bring_up(1, A)
    play.release("a")
    play.request(2, B)
    assert kinds(play.tell(Checked(ModelName("b"), None))) == [Evict]


def test_a_look_at_a_model_that_nobody_wants_any_more_changes_nothing():
    play = Play()
    play.files_are_sound = False
    play.bring_up(1, A)
    play.release("a")
    play.request(2, B)
    play.tell(Withdrawn(2))
    assert play.tell(Checked(ModelName("b"), None)) == []
    assert play.state("a") is ResidentState.READY


def test_a_server_that_took_no_vram_is_told_of_and_teaches_nothing():
    play = Play()
    play.request(1, A)
    play.running.clear()
    assert granted(play.loaded("a")) == [1], "it answers, and is granted"
    (said,) = [each for each in play.said if each.kind is DecisionKind.FAIL]
    assert "took no VRAM" in said.text
    assert said.remedy
    assert play.resident("a").problem == said.text
    assert play.resident("a").spec.footprint == A.footprint


def test_a_sliver_of_vram_is_none():
    play = Play()
    play.request(1, A)
    device = play.resident("a").placement.devices[0]
    play.loaded("a", measured={device: GiB})
    assert play.resident("a").problem
    assert play.resident("a").placement.total_bytes == A.footprint.device_bytes


def test_a_model_that_the_operator_keeps_on_the_processor_is_no_fallback():
    play = Play()
    on_cpu = replace(A, serving=replace(A.serving, gpu_layers=0))
    play.request(1, on_cpu)
    play.running.clear()
    play.loaded("a")
    assert not play.resident("a").problem


def test_measured_bytes_replace_what_was_declared():
    play = Play()
    play.request(1, A)
    play.loaded("a", measured={DeviceId("g0"): 10 * GiB})
    assert play.resident("a").placement.total_bytes == 10 * GiB
    assert play.resident("a").spec.footprint.provenance == "measured"


def test_two_devices_load_at_the_same_time():
    play = Play(gpu("g0", gib=24), gpu("g1", gib=24), A, B)
    assert kinds(play.request(1, A)) == [Load]
    assert kinds(play.request(2, B)) == [Load]


# --- withdrawing -----------------------------------------------------------------------------


def test_caller_that_leaves_after_the_grant_gives_the_lease_back():
    play = Play()
    play.bring_up(1, A)
    play.tell(Withdrawn(1))
    assert play.resident("a").lease_count == 0
    assert kinds(play.request(2, B)) == [Evict]


def test_first_waiter_leaves_and_the_load_goes_on_for_the_second():
    play = Play()
    play.request(1, A)
    play.request(2, A)
    assert play.tell(Withdrawn(1)) == []
    assert granted(play.loaded("a")) == [2]


@pytest.mark.parametrize(("cancel", "after"), [(True, [Evict]), (False, [])])
def test_last_waiter_leaves_and_the_policy_decides(cancel, after):
    play = Play(cancel_abandoned=cancel)
    play.request(1, A)
    assert kinds(play.tell(Withdrawn(1))) == after


def test_an_owner_that_leaves_its_load_holds_nothing_when_it_has_come():
    play = Play(cancel_abandoned=True)
    play.request(1, A, hold=LeaseKind.OWNER, owner="flow", lease_s=3600.0, pin=True)
    assert play.tell(Withdrawn(1, load_goes_on=True)) == [], "the load goes on"
    (grant,) = (each for each in play.loaded("a") if isinstance(each, Grant))
    assert grant.lease is None
    assert (play.scheduler.state.leases, play.scheduler.state.pinned) == ({}, set())
    assert kinds(play.request(2, B)) == [Evict], "nobody holds it"


def test_promised_room_is_given_up_when_nobody_wants_it():
    play = Play()
    play.bring_up(1, A)
    play.request(2, B, priority=9)
    assert play.state("a") is ResidentState.DRAINING
    play.tell(Withdrawn(2))
    assert play.state("a") is ResidentState.READY
    assert play.resident("b") is None


# --- fairness --------------------------------------------------------------------------------


def test_a_waiting_model_is_due_after_its_patience():
    play = Play(patience_s=60)
    play.bring_up(1, A)
    play.request(2, B)
    assert play.tell(Ticked(), 59) == []
    play.tell(Ticked(), 61)
    assert play.state("a") is ResidentState.DRAINING
    assert play.request(3, A, 62) == [], "a draining resident takes nothing new"
    assert kinds(play.release("a", 63)) == [Evict]
    play.stopped("a")
    assert granted(play.loaded("b")) == [2]


def test_a_long_load_earns_a_longer_wait():
    play = Play(patience_s=60)
    slow = spec("slow", gib=16, load_s=30)
    play.bring_up(1, A)
    play.request(2, slow)
    play.tell(Ticked(), 299)
    assert play.state("a") is ResidentState.READY
    play.tell(Ticked(), 301)
    assert play.state("a") is ResidentState.DRAINING


def test_priority_beats_the_fast_path():
    play = Play()
    play.bring_up(1, A)
    play.request(2, B, priority=9)
    assert play.state("a") is ResidentState.DRAINING
    assert play.request(3, A) == []


def test_a_drain_in_vain_is_planned_again_and_nobody_is_cut():
    play = Play(patience_s=10, drain_timeout_s=30)
    play.bring_up(1, A)
    play.request(2, B)
    play.tell(Ticked(), 15)
    assert play.state("a") is ResidentState.DRAINING
    play.tell(Ticked(), 46)
    assert play.state("a") is ResidentState.READY
    assert granted(play.tell(request(3, A))) == [3]
    effects = play.tell(Ticked(), 4000)
    assert denied(effects) == {2: RefusalCode.NO_ROOM}


def test_after_a_switch_the_newcomer_keeps_its_place():
    play = Play(min_residency_s=10)
    play.bring_up(1, A)
    play.release("a")
    play.request(2, B)
    play.stopped("a")
    play.loaded("b")
    play.release("b")
    assert play.request(3, A) == [], "b has just arrived"
    assert kinds(play.tell(Ticked(), play.now_s + 3)) == []
    assert kinds(play.tell(Ticked(), play.now_s + 2)) == [Evict], (
        "four of its loads, not ten seconds"
    )


def test_every_ticket_ends_within_its_bound():
    play = Play(
        patience_s=60,
        drain_timeout_s=30,
        release_timeout_s=5,
        min_residency_s=0,
        protect_idle_s=0,  # so that there is hope until the end
    )
    play.bring_up(1, A, priority=9)
    play.request(2, B)
    bound_s = play.survey().queue[0].bound_s
    assert play.tell(Ticked(), bound_s - 1) == []
    assert denied(play.tell(Ticked(), bound_s + 1)) == {2: RefusalCode.NO_ROOM}


def test_the_queue_has_a_limit():
    """Like everything that waits (R14)."""
    play = Play(queue_length_max=2)
    play.bring_up(1, A)
    play.request(2, B)
    play.request(3, B)
    assert denied(play.request(4, B)) == {4: RefusalCode.QUEUE_FULL}


# --- refusals --------------------------------------------------------------------------------


def test_model_that_can_never_fit_is_denied_at_once_and_nobody_leaves():
    play = Play()
    play.bring_up(1, A)
    play.release("a")
    assert denied(play.request(2, spec("z", gib=99))) == {2: RefusalCode.DOES_NOT_FIT}
    assert play.state("a") is ResidentState.READY


def test_a_pin_in_the_way_is_a_refusal_at_once():
    play = Play()
    play.bring_up(1, A)
    play.release("a")
    assert kinds(play.tell(PinChanged("a", True))) == [SavePin]
    assert denied(play.request(2, B)) == {2: RefusalCode.NO_ROOM}
    play.tell(PinChanged("a", False))
    assert kinds(play.request(3, B)) == [Evict]


def test_an_unreadable_device_is_not_planned_on():
    play = Play(unreadable(), A)
    assert denied(play.tell(request(1, A))) == {1: RefusalCode.DEVICE_UNREADABLE}


def test_a_lost_device_is_said_and_fenced():
    play = Play()
    play.tell(Sampled([unreadable(lost=True)], {}))
    assert play.said[-1].kind is DecisionKind.DEVICE
    assert denied(play.tell(request(1, A))) == {1: RefusalCode.DEVICE_UNREADABLE}
    play.sample()
    assert "answers again" in play.said[-1].text


# --- failures --------------------------------------------------------------------------------


def test_failed_load_denies_everyone_who_waited_for_it():
    play = Play()
    play.request(1, A)
    play.request(2, A)
    assert denied(play.failed("a")) == {1: RefusalCode.LOAD_FAILED, 2: RefusalCode.LOAD_FAILED}
    assert play.resident("a") is None


def test_a_broken_model_is_refused_at_once_after_a_few_starts():
    play = Play()
    starts = 0
    codes = []
    for ticket in range(10):
        effects = play.request(ticket, A)
        if Load in kinds(effects):
            starts += 1
            effects = play.failed("a")
        codes += denied(effects).values()
    assert starts == BREAKER_FAILURES
    assert codes[starts:] == [RefusalCode.BREAKER_OPEN] * (10 - starts)


def test_a_changed_configuration_closes_the_breaker():
    play = Play()
    for ticket in range(BREAKER_FAILURES):
        play.request(ticket, A)
        play.failed("a")
    assert denied(play.request(7, A)) == {7: RefusalCode.BREAKER_OPEN}
    mended = spec("a", gib=15)
    play.tell(CatalogueChanged({ModelName("a"): mended}))
    assert kinds(play.request(8, mended)) == [Load]


def test_a_load_that_was_not_measured_is_said_in_a_sentence():
    play = Play()
    known = replace(C, footprint=replace(C.footprint, provenance=Provenance.MEASURED))
    play.request(1, known)
    play.sample(foreign_gib=10)  # far more than it takes: nothing is told from that
    instance = play.resident("c").instance
    play.tell(Loaded(instance=instance, endpoint=ENDPOINT, load_s=1.0))
    assert "(measured before; this load was not measured)." in words(play)


MISSING = Failure(reason=FailureReason.MODEL_FILE, detail="it is not there.", outside=True)


def missing_file(play):
    """A load of `a` found before its start that its file is missing; its breaker is open."""
    play.files_are_sound = False
    play.request(1, A)
    play.failed("a", MISSING)
    assert play.scheduler.state.breakers["a"].refuses(play.now_s)


def test_a_cause_outside_is_looked_at_again_before_the_breaker_answers():
    play = Play()
    missing_file(play)
    before = play.scheduler.state.breakers["a"]
    assert play.request(2, A) == [Check(A)]
    assert play.request(3, A) == [], "one look for all who ask"
    codes = denied(play.tell(Checked(ModelName("a"), MISSING)))
    assert codes == {2: RefusalCode.BREAKER_OPEN, 3: RefusalCode.BREAKER_OPEN}
    assert play.scheduler.state.breakers["a"] == before, "nobody waits longer for having asked"
    assert "looked at again whenever it is asked for" in words(play)


def test_a_breaker_forgets_a_cause_that_is_mended():
    play = Play()
    missing_file(play)
    assert kinds(play.request(2, A)) == [Check]
    play.tell(Checked(ModelName("a"), None))
    assert kinds(play.sample()) == [Load]
    assert "a" not in play.scheduler.state.breakers
    assert granted(play.loaded("a")) == [2]


def test_a_look_that_finds_another_cause_says_that_one():
    play = Play()
    missing_file(play)
    play.request(2, A)
    torn = replace(MISSING, detail="it is truncated.")
    (deny,) = play.tell(Checked(ModelName("a"), torn))
    assert (deny.refusal.code, deny.refusal.failure) == (RefusalCode.LOAD_FAILED, torn)


def test_a_cause_outside_that_is_mended_forgives_no_crash():
    play = Play()
    for ticket in range(BREAKER_FAILURES):
        play.request(ticket, A)
        play.failed("a")
    play.now_s += 31
    play.request(10, A)
    play.failed("a", MISSING)
    play.files_are_sound = False
    assert kinds(play.request(11, A)) == [Check]
    play.tell(Checked(ModelName("a"), None))
    assert kinds(play.sample()) == [Load]
    play.failed("a")
    assert denied(play.request(12, A)) == {12: RefusalCode.BREAKER_OPEN}, "one more was enough"


def test_a_reload_closes_breakers_whose_cause_was_outside_and_no_others():
    play = Play()
    missing_file(play)
    for ticket in range(10, 10 + BREAKER_FAILURES):
        play.request(ticket, B)
        play.failed("b")
    assert play.scheduler.state.breakers.keys() == {"a", "b"}
    play.tell(CatalogueChanged(play.scheduler.state.catalogue))
    assert play.scheduler.state.breakers.keys() == {"b"}
    assert kinds(play.request(30, A)) == [Load]


def test_a_look_again_that_finds_no_runtime_leaves_the_breaker_as_it_is():
    play = Play()
    missing_file(play)
    before = play.scheduler.state.breakers["a"]
    play.request(2, A)
    gone = Failure(reason=FailureReason.RUNTIME_UNAVAILABLE, detail="gone.", transient=True)
    assert denied(play.tell(Checked(ModelName("a"), gone))) == {2: RefusalCode.RUNTIME_UNAVAILABLE}
    assert play.scheduler.state.breakers["a"] == before


def test_out_of_memory_is_learned_and_tried_once_more_with_more_room():
    play = Play()
    play.request(1, A)
    effects = play.failed("a", NO_MEMORY)
    assert Load in kinds(effects)
    assert play.resident("a").placement.total_bytes == 20 * GiB
    assert "Trying once more with more room." in words(play)
    assert granted(play.loaded("a")) == [1]


def test_the_second_out_of_memory_is_told():
    play = Play()
    play.request(1, A)
    play.failed("a", NO_MEMORY)
    assert denied(play.failed("a", NO_MEMORY)) == {1: RefusalCode.LOAD_FAILED}


def test_a_start_whose_port_was_taken_is_tried_once_more_on_another():
    taken = Failure(reason=FailureReason.PORT, detail="Something else took the port.")
    play = Play()
    play.request(1, A)
    effects = play.failed("a", taken)
    assert Load in kinds(effects)
    assert play.resident("a").placement.total_bytes == 16 * GiB, "memory was not what it lacked"
    assert "Something else took the port. Trying once more." in words(play)
    assert denied(play.failed("a", taken)) == {1: RefusalCode.LOAD_FAILED}
    assert not play.scheduler.state.retried


def test_a_load_is_tried_again_once_whatever_it_fails_for():
    taken = Failure(reason=FailureReason.PORT, detail="Something else took the port.")
    play = Play()
    play.request(1, A)
    play.failed("a", taken)
    assert denied(play.failed("a", NO_MEMORY)) == {1: RefusalCode.LOAD_FAILED}


def test_out_of_memory_never_makes_a_model_too_large_to_try():
    play = Play()
    big = spec("big", gib=23)
    play.request(1, big)
    play.failed("big", NO_MEMORY)
    assert play.resident("big").placement.total_bytes == 24 * GiB


def degradable(gib=16, steps=((12, 256), (8, 128))):
    """A model that may give up batch size, each step with what it then takes."""
    wanted = spec("d", gib=gib)
    return replace(
        wanted,
        fallbacks=tuple(
            Fallback(
                serving=replace(wanted.serving, ubatch=ubatch),
                footprint=replace(wanted.footprint, device_bytes=lesser * GiB),
                given_up=(f"ubatch {ubatch}",),
            )
            for lesser, ubatch in steps
        ),
    )


def test_what_does_not_fit_goes_on_with_less_where_the_operator_allows_it():
    play = Play(gib=10)
    play.request(1, degradable())
    placed = play.resident("d")
    assert placed.placement.total_bytes == 8 * GiB, "the first step that fits, not the first"
    assert placed.spec.serving.ubatch == 128
    assert [each.kind for each in play.said][:1] == [DecisionKind.DEGRADE]
    assert granted(play.loaded("d")) == [1]
    assert "It had to give up: ubatch 128." in play.said[-1].text


def test_without_steps_that_help_it_is_refused():
    play = Play(gib=6)
    assert denied(play.request(1, degradable())) == {1: RefusalCode.DOES_NOT_FIT}


def test_a_model_that_runs_with_less_serves_those_who_ask_for_it_as_configured():
    play = Play(gib=10)
    play.bring_up(1, degradable())
    assert granted(play.request(2, degradable())) == [2]


def test_nobody_is_degraded_because_others_are_in_the_way_for_now():
    play = Play(degradable(), A)
    play.bring_up(1, A)
    play.request(2, degradable())
    assert play.resident("d") is None, "it waits"
    assert not [each for each in play.said if each.kind is DecisionKind.DEGRADE]


def test_after_the_second_out_of_memory_it_goes_on_with_what_saves_enough():
    play = Play(gib=24)
    play.request(1, degradable())
    play.failed("d", NO_MEMORY)
    assert play.resident("d").placement.total_bytes == 20 * GiB, "once more, with more room"
    effects = play.failed("d", NO_MEMORY)
    assert Load in kinds(effects)
    # Whatever the prediction did not know of is added to the lesser settings too.
    assert play.resident("d").spec.serving.ubatch == 128
    assert play.resident("d").placement.total_bytes == (8 + 4 + 5) * GiB
    assert granted(play.loaded("d")) == [1]


def test_when_nothing_is_left_to_give_up_the_callers_hear_it():
    play = Play(gib=24)
    play.request(1, degradable())
    for _ in range(2):
        play.failed("d", NO_MEMORY)
    assert denied(play.failed("d", NO_MEMORY)) == {1: RefusalCode.LOAD_FAILED}


def seen_to_hold(play, name, gib, *, foreign_gib=0.0):
    """A look at a card whose driver tells who holds what."""
    holder = play.resident(name).instance
    used_gib = sum(each.total_bytes for each in play.running.values()) / GiB
    used_gib += gib - play.running[holder].total_bytes / GiB
    reading = gpu(gib=24, used_gib=used_gib + foreign_gib, at_s=play.now_s)
    play.tell(Sampled([reading], {holder: {DeviceId("g0"): int(gib * GiB)}}))


def test_what_it_held_and_what_failed_is_what_it_needs():
    play = Play()
    play.request(1, A)
    seen_to_hold(play, "a", 15.5)
    play.failed("a", replace(NO_MEMORY, asked_bytes=GiB))
    assert play.resident("a").placement.total_bytes == 17 * GiB, "without what failed it had 16"


def test_on_a_full_card_what_failed_is_part_of_what_was_promised():
    play = Play(A, resident("b", gib=8))
    play.request(1, A)
    seen_to_hold(play, "a", 15.5)
    (said,) = learned_at_failure(play, "a", replace(NO_MEMORY, asked_bytes=GiB))
    assert said.footprint.device_bytes == int(16.5 * GiB)
    assert said.footprint.provenance is Provenance.RAISED


def words(play):
    return " ".join(each.text for each in play.said)


def learned_at_failure(play, name, failure):
    instance = play.resident(name).instance
    effects = play.scheduler.handle(LoadFailed(instance, failure), now_s=play.now_s)
    return [each for each in effects if isinstance(each, Learn)]


def test_whose_room_was_taken_by_strangers_was_not_believed_to_need_too_little():
    play = Play(A)
    play.request(1, A)
    seen_to_hold(play, "a", 10, foreign_gib=9)
    play.failed("a", replace(NO_MEMORY, asked_bytes=6 * GiB))
    assert not play.learned
    assert "Others took of its room meanwhile: trying once more." in words(play)
    assert play.survey().queue, "it is planned again"
    assert play.scheduler.state.queue.line(ModelName("a")).spec.footprint == A.footprint


def test_out_of_memory_while_it_served_is_learned_for_the_next_time():
    play = Play()
    play.bring_up(1, A)
    effects = play.scheduler.handle(Died(play.resident("a").instance, NO_MEMORY), now_s=play.now_s)
    (learned,) = [each for each in effects if isinstance(each, Learn)]
    assert learned.footprint.device_bytes == 20 * GiB
    assert learned.footprint.provenance is Provenance.RAISED
    assert learned.footprint.raised_in_use
    assert learned.spec.predicted == A.footprint


def test_failing_again_and_again_makes_no_promise_grow_without_end():
    play = Play(gib=96)
    wanted = A
    for ticket in range(12):
        play.now_s += 3600
        play.request(ticket, wanted)
        for _ in range(2):
            play.failed("a", NO_MEMORY)
        wanted = play.learned[-1].spec
    assert wanted.footprint.device_bytes == 32 * GiB


def test_what_a_silent_driver_says_is_charged_and_called_uncertain():
    play = Play()
    play.request(1, A)
    play.running[play.resident("a").instance] = Placement(((DeviceId("g0"), 15 * GiB),))
    play.loaded("a")
    loaded = play.resident("a")
    assert loaded.placement.total_bytes == 15 * GiB
    assert loaded.spec.footprint == replace(
        A.footprint, device_bytes=15 * GiB, provenance=Provenance.UNCERTAIN
    )
    assert loaded.spec.predicted == A.footprint
    assert "takes 15360 MB (uncertain: the driver does not tell" in play.said[-1].text


def test_the_victim_comes_back_when_the_newcomer_fails():
    play = Play(A, B, C, restore_victims=True)
    play.bring_up(1, A)
    play.release("a")
    play.request(2, B)
    play.stopped("a")
    effects = play.failed("b")
    assert denied(effects) == {2: RefusalCode.LOAD_FAILED}
    assert [effect.resident.name for effect in effects if isinstance(effect, Load)] == ["a"]
    assert play.loaded("a") != [], "granted to nobody but itself"
    assert play.state("a") is ResidentState.READY


def test_a_restored_victim_evicts_nobody():
    play = Play(A, B, spec("d", gib=20), restore_victims=True)
    play.bring_up(1, A)
    play.release("a")
    play.request(2, B)
    play.stopped("a")
    play.request(3, spec("d", gib=20))
    play.failed("b")
    assert play.state("d") is ResidentState.LOADING
    play.loaded("d")
    play.release("d")
    play.sample(play.now_s + 1)
    assert play.state("d") is ResidentState.READY
    assert play.resident("a") is None


def test_a_stop_that_fails_stays_charged_and_nothing_starts_on_top():
    play = Play()
    play.bring_up(1, A)
    play.release("a")
    play.request(2, B)
    effects = play.tell(StopFailed(play.resident("a").instance, "kill had no effect."))
    assert play.state("a") is ResidentState.STUCK
    assert Load not in kinds(effects)
    assert Load not in kinds(play.sample())
    assert kinds(play.tell(Ticked(), play.now_s + 31)) == [Evict], "it is tried again"
    assert kinds(play.stopped("a")) == [Load]


def test_a_server_that_dies_is_charged_until_its_bytes_are_back():
    play = Play()
    play.bring_up(1, A)
    instance = play.resident("a").instance
    play.tell(Died(instance, FAILED))
    assert play.state("a") is ResidentState.RELEASING
    del play.running[instance]
    play.sample()
    assert play.resident("a") is None
    assert play.scheduler.state.leases == {}
    assert play.tell(Released(f"{instance}-t1")) == [], "its lease ended with it"


# --- unloading -------------------------------------------------------------------------------


def test_unload_of_what_is_not_loaded():
    play = Play()
    (finish,) = play.tell(unload(1, "a"))
    assert finish.status is UnloadStatus.NOT_LOADED


def test_unload_finishes_when_the_bytes_are_back():
    play = Play()
    play.bring_up(1, A)
    play.release("a")
    assert kinds(play.tell(unload(2, "a"))) == [Evict]
    (finish,) = play.stopped("a")
    assert isinstance(finish, Finish)
    assert (finish.status, finish.freed_bytes) == (UnloadStatus.UNLOADED, 16 * GiB)


def test_unload_waits_for_those_who_use_it_then_says_in_use():
    play = Play()
    play.bring_up(1, A)
    play.tell(unload(2, "a", by_s=50))
    assert play.state("a") is ResidentState.DRAINING
    assert denied(play.tell(Ticked(), 51)) == {2: RefusalCode.IN_USE}
    assert play.state("a") is ResidentState.READY


def test_force_cuts():
    play = Play()
    play.bring_up(1, A)
    assert kinds(play.tell(unload(2, "a", force=True))) == [Evict]
    assert play.scheduler.state.leases == {}


def test_the_first_workflows_unload_leaves_the_seconds_lease():
    play = Play()
    play.bring_up(1, A, hold=LeaseKind.OWNER, owner="w1", lease_s=60)
    play.tell(request(2, A, hold=LeaseKind.OWNER, owner="w2", lease_s=60))
    (finish,) = play.tell(unload(3, "a", owner="w1"))
    assert (finish.status, finish.remaining_leases) == (UnloadStatus.RELEASED, 1)
    assert Evict in kinds(play.tell(unload(4, "a", owner="w2")))


def test_an_owner_that_asks_again_keeps_one_lease():
    play = Play()
    play.bring_up(1, A, hold=LeaseKind.OWNER, owner="w1", lease_s=60)
    play.tell(request(2, A, hold=LeaseKind.OWNER, owner="w1", lease_s=90))
    assert play.resident("a").lease_count == 1


def test_a_pinned_model_leaves_by_its_own_unload():
    play = Play()
    play.bring_up(1, A)
    play.release("a")
    play.tell(PinChanged("a", True))
    assert Evict in kinds(play.tell(unload(2, "a")))


# --- time ------------------------------------------------------------------------------------


def test_an_idle_model_leaves_after_its_ttl():
    play = Play()
    play.bring_up(1, A, ttl_s=30)
    play.release("a", 100)
    assert play.tell(Ticked(), 129) == []
    assert kinds(play.tell(Ticked(), 131)) == [Evict]


def test_a_request_longer_than_the_ttl_is_not_cut():
    play = Play()
    play.bring_up(1, A, ttl_s=30)
    assert play.tell(Ticked(), 1000) == []


def test_direct_traffic_keeps_the_model():
    play = Play()
    play.bring_up(1, A, ttl_s=30)
    play.release("a", 100)
    play.tell(UseSeen(instance=play.resident("a").instance, busy=True, used=True), 129)
    assert play.tell(Ticked(), 200) == [], "busy"
    play.tell(UseSeen(instance=play.resident("a").instance, busy=False, used=True), 201)
    assert tick_until(play, 230) == []
    assert kinds(play.tell(Ticked(), 232)) == [Evict]


def tick_until(play, at_s):
    effects = []
    while play.now_s < at_s:
        effects += play.tell(Ticked(), min(play.now_s + 1, at_s))
    return effects


def test_a_lease_expires_unless_renewed():
    play = Play()
    play.bring_up(1, A, hold=LeaseKind.OWNER, owner="w", lease_s=5)
    lease = next(iter(play.scheduler.state.leases))
    tick_until(play, 4)
    play.tell(Renewed(lease, 9.5))
    tick_until(play, 9)
    assert lease in play.scheduler.state.leases
    tick_until(play, 10)
    assert lease not in play.scheduler.state.leases


def test_a_daemon_that_stood_still_expires_nothing_unheard():
    play = Play()
    play.bring_up(1, A, hold=LeaseKind.OWNER, owner="w", lease_s=5)
    play.tell(Ticked(), 1)
    play.tell(Ticked(), 7.5)  # the renewal waits in its socket
    lease = next(iter(play.scheduler.state.leases))
    play.tell(Renewed(lease, 12.5))
    tick_until(play, 12)
    assert lease in play.scheduler.state.leases


# --- plain room ------------------------------------------------------------------------------


def room(gib):
    return room_spec(ModelName("lease-1"), int(gib * GiB), None, 5)


def test_a_lease_of_vram_makes_room_and_is_charged():
    play = Play()
    play.bring_up(1, A)
    play.release("a")
    assert kinds(play.request(2, room(12), hold=LeaseKind.ROOM, lease_s=60, owner="me")) == [Evict]
    effects = play.stopped("a")
    assert granted(effects) == [2]
    assert play.request(3, A) == [], "the room is leased"


def test_bytes_taken_by_the_leases_holder_are_not_counted_twice():
    play = Play()
    play.request(1, room(12), hold=LeaseKind.ROOM, lease_s=60, owner="me")
    play.sample(foreign_gib=12)
    assert play.scheduler.state.ledger.free_bytes(DeviceId("g0")) == 12 * GiB


def test_a_vram_lease_that_ends_is_room_again():
    play = Play()
    play.request(1, room(12), hold=LeaseKind.ROOM, lease_s=60, owner="me")
    play.request(2, A)
    lease = next(iter(play.scheduler.state.leases))
    play.tell(Released(lease))
    assert kinds(play.sample()) == [Load]


# --- settings --------------------------------------------------------------------------------


def longer(context_size):
    return replace(A, serving=replace(A.serving, context_size=context_size))


def test_a_larger_context_serves_a_smaller_wish():
    play = Play()
    play.bring_up(1, longer(8192))
    assert granted(play.tell(request(2, A))) == [2]


def test_other_settings_mean_another_start_once_it_is_idle():
    play = Play()
    play.bring_up(1, A)
    assert play.request(2, longer(8192)) == []
    assert kinds(play.release("a")) == [Evict]
    assert kinds(play.stopped("a")) == [Load]
    assert granted(play.loaded("a")) == [2]


# --- ends and beginnings ---------------------------------------------------------------------


def test_shutdown_refuses_who_waits_and_keeps_what_runs():
    play = Play()
    play.bring_up(1, A)
    play.request(2, B)
    assert denied(play.tell(ShutdownBegan(stop_residents=False))) == {2: RefusalCode.SHUTTING_DOWN}
    assert denied(play.tell(request(3, B))) == {3: RefusalCode.SHUTTING_DOWN}
    assert play.state("a") is ResidentState.READY


def test_a_shutdown_is_said_once_however_often_it_is_told():
    play = Play()
    play.tell(ShutdownBegan(stop_residents=False))
    play.tell(ShutdownBegan(stop_residents=True))
    assert [each.kind for each in play.said].count("shutdown") == 1


def test_shutdown_refuses_unloads_and_the_model_serves_on():
    play = Play()
    play.bring_up(1, A, hold=LeaseKind.REQUEST)
    play.tell(unload(2, "a"))
    assert play.state("a") is ResidentState.DRAINING
    assert denied(play.tell(ShutdownBegan(stop_residents=False))) == {2: RefusalCode.SHUTTING_DOWN}
    assert denied(play.tell(unload(3, "a"))) == {3: RefusalCode.SHUTTING_DOWN}
    assert play.state("a") is ResidentState.READY


def test_shutdown_can_stop_everything():
    play = Play()
    play.bring_up(1, A)
    assert kinds(play.tell(ShutdownBegan(stop_residents=True))) == [Evict]


def test_what_outlived_us_is_taken_over_and_served():
    play = Play()
    play.tell(Recovered([resident("a", gib=16)], []))
    assert granted(play.tell(request(1, A))) == [1]


def test_a_lease_outlives_us_with_its_model_and_not_without():
    play = Play()
    there, gone = resident("a", gib=16), resident("b", gib=4)
    leases = [replace(lease(each), kind=LeaseKind.OWNER) for each in (there, gone)]
    effects = play.scheduler.handle(Recovered([there], leases), now_s=1.0)
    assert list(play.scheduler.state.leases) == [leases[0].id]
    assert play.resident("a").lease_count == 1
    assert [each.lease for each in effects if isinstance(each, DropLease)] == [leases[1].id]
    said = [each for each in effects if isinstance(each, Decide)]
    assert [each.model for each in said if each.kind is DecisionKind.EXPIRE] == ["b"]


def test_who_was_on_the_way_out_goes_on_its_way_out():
    play = Play()
    leaving = resident("a", gib=16, state=ResidentState.UNLOADING)
    assert kinds(play.tell(Recovered([leaving], []))) == [Evict]


def test_returned_without_room_is_stopped():
    """Others started its container again while another model was loading into its room."""
    play = Play()
    play.request(1, A)
    play.sample()
    assert play.state("a") is ResidentState.LOADING
    came_back = replace(
        resident("b", gib=20, state=ResidentState.LOADING), endpoint=ENDPOINT, unpromised=True
    )
    (evict,) = [each for each in play.tell(Recovered([came_back])) if isinstance(each, Evict)]
    assert evict.resident.name == "b"
    assert "others started it" in play.said[-1].text


def test_returned_without_room_stays_if_it_is_leased():
    """Others started it again while we were down, with a lease that outlived us."""
    play = Play()
    came_back = replace(
        resident("b", gib=20, state=ResidentState.LOADING), endpoint=ENDPOINT, unpromised=True
    )
    held = replace(lease(came_back), kind=LeaseKind.OWNER)
    assert play.tell(Recovered([resident("a", gib=16), came_back], [held])) == []
    assert play.state("b") is ResidentState.LOADING
    assert list(play.scheduler.state.leases) == [held.id]


@pytest.mark.parametrize("order", [1, -1])
def test_of_those_that_outlived_us_who_was_promised_room_keeps_it(order):
    play = Play()
    there = resident("a", gib=16)
    came_back = replace(
        resident("b", gib=20, state=ResidentState.LOADING), endpoint=ENDPOINT, unpromised=True
    )
    effects = play.tell(Recovered([there, came_back][::order]))
    assert [each.resident.name for each in effects if isinstance(each, Evict)] == ["b"]


def test_returned_with_room_stays():
    play = Play()
    came_back = replace(
        resident("b", gib=20, state=ResidentState.LOADING), endpoint=ENDPOINT, unpromised=True
    )
    assert play.tell(Recovered([came_back])) == []
    assert play.state("b") is ResidentState.LOADING


def test_status_says_what_a_ticket_waits_for():
    play = Play()
    play.bring_up(1, A)
    play.request(2, B)
    (waiting,) = play.survey().queue
    assert (waiting.model, waiting.callers) == ("b", 1)
    assert "a (it is in use)" in waiting.waits_for


# --- files that have to be brought ------------------------------------------------------------

FAR = replace(B, hub="org/repo:b.gguf", supplied=True, auto_download=True)
UNSIZED = replace(FAR, footprint=UNKNOWN)
BROUGHT = replace(FAR, file="/cache/b.gguf", mmproj="/cache/mmproj.gguf")


def far_play(*parts, **changes):
    play = Play(*parts, **changes)
    play.files_are_sound = False
    return play


def test_nobody_leaves_before_the_file_is_here():
    play = far_play(resident("a", gib=16))
    assert play.tell(request(1, FAR)) == [Check(FAR)]
    assert play.tell(Bringing("b", "half of it")) == []
    assert play.tell(Ticked()) == []
    (evicted,) = play.tell(Checked("b", None, BROUGHT))
    assert isinstance(evicted, Evict)
    assert play.scheduler.state.ledger.resident("b").spec == BROUGHT


def test_a_file_that_may_be_missing_is_looked_at_though_there_is_room():
    play = far_play()
    assert play.tell(request(1, FAR)) == [Check(FAR)]
    assert play.tell(Checked("b", None, BROUGHT)) == []
    (load,) = play.sample()
    assert load.resident.spec == BROUGHT


def test_a_look_whose_end_fell_into_a_load_by_others_is_taken_again():
    """It was started again by others while its files were looked at, and did not come up."""
    play = Play(resident("a", gib=16), B)
    play.files_are_sound = False
    assert [type(each) for each in play.request(1, B)] == [Check]
    came = replace(resident("b", gib=2, state=ResidentState.LOADING), spec=B)
    play.tell(Recovered([came]))
    play.tell(Checked(B.name, None))
    play.tell(LoadFailed(came.instance, replace(FAILED, reason=FailureReason.PORT)))
    looks = [each for _ in range(3) for each in play.sample() if isinstance(each, Check)]
    assert [each.spec.name for each in looks] == ["b"]


def test_what_a_model_takes_is_found_out_before_it_is_brought():
    play = far_play(resident("a", gib=16))
    assert play.tell(request(1, UNSIZED)) == [Check(UNSIZED)]
    assert play.tell(Checked("b", None, BROUGHT)) == [Check(BROUGHT)]
    (evicted,) = play.tell(Checked("b", None, BROUGHT))
    assert isinstance(evicted, Evict)


def test_what_never_fits_is_not_brought():
    play = far_play(gib=8)
    play.tell(request(1, UNSIZED))
    (deny,) = play.tell(Checked("b", None, BROUGHT))
    assert deny.refusal.code is RefusalCode.DOES_NOT_FIT


def test_a_size_that_stays_unknown_is_refused_and_not_asked_for_again():
    play = far_play()
    play.tell(request(1, UNSIZED))
    (deny,) = play.tell(Checked("b", None, UNSIZED))
    assert deny.refusal.failure.reason is FailureReason.MODEL_FILE


def test_wishes_for_other_settings_take_the_file_and_are_sized_for_themselves():
    wider = replace(UNSIZED, serving=replace(UNSIZED.serving, context_size=8192))
    play = far_play()
    play.tell(request(1, UNSIZED))
    play.tell(request(2, wider))
    play.tell(Checked("b", None, BROUGHT))
    other = [wish.request.spec for wish in play.scheduler.state.queue.line("b").wishes.values()][1]
    assert (other.file, other.footprint) == (BROUGHT.file, UNKNOWN)
    assert other.serving.context_size == 8192


def test_who_waits_for_a_download_is_not_refused_and_sees_how_far_it_is():
    play = far_play(patience_s=1)
    play.tell(request(1, FAR))
    for minute in range(1, 120):
        assert play.tell(Bringing("b", f"{minute} %"), at_s=60.0 * minute) == []
        assert play.tell(Ticked(), at_s=60.0 * minute + 1) == []
    (waiting,) = survey(play.scheduler.state, play.now_s).queue
    assert waiting.waits_for == "119 %"
    said = [each.text for each in play.said if each.kind is DecisionKind.BRING]
    assert said == ["b is not complete: org/repo:b.gguf is brought here first."]


def test_a_download_that_says_nothing_more_is_given_up_at_the_bound():
    play = far_play()
    play.tell(request(1, FAR))
    play.tell(Bringing("b", "1 %"), at_s=1.0)
    (waiting,) = survey(play.scheduler.state, play.now_s).queue
    assert play.tell(Ticked(), at_s=waiting.bound_s - 1) == []
    (deny,) = play.tell(Ticked(), at_s=waiting.bound_s + 2)
    assert isinstance(deny, Deny)


def test_patience_with_others_begins_when_the_file_is_here():
    busy = resident("a", gib=16, leases=1)
    play = far_play(busy, patience_s=60)
    play.tell(request(1, FAR))
    play.tell(Bringing("b", "slow"), at_s=500.0)
    assert play.tell(Checked("b", None, BROUGHT), at_s=501.0) == []
    play.tell(Ticked(), at_s=540.0)
    assert play.scheduler.state.ledger.resident("a").state is ResidentState.READY
    play.tell(Ticked(), at_s=562.0)
    assert play.scheduler.state.ledger.resident("a").state is ResidentState.DRAINING


def test_a_download_that_fails_is_told_with_its_cause_and_opens_the_breaker_after_some():
    failure = Failure(reason=FailureReason.DOWNLOAD, detail="the hub is gone.", remedy="wait.")
    play = far_play()
    for number in range(BREAKER_FAILURES):
        play.tell(request(number, FAR))
        (deny,) = play.tell(Checked("b", failure))
        assert (deny.refusal.code, deny.refusal.failure) == (RefusalCode.LOAD_FAILED, failure)
    (deny,) = play.tell(request(9, FAR))
    assert deny.refusal.code is RefusalCode.BREAKER_OPEN


def test_a_forced_unload_ends_a_download_and_tells_who_waited():
    play = far_play()
    play.tell(request(1, FAR))
    deny, uncheck, finish = play.tell(unload(2, "b", force=True))
    assert (deny.ticket, deny.refusal.code) == (1, RefusalCode.CONFLICT)
    assert uncheck == Uncheck("b")
    assert finish.status is UnloadStatus.NOT_LOADED
    assert play.tell(Checked("b", None, BROUGHT)) == []


@pytest.mark.parametrize(("cancels", "ended"), [(True, [Uncheck("b")]), (False, [])])
def test_a_download_that_nobody_waits_for_ends_if_the_operator_wants_that(cancels, ended):
    play = far_play(cancel_abandoned=cancels)
    play.tell(request(1, FAR))
    assert play.tell(Withdrawn(1)) == ended


def test_a_model_taken_out_of_the_catalogue_is_not_brought_any_more():
    play = far_play()
    play.tell(CatalogueChanged({"b": FAR}))
    play.tell(request(1, FAR))
    forgotten, deny, uncheck = play.tell(CatalogueChanged({}))
    assert (forgotten, deny.ticket, uncheck) == (ForgetPin("b"), 1, Uncheck("b"))


def test_a_running_model_serves_a_wish_that_does_not_know_its_file_yet():
    there = replace(resident("b", gib=16), spec=BROUGHT)
    play = far_play(there)
    (grant,) = play.tell(request(1, FAR))
    assert grant.already_loaded


def test_a_file_that_was_found_meanwhile_is_no_change_of_the_operators():
    play = far_play(UNSIZED)
    play.tell(PinChanged("b", True))
    assert play.tell(CatalogueChanged({"b": BROUGHT})) == []
    assert play.scheduler.state.pinned == {"b"}
    play.tell(CatalogueChanged({"b": replace(BROUGHT, priority=9)}))
    assert play.scheduler.state.pinned == {"b"}


def test_a_server_that_somebody_stops_by_hand_is_not_the_models_fault():
    by_hand = Failure(
        reason=FailureReason.STOPPED, detail="it was stopped by somebody else (SIGTERM)."
    )
    play = Play(A)
    for turn in range(BREAKER_FAILURES + 1):
        play.bring_up(turn, A)
        instance = play.resident("a").instance
        del play.running[instance]
        play.tell(Died(instance, by_hand))
        play.sample()
    said = [each.text for each in play.said if each.kind is DecisionKind.DIED]
    assert set(said) == {"a has ended: it was stopped by somebody else (SIGTERM)."}
    assert len(said) == BREAKER_FAILURES + 1


def test_what_could_not_be_looked_at_is_not_said_to_be_ready():
    play = Play(A, B)
    seen, unseen = resident("a", gib=8), resident("b", gib=8)
    play.tell(Recovered((seen, unseen), unseen=frozenset({unseen.instance})))
    texts = [each.text for each in play.said]
    assert texts[0] == "a was found as ready and taken over."
    assert texts[1] == "b could not be looked at; it is believed to be as it was last seen, ready."


def test_a_model_that_was_only_sized_is_not_said_to_have_all_it_needs():
    play = far_play()
    play.tell(request(1, UNSIZED))
    play.tell(Bringing("b", "asking"))
    assert play.tell(Checked("b", None, BROUGHT)) == [Check(BROUGHT)]
    play.tell(Bringing("b", "half of it"))
    play.tell(Checked("b", None, BROUGHT))
    said = [each.text for each in play.said if each.kind is DecisionKind.BRING]
    assert said == [
        "b is not complete: org/repo:b.gguf is brought here first.",
        "b has all it needs.",
    ]


def test_who_waits_for_a_model_whose_file_goes_is_told_so():
    play = Play(resident("b", gib=20, leases=1))
    there = replace(A, found=True, file="/m/a.gguf")
    play.tell(CatalogueChanged({"a": there}))
    play.request(1, there)
    effects = play.tell(CatalogueChanged({}))
    (deny,) = [effect for effect in effects if isinstance(effect, Deny)]
    assert deny.refusal.detail == "a is no model any more: its file /m/a.gguf is gone."
