"""A model that runs, and is asked for with other settings."""

from dataclasses import replace

import pytest

from orchestrator.core.values.failures import (
    BREAKER_FAILURES,
    Breaker,
    Failure,
    FailureReason,
    Silence,
)
from orchestrator.core.values.footprints import UNKNOWN, Footprint
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.messages import (
    Check,
    Checked,
    Deny,
    Evict,
    Grant,
    Loaded,
    PinChanged,
    Released,
    RuntimesHeard,
    ServerHeard,
    Ticked,
    Withdrawn,
)
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import Fallback, ModelName, Serving
from orchestrator.core.values.vram import GiB
from tests.factories import ENDPOINT, gpu, request, resident, sampled, scheduler, spec

S = ResidentState
A = spec("a", gib=8)


def state_of(play, name):
    there = play.state.ledger.resident(ModelName(name))
    return there and there.state


def longer(wanted):
    return replace(wanted, serving=replace(wanted.serving, context_size=8192))


def tell(play, event, now_s):
    """What comes of it; whether files are there is looked at where that is asked, and they are."""
    effects = play.handle(event, now_s=now_s)
    for look in [each for each in effects if isinstance(each, Check)]:
        effects += play.handle(Checked(look.spec.name, None), now_s=now_s)
    return effects


def asks(play, ticket, wanted, now_s, **wish):
    return tell(play, request(ticket, wanted, **wish), now_s)


def served(play, now_s, **wish):
    """`a` is up, and a caller holds it."""
    play.handle(request(1, A, **wish), now_s=now_s)
    play.handle(sampled(gpu(gib=24, at_s=now_s + 0.1)), now_s=now_s + 0.1)
    (there,) = play.state.ledger.residents
    effects = play.handle(
        Loaded(instance=there.instance, endpoint=ENDPOINT, load_s=1), now_s=now_s + 1
    )
    return next(each for each in effects if isinstance(each, Grant))


def test_drained_for_other_settings_comes_back():
    """The caller with other settings leaves while it drains: it serves again."""
    play = scheduler(gpu(gib=24), A)
    served(play, 1.0)
    asks(play, 2, longer(A), 20.0, priority=9)
    assert state_of(play, "a") is S.DRAINING
    play.handle(Withdrawn(2), now_s=21.0)
    assert state_of(play, "a") is S.READY
    again = play.handle(request(3, A), now_s=22.0)
    assert [each.ticket for each in again if isinstance(each, Grant)] == [3]


@pytest.mark.parametrize(("at_s", "then"), [(9.9, S.READY), (10.0, S.UNLOADING)])
def test_newcomer_keeps_its_settings_as_long_as_its_place(at_s, then):
    there = replace(resident("a", gib=8, settled_until_s=10.0), spec=A)
    play = scheduler(gpu(gib=24), there)
    asks(play, 1, longer(A), 1.0)
    tell(play, Ticked(), at_s)
    assert state_of(play, "a") is then


def test_drained_for_other_settings_leaves_when_its_use_has_ended():
    play = scheduler(gpu(gib=24), A)
    grant = served(play, 1.0)
    asks(play, 2, longer(A), 20.0, priority=9)
    effects = play.handle(Released(grant.lease.id), now_s=21.0)
    assert [each.resident.name for each in effects if isinstance(each, Evict)] == ["a"]
    assert state_of(play, "a") is S.UNLOADING


def test_drained_for_other_settings_is_let_be_after_the_bound():
    play = scheduler(gpu(gib=24), A, changes={"drain_timeout_s": 30.0})
    grant = served(play, 1.0)
    asks(play, 2, longer(A), 20.0, priority=9)
    play.handle(Ticked(), now_s=51.0)
    assert state_of(play, "a") is S.READY
    play.handle(Ticked(), now_s=52.0)
    assert state_of(play, "a") is S.READY, "it is not asked again at once"
    play.handle(Released(grant.lease.id), now_s=53.0)
    assert state_of(play, "a") is S.UNLOADING, "idle, it gives way as any other"


def test_two_loads_with_different_settings_each_have_their_time():
    """The second caller waits for the residency of what the first was just given."""
    changes = {"min_residency_s": 10.0, "min_residency_loads": 10.0}
    play = scheduler(gpu(gib=24), A, changes=changes)
    play.handle(request(1, A, hold=None), now_s=1.0)
    asks(play, 2, longer(A), 1.1, hold=None)
    play.handle(sampled(gpu(gib=24, at_s=1.2)), now_s=1.2)
    (there,) = play.state.ledger.residents
    loaded = Loaded(instance=there.instance, endpoint=ENDPOINT, load_s=1)
    effects = play.handle(loaded, now_s=2.0)
    assert [each.ticket for each in effects if isinstance(each, Grant)] == [1]
    assert not [each for each in effects if isinstance(each, Evict)]
    assert not [each for each in play.handle(Ticked(), now_s=11.9) if isinstance(each, Evict)]
    assert [each for each in tell(play, Ticked(), 12.1) if isinstance(each, Evict)]


def test_other_settings_are_refused_at_once_where_the_runtime_does_not_answer():
    """Nothing could be stopped or started: as for a model that is not loaded."""
    play = scheduler(gpu(gib=24), A)
    grant = served(play, 1.0)
    play.handle(Released(grant.lease.id), now_s=15.0)
    silence = Silence(who="Docker", problem="Docker has not answered.", for_s=5)
    play.handle(RuntimesHeard({A.service: silence}), now_s=16.0)
    effects = asks(play, 2, longer(A), 17.0)
    (deny,) = (each for each in effects if isinstance(each, Deny))
    assert deny.refusal.code is RefusalCode.RUNTIME_UNAVAILABLE
    assert state_of(play, "a") is S.READY


def test_a_pin_that_comes_while_it_drains_for_other_settings_keeps_it():
    play = scheduler(gpu(gib=24), A)
    grant = served(play, 1.0)
    asks(play, 2, longer(A), 20.0, priority=9)
    assert state_of(play, "a") is S.DRAINING
    effects = play.handle(PinChanged(A.name, pinned=True), now_s=21.0)
    assert [each.refusal.code for each in effects if isinstance(each, Deny)] == [RefusalCode.PINNED]
    play.handle(Released(grant.lease.id), now_s=22.0)
    assert state_of(play, "a") is S.READY


# --- several who wait for one model --------------------------------------------------------------


def hung(**there):
    """`a` runs and does not answer: whoever asks for it as it is waits in its line."""
    running = replace(resident("a", gib=8, **there), spec=A)
    play = scheduler(gpu(gib=24), running)
    play.handle(ServerHeard(running.instance, 10.0), now_s=10.0)
    return play


def denied(effects):
    return [each.ticket for each in effects if isinstance(each, Deny)]


def test_it_serves_again_when_only_those_are_left_who_let_no_resident_leave():
    """The one who may have it drained leaves; the other came while it drained."""
    play = scheduler(gpu(gib=24), replace(resident("a", gib=8, leases=1), spec=A))
    asks(play, 1, longer(A), 20.0, priority=9)
    asks(play, 2, longer(A), 21.0, evicts=False)
    assert state_of(play, "a") is S.DRAINING
    assert denied(play.handle(Withdrawn(1), now_s=22.0)) == [2]
    assert state_of(play, "a") is S.READY


def test_who_waits_for_it_as_it_is_lends_no_leave_to_who_lets_no_resident_leave():
    play = hung()
    play.handle(request(1, A), now_s=20.0)
    assert denied(asks(play, 2, longer(A), 21.0, evicts=False)) == [2]
    assert state_of(play, "a") is S.READY


def test_who_waits_for_it_as_it_is_lends_its_priority_to_nobody():
    play = hung(leases=1)
    play.handle(request(1, A, priority=9), now_s=20.0)
    asks(play, 2, longer(A), 21.0)
    assert state_of(play, "a") is S.READY


def test_who_waits_for_it_as_it_is_lends_its_age_to_nobody():
    play = hung(leases=1)
    play.handle(request(1, A), now_s=20.0)
    asks(play, 2, longer(A), 100.0)
    play.handle(Ticked(), now_s=120.0)
    assert state_of(play, "a") is S.READY
    tell(play, Ticked(), 160.0)
    assert state_of(play, "a") is S.DRAINING


@pytest.mark.parametrize(
    "why_not",
    [
        PinChanged(A.name, pinned=True),
        RuntimesHeard({A.service: Silence(who="Docker", for_s=9.0, problem="It hangs.")}),
    ],
)
def test_who_waits_for_it_as_it_is_does_not_hear_why_others_cannot_have_it(why_not):
    play = hung()
    play.handle(why_not, now_s=11.0)
    play.handle(request(1, A), now_s=20.0)
    assert denied(asks(play, 2, longer(A), 21.0)) == [2]
    assert [wish.request.ticket for wish in play.state.queue.wishes()] == [1]


# --- what could not be started stops nothing (R1) -------------------------------------------------

LORA = replace(A, lora=("/models/lora.gguf",))
NO_FILE = Failure(reason=FailureReason.MODEL_FILE, detail="lora.gguf is not there.", outside=True)


def runs(**there):
    return scheduler(gpu(gib=24), replace(resident("a", gib=8, **there), spec=A), A)


def refusals(effects):
    return [each.refusal.code for each in effects if isinstance(each, Deny)]


@pytest.mark.parametrize("leases", [0, 1])
def test_it_does_not_leave_for_settings_that_never_fit(leases):
    play = runs(leases=leases)
    huge = replace(longer(A), footprint=Footprint(device_bytes=30 * GiB))
    assert refusals(play.handle(request(1, huge, priority=9), now_s=1.0)) == ["does_not_fit"]
    assert state_of(play, "a") is S.READY


def test_it_does_not_leave_for_a_caller_whose_quota_does_not_do():
    play = runs()
    bounds = (KeyBound(4 * GiB, frozenset({"mine"})),)
    effects = play.handle(request(1, longer(A), key="mine", bounds=bounds), now_s=1.0)
    assert refusals(effects) == ["over_quota"]
    assert state_of(play, "a") is S.READY


def test_what_leaves_counts_in_no_quota():
    there = replace(resident("a", gib=8), spec=A, key="mine")
    play = scheduler(gpu(gib=24), there, A)
    bounds = (KeyBound(10 * GiB, frozenset({"mine"})),)
    asks(play, 1, longer(A), 1.0, key="mine", bounds=bounds)
    assert state_of(play, "a") is S.UNLOADING


def test_it_does_not_leave_for_a_file_that_is_not_there():
    play = runs()
    effects = play.handle(request(1, LORA), now_s=1.0)
    assert [each.spec for each in effects if isinstance(each, Check)] == [LORA]
    effects = play.handle(Checked(A.name, NO_FILE), now_s=1.1)
    assert refusals(effects) == ["load_failed"]
    assert state_of(play, "a") is S.READY
    effects = play.handle(request(2, A), now_s=1.2)
    assert [each.ticket for each in effects if isinstance(each, Grant)] == [2]


def test_who_waits_for_it_as_it_is_does_not_hear_that_others_miss_a_file():
    play = hung()
    play.handle(request(1, A), now_s=20.0)
    play.handle(request(2, LORA), now_s=21.0)
    assert denied(play.handle(Checked(A.name, NO_FILE), now_s=21.1)) == [2]


def test_it_makes_way_for_lesser_settings_where_the_wanted_ones_never_fit():
    less = Fallback(
        serving=Serving(context_size=2048),
        footprint=Footprint(device_bytes=6 * GiB),
        given_up=("context 2048",),
    )
    huge = replace(longer(A), footprint=Footprint(device_bytes=30 * GiB), fallbacks=(less,))
    play = runs()
    assert refusals(asks(play, 1, huge, 1.0)) == []
    tell(play, Ticked(), 2.0)
    assert state_of(play, "a") is S.UNLOADING
    (wish,) = play.state.queue.wishes()
    assert wish.request.spec.given_up == ("context 2048",)


def test_it_does_not_leave_while_its_breaker_is_open():
    play = runs()
    breaker = Breaker()
    for _ in range(BREAKER_FAILURES):
        crash = Failure(reason=FailureReason.EXITED, detail="it exited with code 1.")
        breaker = breaker.after(crash, 0.0)
    play.state.breakers[A.name] = breaker
    assert refusals(play.handle(request(1, longer(A)), now_s=1.0)) == ["breaker_open"]
    assert state_of(play, "a") is S.READY


def test_its_size_is_found_out_while_it_serves():
    play = runs()
    unsized = replace(longer(A), footprint=UNKNOWN)
    assert [each for each in play.handle(request(1, unsized), now_s=1.0) if isinstance(each, Check)]
    effects = play.handle(Checked(A.name, None, longer(A)), now_s=1.1)
    assert [each.spec for each in effects if isinstance(each, Check)] == [longer(A)]
    assert state_of(play, "a") is S.READY
    play.handle(Checked(A.name, None, longer(A)), now_s=1.2)
    assert state_of(play, "a") is S.UNLOADING
