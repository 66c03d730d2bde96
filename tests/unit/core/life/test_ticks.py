"""What follows from time and from readings alone."""

from dataclasses import replace

import pytest

from orchestrator.core.life.queue import Wish
from orchestrator.core.life.ticks import FORGIVEN_AFTER_S, GRACE_S_MAX, TICK_LATE_S, observe, tick
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import BREAKER_FAILURES, Breaker, Failure, FailureReason
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.messages import AskUse, Deny, DropLease, Evict
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.tickets import Ticket
from tests.factories import gpu, request, resident, scheduler, spec, unreadable

S = ResidentState
FAILED = Failure(reason=FailureReason.EXITED, detail="it ended.")


def state_of(*parts, **changes):
    return scheduler(gpu(gib=24), *parts, changes=changes).state


def lease(expires_s, *, kind=LeaseKind.OWNER, number=1):
    return Lease(
        id=LeaseId(f"a-1-t{number}"),
        ticket=Ticket(number),
        instance=resident("a", gib=1).instance,
        model=resident("a", gib=1).name,
        kind=kind,
        owner="workflow",
        priority=5,
        granted_s=0,
        expires_s=expires_s,
    )


def leased(expires_s, **changes):
    """A model with one lease that expires then, and a daemon that has ticked at 0."""
    there = resident("a", gib=8)
    state = state_of(there, **changes)
    state.add_lease(lease(expires_s), there, 1)
    state.ticked_s = 0.0
    return state


def evicted(effects):
    return [effect.resident.name for effect in effects if isinstance(effect, Evict)]


def asked(effects):
    """Who is asked whether it is idle, to leave then."""
    return [
        each.name for effect in effects if isinstance(effect, AskUse) for each in effect.residents
    ]


def said(effects):
    return [effect.kind for effect in effects if isinstance(effect, Decide)]


# --- leases ------------------------------------------------------------------------------------


def test_a_lease_ends_on_the_instant_it_was_to_end():
    state = leased(1.5)
    assert tick(state, 1.0) == []
    effects = tick(state, 1.5)
    assert [type(each) for each in effects] == [DropLease, Decide]
    assert said(effects) == [DecisionKind.EXPIRE]
    assert not state.leases
    assert not state.ledger.resident("a").in_use


def test_a_lease_without_end_lasts():
    state = leased(None)
    assert tick(state, 1.0) == []
    assert state.leases


@pytest.mark.parametrize(
    ("stood_still_s", "lives_until_s"),
    [(TICK_LATE_S + 0.1, 2 * (TICK_LATE_S + 0.1)), (900.0, 900.0 + GRACE_S_MAX)],
)
def test_a_daemon_that_stood_still_hears_renewals_before_it_expires(stood_still_s, lives_until_s):
    state = leased(1.0)
    tick(state, stood_still_s)
    (held,) = state.leases.values()
    assert held.expires_s == pytest.approx(lives_until_s)


def test_grace_shortens_no_lease():
    state = leased(5000.0)
    tick(state, 900.0)
    assert next(iter(state.leases.values())).expires_s == 5000.0


def test_a_tick_in_time_grants_no_grace():
    state = leased(1.0)
    tick(state, TICK_LATE_S)
    assert not state.leases


# --- waiting -----------------------------------------------------------------------------------


def waiting(*parts, ends_by_s=10.0, deadline_s=None):
    state = state_of(*parts)
    asked = request(1, spec("new", gib=20), deadline_s=deadline_s)
    state.queue.add(Wish(asked, arrived_s=0, ends_by_s=ends_by_s))
    return state


def denied(effects):
    return [effect.refusal.code for effect in effects if isinstance(effect, Deny)]


def test_whoever_waited_as_long_as_anybody_may_is_told_why():
    state = waiting(resident("a", gib=16, leases=1))
    assert denied(tick(state, 9.9)) == []
    effects = tick(state, 10.0)
    assert denied(effects) == [RefusalCode.NO_ROOM]
    assert said(effects) == [DecisionKind.REFUSE]
    assert not len(state.queue)


@pytest.mark.parametrize("coming", [S.RESERVED, S.LOADING])
def test_whoever_waits_for_a_load_that_is_under_way_ends_with_the_load(coming):
    state = waiting(resident("new", gib=20, state=coming))
    assert denied(tick(state, 10.0)) == []


def test_a_deadline_of_ones_own_ends_the_wait_for_a_load_as_well():
    state = waiting(resident("new", gib=20, state=S.LOADING), deadline_s=10.0)
    assert denied(tick(state, 10.0)) == [RefusalCode.NO_ROOM]


def test_room_promised_to_nobody_any_more_is_given_up():
    state = waiting(resident("new", gib=20, state=S.RESERVED), deadline_s=10.0)
    tick(state, 10.0)
    assert state.ledger.resident("new") is None


# --- idle models -------------------------------------------------------------------------------


def idle(**changes):
    return replace(resident("a", gib=8, used_s=0), **{"ttl_s": 30.0, **changes})


def test_an_idle_model_leaves_when_its_time_is_over():
    state = state_of(idle())
    assert asked(tick(state, 29.9)) == []
    assert asked(tick(state, 30.0)) == ["a"]


@pytest.mark.parametrize(
    "changes", [{"ttl_s": None}, {"lease_count": 1}, {"busy": True}, {"state": S.LOADING}]
)
def test_who_has_no_end_or_is_in_use_stays(changes):
    assert asked(tick(state_of(idle(**changes)), 1000.0)) == []


def test_a_pinned_model_outlives_its_time():
    state = state_of(idle())
    state.pinned.add("a")
    assert asked(tick(state, 1000.0)) == []


def test_a_model_that_somebody_waits_for_stays():
    state = state_of(idle())
    state.queue.add(Wish(request(1, spec("a", gib=8)), arrived_s=0, ends_by_s=9999))
    assert asked(tick(state, 1000.0)) == []


def test_time_in_which_nobody_looked_was_not_idle():
    state = state_of(idle())
    state.ticked_s = 0.0
    assert asked(tick(state, 100.0)) == [], "it may have been used all the while"
    state.ticked_s = 129.0
    assert asked(tick(state, 130.0)) == ["a"]


# --- what failed -------------------------------------------------------------------------------


def test_a_stop_that_failed_is_tried_again_after_a_while():
    state = state_of(resident("a", gib=8, state=S.STUCK, since_s=0))
    assert evicted(tick(state, 29.9)) == []
    assert evicted(tick(state, 30.0)) == ["a"]
    assert state.ledger.resident("a").state is S.UNLOADING


@pytest.mark.parametrize(
    ("served_s", "forgiven"), [(FORGIVEN_AFTER_S - 0.1, False), (FORGIVEN_AFTER_S, True)]
)
def test_a_model_that_stays_up_is_forgiven(served_s, forgiven):
    state = state_of(resident("a", gib=8))
    state.breakers["a"] = Breaker().after(FAILED, 0.0)
    tick(state, served_s)
    assert ("a" not in state.breakers) is forgiven


def test_a_model_that_does_not_run_is_not_forgiven():
    state = state_of()
    for _ in range(BREAKER_FAILURES):
        state.breakers["a"] = state.breakers.get("a", Breaker()).after(FAILED, 0.0)
    tick(state, 10 * FORGIVEN_AFTER_S)
    assert "a" in state.breakers


# --- readings ----------------------------------------------------------------------------------


def test_a_device_that_stops_and_starts_answering_is_said_once_each():
    state = state_of()
    tales = [observe(state, [each], {}) for each in (unreadable(), unreadable(), gpu(gib=24))]
    assert [said(each) for each in tales] == [[DecisionKind.DEVICE], [], [DecisionKind.DEVICE]]
    assert "is unreadable: the driver does not answer" in tales[0][0].text
    assert "answers again" in tales[2][0].text


def test_a_device_seen_for_the_first_time_is_news_only_if_it_fails():
    state = state_of()
    assert observe(state, [gpu("g1", gib=8)], {}) == []
    assert said(observe(state, [unreadable("g2")], {})) == [DecisionKind.DEVICE]


def found(**changes):
    return replace(idle(ttl_s=None, **changes), spec=replace(spec("a", gib=8), found=True))


def test_a_model_whose_file_is_gone_leaves_once_it_is_idle():
    state = state_of(found(busy=True))
    assert asked(tick(state, 1.0)) == [], "it serves to the end"
    state.ledger.put(found())
    assert asked(tick(state, 2.0)) == ["a"]
    assert asked(tick(state_of(found(lease_count=1)), 1.0)) == []


def test_a_model_whose_file_is_there_stays():
    there = found()
    state = state_of(there, there.spec)
    assert asked(tick(state, 1000.0)) == []
