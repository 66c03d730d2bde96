"""Unloads that meet something else; the rest is played in test_scheduler.py."""

import pytest

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import (
    Checked,
    Deny,
    Died,
    Evict,
    Finish,
    Grant,
    Released,
    Stopped,
    Ticked,
    UseSeen,
)
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ModelName, room_spec
from orchestrator.core.values.tickets import UnloadStatus
from orchestrator.core.values.vram import GiB
from tests.factories import gpu, request, resident, sampled, scheduler, spec, unload

NEW = spec("new", gib=20)


def test_forced_unload_of_a_reserved_model_answers():
    play = scheduler(gpu(gib=24), resident("old", gib=20), NEW)
    play.handle(request(1, NEW), now_s=0.5)
    play.handle(Checked(NEW.name, None), now_s=1.0)
    assert play.state.ledger.resident(NEW.name).state is ResidentState.RESERVED
    effects = play.handle(unload(2, "new", force=True), now_s=2.0)
    (finish,) = (each for each in effects if isinstance(each, Finish))
    assert (finish.ticket, finish.status, finish.freed_bytes) == (2, UnloadStatus.UNLOADED, 0)
    assert not play.state.unloads


def test_forced_unload_of_a_reserved_model_leaves_its_next_load_alone():
    play = scheduler(gpu(gib=24), resident("old", gib=20), NEW)
    play.handle(request(1, NEW), now_s=0.5)
    play.handle(Checked(NEW.name, None), now_s=1.0)
    play.handle(unload(2, "new", force=True), now_s=2.0)
    play.handle(Stopped(resident("old", gib=20).instance), now_s=3.0)
    play.handle(sampled(gpu(gib=24, at_s=4.0)), now_s=4.0)
    play.handle(request(3, NEW), now_s=5.0)
    effects = play.handle(sampled(gpu(gib=24, at_s=6.0)), now_s=6.0)
    assert play.state.ledger.resident(NEW.name).state is ResidentState.LOADING
    assert not [each for each in effects if isinstance(each, Evict)]


def test_gone_model_owes_nothing():
    """Foreign bytes take what it gives back: its unload is answered within the bound."""
    play = scheduler(gpu(gib=24), resident("old", gib=20), changes={"release_timeout_s": 30.0})
    play.handle(unload(1, "old", by_s=200), now_s=1.0)
    play.handle(Stopped(resident("old", gib=20).instance), now_s=2.0)
    answers = []
    for at_s in range(3, 35):
        taken = sampled(gpu(gib=24, used_gib=20, at_s=at_s))
        answers += [
            (at_s, each) for each in play.handle(taken, now_s=at_s) if isinstance(each, Finish)
        ]
    ((at_s, finish),) = answers
    assert at_s == 32
    assert (finish.status, finish.verified, finish.freed_bytes) == (UnloadStatus.UNLOADED, True, 0)
    assert "did not come back" in finish.note
    assert play.state.ledger.resident(ModelName("old")) is None
    small = spec("old", gib=3)
    play.handle(request(2, small), now_s=35.0)
    play.handle(sampled(gpu(gib=24, used_gib=20, at_s=36.0)), now_s=36.0)
    assert play.state.ledger.resident(small.name).state is ResidentState.LOADING


def test_an_unload_at_its_deadline_is_refused_and_the_model_serves_again():
    play = scheduler(gpu(gib=24), resident("old", gib=20, leases=1), spec("old", gib=20))
    play.handle(unload(1, "old", by_s=5), now_s=1.0)
    assert play.state.ledger.resident(ModelName("old")).state is ResidentState.DRAINING
    effects = play.handle(sampled(gpu(gib=24, used_gib=20, at_s=5.0)), now_s=5.0)
    assert [type(each).__name__ for each in effects if hasattr(each, "ticket")] == ["Deny"]
    assert play.state.ledger.resident(ModelName("old")).state is ResidentState.READY
    served = play.handle(request(2, spec("old", gib=20)), now_s=6.0)
    assert [each.ticket for each in served if isinstance(each, Grant)] == [2]


def test_unload_in_vain_names_who_holds_the_model():
    play = scheduler(gpu(gib=24), spec("old", gib=20), resident("old", gib=20))
    play.handle(request(1, spec("old", gib=20), hold=LeaseKind.OWNER, owner="paul"), now_s=1.0)
    play.handle(unload(2, "old", by_s=5), now_s=2.0)
    denied = [each for each in play.handle(Ticked(), now_s=5.0) if isinstance(each, Deny)]
    assert "in use by paul" in denied[0].refusal.detail


@pytest.mark.parametrize("state", [ResidentState.UNLOADING, ResidentState.STUCK])
def test_death_of_what_is_on_its_way_out_is_no_news(state):
    going = resident("old", gib=20, state=state)
    play = scheduler(gpu(gib=24), going)
    failure = Failure(reason=FailureReason.EXITED, detail="it ended.")
    assert play.handle(Died(going.instance, failure), now_s=1.0) == []
    assert not play.state.breakers


def test_use_of_what_is_on_its_way_out_is_no_use():
    going = resident("old", gib=20, state=ResidentState.UNLOADING)
    play = scheduler(gpu(gib=24), going)
    play.handle(UseSeen(instance=going.instance, busy=True, used=True), now_s=1.0)
    assert play.state.ledger.resident(going.name) == going


def test_two_unloads_of_plain_room_are_both_answered_when_it_is_room_again():
    room = room_spec(ModelName("lease-1"), 2 * GiB, None, 5)
    play = scheduler(gpu(gib=24))
    play.handle(request(1, room, hold=LeaseKind.ROOM), now_s=1.0)
    play.handle(sampled(gpu(gib=24, at_s=1.1)), now_s=1.1)
    (held,) = play.state.leases
    for ticket in (2, 3):
        play.handle(unload(ticket, "lease-1"), now_s=1.2)
    effects = play.handle(Released(held), now_s=2.0)
    assert [each.ticket for each in effects if isinstance(each, Finish)] == [2, 3]
