"""A model that runs, and is asked for with other settings."""

from dataclasses import replace

import pytest

from orchestrator.core.values.failures import Silence
from orchestrator.core.values.messages import (
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
from orchestrator.core.values.specs import ModelName
from tests.factories import ENDPOINT, gpu, request, resident, sampled, scheduler, spec

S = ResidentState
A = spec("a", gib=8)


def state_of(play, name):
    there = play.state.ledger.resident(ModelName(name))
    return there and there.state


def longer(wanted):
    return replace(wanted, serving=replace(wanted.serving, context_size=8192))


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
    play.handle(request(2, longer(A), priority=9), now_s=20.0)
    assert state_of(play, "a") is S.DRAINING
    play.handle(Withdrawn(2), now_s=21.0)
    assert state_of(play, "a") is S.READY
    again = play.handle(request(3, A), now_s=22.0)
    assert [each.ticket for each in again if isinstance(each, Grant)] == [3]


@pytest.mark.parametrize(("at_s", "then"), [(9.9, S.READY), (10.0, S.UNLOADING)])
def test_newcomer_keeps_its_settings_as_long_as_its_place(at_s, then):
    there = replace(resident("a", gib=8, settled_until_s=10.0), spec=A)
    play = scheduler(gpu(gib=24), there)
    play.handle(request(1, longer(A)), now_s=1.0)
    play.handle(Ticked(), now_s=at_s)
    assert state_of(play, "a") is then


def test_drained_for_other_settings_leaves_when_its_use_has_ended():
    play = scheduler(gpu(gib=24), A)
    grant = served(play, 1.0)
    play.handle(request(2, longer(A), priority=9), now_s=20.0)
    effects = play.handle(Released(grant.lease.id), now_s=21.0)
    assert [each.resident.name for each in effects if isinstance(each, Evict)] == ["a"]
    assert state_of(play, "a") is S.UNLOADING


def test_drained_for_other_settings_is_let_be_after_the_bound():
    play = scheduler(gpu(gib=24), A, changes={"drain_timeout_s": 30.0})
    grant = served(play, 1.0)
    play.handle(request(2, longer(A), priority=9), now_s=20.0)
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
    play.handle(request(2, longer(A), hold=None), now_s=1.1)
    play.handle(sampled(gpu(gib=24, at_s=1.2)), now_s=1.2)
    (there,) = play.state.ledger.residents
    loaded = Loaded(instance=there.instance, endpoint=ENDPOINT, load_s=1)
    effects = play.handle(loaded, now_s=2.0)
    assert [each.ticket for each in effects if isinstance(each, Grant)] == [1]
    assert not [each for each in effects if isinstance(each, Evict)]
    assert not [each for each in play.handle(Ticked(), now_s=11.9) if isinstance(each, Evict)]
    assert [each for each in play.handle(Ticked(), now_s=12.1) if isinstance(each, Evict)]


def test_other_settings_are_refused_at_once_where_the_runtime_does_not_answer():
    """Nothing could be stopped or started: as for a model that is not loaded."""
    play = scheduler(gpu(gib=24), A)
    grant = served(play, 1.0)
    play.handle(Released(grant.lease.id), now_s=15.0)
    silence = Silence(who="Docker", problem="Docker has not answered.", for_s=5)
    play.handle(RuntimesHeard({A.service: silence}), now_s=16.0)
    effects = play.handle(request(2, longer(A)), now_s=17.0)
    (deny,) = (each for each in effects if isinstance(each, Deny))
    assert deny.refusal.code is RefusalCode.RUNTIME_UNAVAILABLE
    assert state_of(play, "a") is S.READY


def test_a_pin_that_comes_while_it_drains_for_other_settings_keeps_it():
    play = scheduler(gpu(gib=24), A)
    grant = served(play, 1.0)
    play.handle(request(2, longer(A), priority=9), now_s=20.0)
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
    play.handle(request(1, longer(A), priority=9), now_s=20.0)
    play.handle(request(2, longer(A), evicts=False), now_s=21.0)
    assert state_of(play, "a") is S.DRAINING
    assert denied(play.handle(Withdrawn(1), now_s=22.0)) == [2]
    assert state_of(play, "a") is S.READY


def test_who_waits_for_it_as_it_is_lends_no_leave_to_who_lets_no_resident_leave():
    play = hung()
    play.handle(request(1, A), now_s=20.0)
    assert denied(play.handle(request(2, longer(A), evicts=False), now_s=21.0)) == [2]
    assert state_of(play, "a") is S.READY


def test_who_waits_for_it_as_it_is_lends_its_priority_to_nobody():
    play = hung(leases=1)
    play.handle(request(1, A, priority=9), now_s=20.0)
    play.handle(request(2, longer(A)), now_s=21.0)
    assert state_of(play, "a") is S.READY


def test_who_waits_for_it_as_it_is_lends_its_age_to_nobody():
    play = hung(leases=1)
    play.handle(request(1, A), now_s=20.0)
    play.handle(request(2, longer(A)), now_s=100.0)
    play.handle(Ticked(), now_s=120.0)
    assert state_of(play, "a") is S.READY
    play.handle(Ticked(), now_s=160.0)
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
    assert denied(play.handle(request(2, longer(A)), now_s=21.0)) == [2]
    assert [wish.request.ticket for wish in play.state.queue.wishes()] == [1]
