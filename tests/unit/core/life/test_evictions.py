"""How residents leave where two things want it at once; the rest is played in test_scheduler.py."""

import pytest

from orchestrator.core.values.messages import (
    Check,
    Checked,
    Decide,
    DecisionKind,
    Evict,
    Grant,
    StopFailed,
    Withdrawn,
)
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ModelName, room_spec
from orchestrator.core.values.vram import GiB
from tests.factories import gpu, request, resident, sampled, scheduler, spec, unload

S = ResidentState
NEW = spec("new", gib=20)


def state_of(play, name):
    there = play.state.ledger.resident(ModelName(name))
    return there and there.state


def crowded(**old):
    """A card of 24 GB that `old` fills, and somebody who has just asked for `new`."""
    play = scheduler(gpu(gib=24), resident("old", gib=20, **old), NEW)
    play.handle(request(1, NEW), now_s=0.5)
    return play, play.handle(Checked(NEW.name, None), now_s=1.0)


def test_room_is_not_kept_on_a_victim_that_cannot_be_stopped():
    play, effects = crowded()
    (evict,) = (each for each in effects if isinstance(each, Evict))
    assert state_of(play, "new") is S.RESERVED
    play.handle(StopFailed(evict.resident.instance, "it does not answer."), now_s=2.0)
    assert state_of(play, "old") is S.STUCK
    assert state_of(play, "new") is None
    assert len(play.state.queue) == 1, "who waits for it waits on"


def test_a_wish_whose_victim_is_stuck_goes_elsewhere_as_soon_as_it_can():
    play, effects = crowded()
    (evict,) = (each for each in effects if isinstance(each, Evict))
    play.handle(StopFailed(evict.resident.instance, "it does not answer."), now_s=2.0)
    play.handle(sampled(gpu(gib=24, used_gib=20, at_s=3), gpu("g1", gib=24, at_s=3)), now_s=3.0)
    assert state_of(play, "new") is S.LOADING
    assert play.state.ledger.resident(ModelName("new")).placement.devices == ("g1",)


def test_a_drain_that_one_gives_up_goes_on_for_the_other():
    """It drains for a newcomer and for an unload; the newcomer's caller leaves."""
    play, _ = crowded(leases=1, priority=4)
    assert state_of(play, "old") is S.DRAINING
    play.handle(unload(2, "old"), now_s=2.0)
    effects = play.handle(Withdrawn(1), now_s=3.0)
    assert state_of(play, "new") is None
    assert state_of(play, "old") is S.DRAINING
    said = [each.kind for each in effects if isinstance(each, Decide)]
    assert DecisionKind.DRAIN not in said, "it has been said"
    assert not [each for each in effects if isinstance(each, Grant)]


@pytest.mark.parametrize("withdrawn_first", [True, False])
def test_whoever_drained_for_nobody_any_more_serves_again(withdrawn_first):
    play, _ = crowded(leases=1, priority=4)
    if withdrawn_first:
        play.handle(Withdrawn(1), now_s=2.0)
    else:
        play.handle(unload(2, "old"), now_s=2.0)
        play.handle(Withdrawn(2), now_s=2.5)
        assert state_of(play, "old") is S.DRAINING
        play.handle(Withdrawn(1), now_s=3.0)
    assert state_of(play, "old") is S.READY


def test_an_unload_that_is_given_up_lets_its_model_serve_on():
    play = scheduler(gpu(gib=24), resident("old", gib=20, leases=1))
    play.handle(unload(2, "old"), now_s=1.0)
    assert state_of(play, "old") is S.DRAINING
    play.handle(Withdrawn(2), now_s=2.0)
    assert state_of(play, "old") is S.READY


def test_an_unload_that_others_still_wait_for_goes_on():
    play = scheduler(gpu(gib=24), resident("old", gib=20, leases=1))
    for ticket in (2, 3):
        play.handle(unload(ticket, "old"), now_s=1.0)
    play.handle(Withdrawn(2), now_s=2.0)
    assert state_of(play, "old") is S.DRAINING


def test_room_has_no_files_to_be_looked_at_before_somebody_leaves_for_it():
    play = scheduler(gpu(gib=24), resident("old", gib=20))
    room = room_spec(ModelName("lease-1"), 20 * GiB, None, 5)
    effects = play.handle(request(1, room), now_s=1.0)
    assert [type(each) for each in effects if isinstance(each, Check | Evict)] == [Evict]
