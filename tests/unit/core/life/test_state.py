"""The scheduler's table of lives and leases."""

from dataclasses import replace

import pytest

from orchestrator.core.life.state import CLAIMS_MAX, Habit, State
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.messages import DropLease, Forget, KeepLease, Released
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, room_spec
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import DeviceId, GiB
from tests.factories import gpu, request, resident, rules, sampled, scheduler

A = ModelName("a")


def state_with(*residents):
    ledger = Ledger()
    ledger.observe([gpu(gib=24)], {})
    state = State(rules(), ledger)
    for each in residents:
        ledger.put(each)
    return state


def lease(number=1, kind=LeaseKind.OWNER):
    return Lease(
        id=LeaseId(f"a-1-t{number}"),
        ticket=Ticket(number),
        instance=InstanceId("a-1"),
        model=A,
        kind=kind,
        owner="me",
        priority=5,
        granted_s=0,
        expires_s=None,
    )


def count(state):
    return state.ledger.resident(A).lease_count


def test_a_life_is_known_by_its_instance_only_while_it_lasts():
    state = state_with(resident("a", gib=8))
    assert state.by_instance(InstanceId("a-1")).name == A
    assert state.by_instance(InstanceId("a-2")) is None
    assert state.by_instance(InstanceId("b-1")) is None


def test_names_with_dashes_are_told_from_the_life():
    there = replace(resident("qwen3-vl", gib=8), instance=InstanceId("qwen3-vl-77"))
    assert state_with(there).by_instance(InstanceId("qwen3-vl-77")).name == "qwen3-vl"


def test_how_a_model_was_used_is_known_after_it_has_left():
    used = resident("a", gib=8).used(10.0).used(40.0)
    state = state_with(used)
    state.catalogue = {A: used.spec}
    state.forget(used)
    assert state.habits == {A: Habit(use_began_s=40.0, use_gap_s=30.0)}


def test_of_what_is_no_model_and_of_what_was_not_used_nothing_is_kept():
    room, unused = resident("room", gib=2).used(10.0), resident("a", gib=8)
    state = state_with(room, unused)
    state.catalogue = {A: unused.spec}
    state.forget(room)
    state.forget(unused)
    assert state.habits == {}


def test_no_two_lives_have_one_name():
    state = state_with()
    assert len({state.new_instance(A, now_s) for now_s in (1.0, 1.0, 1.0, 2.0)}) == 4
    again = state_with()
    assert again.new_instance(A, 3.0) != state.new_instance(A, 4.0)


def test_a_lease_counts_once_however_often_it_is_put():
    state = state_with(resident("a", gib=8))
    assert state.add_lease(lease(), state.ledger.resident(A), 1) == [KeepLease(lease())]
    state.add_lease(replace(lease(), expires_s=9.0), state.ledger.resident(A), 2)
    assert (count(state), len(state.leases)) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "written"),
    [(LeaseKind.REQUEST, False), (LeaseKind.OWNER, True), (LeaseKind.ROOM, True)],
)
def test_only_leases_that_outlive_a_request_are_written_down(kind, written):
    state = state_with(resident("a", gib=8))
    held = lease(kind=kind)
    assert bool(state.add_lease(held, state.ledger.resident(A), 1)) is written
    assert bool(state.end_lease(held.id, 1.0)) is written


def test_a_lease_ends_once():
    state = state_with(resident("a", gib=8))
    state.add_lease(lease(), state.ledger.resident(A), 1)
    assert state.end_lease(lease().id, 5.0) == [DropLease(lease().id)]
    assert state.end_lease(lease().id, 6.0) == []
    assert (count(state), state.ledger.resident(A).last_used_s, state.lease_of) == (0, 5.0, {})


def granted(state, ticket, expires_s):
    state.add_lease(replace(lease(), expires_s=expires_s), state.ledger.resident(A), ticket)


def expiry(state):
    return [each.expires_s for each in state.leases.values()]


def test_a_lease_of_which_nobody_heard_ends_and_that_is_said():
    state = state_with(resident("a", gib=8))
    granted(state, 1, 60.0)
    dropped, said = state.take_back(1, 5.0)
    assert dropped == DropLease(lease().id)
    assert "before it had heard of it" in said.text
    assert (state.leases, state.claims, state.lease_of, count(state)) == ({}, {}, {}, 0)
    assert state.take_back(1, 6.0) == []


def test_a_lease_that_its_holder_has_used_is_not_taken_back():
    state = state_with(resident("a", gib=8))
    granted(state, 1, 60.0)
    state.hear_of(replace(lease(), expires_s=90.0))
    assert state.take_back(1, 5.0) == []
    assert expiry(state) == [90.0]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1)])
def test_callers_of_one_owner_who_all_leave_keep_nothing(order):
    state = state_with(resident("a", gib=8))
    for ticket in (1, 2, 3):
        granted(state, ticket, 60.0 * ticket)
    for left, ticket in enumerate(order, 1):
        state.take_back(ticket, 5.0)
        staying = [other for other in (1, 2, 3) if other not in order[:left]]
        assert expiry(state) == [60.0 * other for other in staying[-1:]], "as the last one heard it"


def test_so_many_grants_of_one_lease_are_remembered():
    state = state_with(resident("a", gib=8))
    for ticket in range(CLAIMS_MAX + 10):
        granted(state, ticket, 60.0)
    assert len(state.lease_of) == CLAIMS_MAX
    for ticket in range(CLAIMS_MAX + 10):
        state.take_back(ticket, 5.0)
    assert expiry(state) == [60.0], "it was granted long ago: that was heard"


def test_what_leaves_takes_its_leases_along_and_says_so():
    state = state_with(resident("a", gib=8))
    for number, kind in ((1, LeaseKind.OWNER), (2, LeaseKind.REQUEST)):
        state.add_lease(lease(number, kind), state.ledger.resident(A), number)
    effects = state.forget(state.ledger.resident(A))
    assert [type(each) for each in effects] == [DropLease, Decide, Forget]
    assert (state.leases, state.lease_of, state.ledger.resident(A)) == ({}, {}, None)


def test_a_life_that_has_left_cannot_be_looked_up_by_mistake():
    gone = resident("a", gib=8)
    with pytest.raises(AssertionError, match="has left the table"):
        state_with().current(gone)


def test_the_end_of_its_leases_is_known_where_each_has_one():
    state = state_with(resident("a", gib=8))
    assert state.leases_end()(InstanceId("a-1")) is None
    for number, expires_s in ((1, 20.0), (2, 40.0)):
        there = state.ledger.resident(A)
        state.add_lease(replace(lease(number), expires_s=expires_s), there, Ticket(number))
    assert state.leases_end()(InstanceId("a-1")) == 40.0
    state.add_lease(lease(3), state.ledger.resident(A), Ticket(3))
    assert state.leases_end()(InstanceId("a-1")) is None


def test_what_the_gone_did_not_give_back_is_foreign_at_once():
    there = resident("a", gib=8)
    state = state_with(there)
    state.ledger.observe([gpu(gib=24, used_gib=8)], {})
    state.forget(there, kept_bytes=8 * GiB)
    assert state.ledger.foreign_bytes(DeviceId("g0")) == 8 * GiB


def test_of_plain_room_that_is_room_again_nothing_is_remembered():
    room = room_spec(ModelName("lease-1"), GiB, None, 5)
    play = scheduler(gpu(gib=24))
    play.handle(request(1, room, hold=LeaseKind.ROOM), now_s=1.0)
    play.handle(sampled(gpu(gib=24, at_s=1.1)), now_s=1.1)
    (held,) = play.state.leases
    play.handle(Released(held), now_s=2.0)
    assert not list(play.state.ledger.residents)
    assert not play.state.evicted_for
