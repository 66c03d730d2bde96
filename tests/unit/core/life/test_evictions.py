"""How residents leave where two things want it at once; the rest is played in test_scheduler.py."""

from dataclasses import replace

import pytest

from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.messages import (
    CatalogueChanged,
    Check,
    Checked,
    Deny,
    Evict,
    ForgetPin,
    Grant,
    PinChanged,
    Released,
    SavePin,
    StopFailed,
    Ticked,
    UseSeen,
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


# --- drains that end -----------------------------------------------------------------------------


@pytest.mark.parametrize(("at_s", "then"), [(120.9, S.DRAINING), (121.0, S.READY)])
def test_drain_for_a_newcomer_is_given_up_at_its_bound(at_s, then):
    new = spec("new", gib=20, priority=9)
    play = scheduler(gpu(gib=24), resident("old", gib=20, leases=1), new)
    play.handle(request(1, new), now_s=1.0)
    play.handle(Checked(new.name, None), now_s=1.0)
    play.handle(Ticked(), now_s=at_s)
    assert state_of(play, "old") is then


def test_drain_in_vain_is_forgotten():
    """Once the model that would not fall idle is idle, it gives way like any other."""
    play, _ = crowded(leases=1, priority=5)
    vip = replace(NEW, priority=9)
    play.handle(request(2, vip, priority=9), now_s=2.0)
    assert state_of(play, "old") is S.DRAINING
    play.handle(Ticked(), now_s=130.0)
    assert state_of(play, "old") is S.READY
    (held,) = play.state.leases
    effects = play.handle(Released(held), now_s=140.0)
    assert [each.resident.name for each in effects if isinstance(each, Evict)] == ["old"]


def test_pin_in_the_way_is_refused_at_once_also_later():
    play, _ = crowded(leases=1, priority=9)
    assert len(play.state.queue) == 1
    effects = play.handle(PinChanged(ModelName("old"), pinned=True), now_s=3.0)
    (deny,) = (each for each in effects if isinstance(each, Deny))
    assert deny.refusal.lasting
    assert not len(play.state.queue)


def test_reload_keeps_the_pin_of_the_api():
    old = spec("old", gib=20)
    play = scheduler(gpu(gib=24), resident("old", gib=20), old)
    play.handle(PinChanged(old.name, pinned=True), now_s=1.0)
    effects = play.handle(CatalogueChanged({old.name: replace(old, ttl_s=5)}), now_s=2.0)
    assert play.state.pinned == {"old"}
    assert not [each for each in effects if isinstance(each, ForgetPin | SavePin)]


def test_what_a_file_says_anew_of_a_pin_counts_also_after_the_next_start():
    """Nothing is saved over it: what the API had said is forgotten."""
    old = spec("old", gib=20)
    play = scheduler(gpu(gib=24), resident("old", gib=20), old)
    play.handle(PinChanged(old.name, pinned=True), now_s=1.0)
    effects = play.handle(CatalogueChanged({old.name: replace(old, pinned=True)}), now_s=2.0)
    assert play.state.pinned == {"old"}
    effects += play.handle(CatalogueChanged({old.name: old}), now_s=3.0)
    assert play.state.pinned == set()
    play.handle(PinChanged(old.name, pinned=True), now_s=4.0)
    effects += play.handle(CatalogueChanged({}), now_s=5.0)
    assert play.state.pinned == set(), "the model is gone"
    said = [each for each in effects if isinstance(each, ForgetPin | SavePin)]
    assert said == [ForgetPin(old.name)] * 3


def test_the_gap_between_uses_is_the_same_with_and_without_leases():
    leased, direct = (scheduler(gpu(gib=24), resident("old", gib=8)) for _ in range(2))
    old = spec("old", gib=8)
    (there,) = direct.state.ledger.residents
    for turn in range(1, 9):
        began_s = turn * 500.0
        effects = leased.handle(request(turn, old), now_s=began_s)
        (grant,) = (each for each in effects if isinstance(each, Grant))
        leased.handle(Released(grant.lease.id), now_s=began_s + 20)
        for late_s in range(0, 20, 2):
            seen = UseSeen(instance=there.instance, busy=True, used=True)
            direct.handle(seen, now_s=began_s + late_s)
        direct.handle(UseSeen(instance=there.instance, busy=False, used=True), now_s=began_s + 20)
    gaps = [play.state.ledger.resident(ModelName("old")).use_gap_s for play in (leased, direct)]
    assert gaps[0] == gaps[1] == pytest.approx(500.0)


def test_a_pin_that_comes_while_it_drains_for_a_newcomer_keeps_it():
    play, _ = crowded(leases=1, priority=4)
    assert state_of(play, "old") is S.DRAINING
    effects = play.handle(PinChanged(ModelName("old"), pinned=True), now_s=2.0)
    assert [each.refusal.lasting for each in effects if isinstance(each, Deny)] == [True]
    (held,) = play.state.leases
    play.handle(Released(held), now_s=3.0)
    assert state_of(play, "old") is S.READY
    assert state_of(play, "new") is None
