from dataclasses import replace

import pytest

from orchestrator.core.life.consistency import consistent
from orchestrator.core.life.queue import Wish
from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.life.state import Repayment, Reservation
from orchestrator.core.room.eviction import Urgency
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.residents import (
    ForNewcomer,
    ForOtherSettings,
    ForUnload,
    InstanceId,
    Look,
    ResidentState,
)
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName
from tests.factories import gpu, lease, request, resident, unload

OLD = resident("old", gib=8)
A_UNLOAD = ForUnload(unload(1, "old").ticket, 9.0)


def state_with(*residents):
    ledger = Ledger()
    for there in residents:
        ledger.put(there)
    ledger.observe([gpu(gib=24)], {})
    return Scheduler({}, ledger, Rules()).state


def test_a_sound_state_has_nothing_said_against_it():
    assert consistent(state_with(OLD)) == []


@pytest.mark.parametrize(
    ("there", "word"),
    [
        (replace(OLD, state=ResidentState.DRAINING), "no cause is left"),
        (replace(OLD, leaving=(A_UNLOAD,)), "yet to leave"),
        (replace(OLD, look=Look(1, 9.0)), "asked whether it is idle"),
        (replace(OLD, state=ResidentState.DRAINING, leaving=(A_UNLOAD,)), "is idle and still"),
        (
            replace(OLD, state=ResidentState.DRAINING, leaving=(ForNewcomer(ModelName("x"), 9),)),
            "has no reservation",
        ),
        (replace(OLD, state=ResidentState.RESERVED), "no reservation knows of it"),
        (replace(OLD, lease_count=1), "counts 1 leases"),
        (resident("old", gib=30), "are charged"),
    ],
)
def test_a_resident_in_contradiction_is_named(there, word):
    assert word in " ".join(consistent(state_with(there)))


def test_a_pinned_resident_that_drains_for_others_is_named():
    state = state_with(
        replace(OLD, state=ResidentState.DRAINING, leaving=(ForNewcomer(ModelName("x"), 9),))
    )
    state.pinned.add(OLD.name)
    assert "is pinned" in " ".join(consistent(state))


def test_a_resident_that_drains_for_settings_that_no_caller_may_have_is_named():
    state = state_with(
        replace(OLD, state=ResidentState.DRAINING, leaving=(ForOtherSettings(9.0),), busy=True)
    )
    assert "no caller who lets it leave" in " ".join(consistent(state))


def test_what_is_sent_away_and_comes_by_itself_is_named():
    state = state_with()
    kept = replace(OLD.spec, keep_loaded=True)
    state.catalogue = {kept.name: kept}
    state.queue.add(Wish(request(-1, kept), 0.0, 9.0, restores=True))
    assert consistent(state) == []
    state.sent_away.add(kept.name)
    assert "nobody but us" in " ".join(consistent(state))


def test_what_points_at_nothing_is_named():
    state = state_with(OLD)
    gone = InstanceId("gone-1")
    state.repayments[gone] = Repayment(0, 0.0)
    state.reservations[ModelName("x")] = Reservation(
        {}, 9.0, Urgency(priority=5), waiting_for={gone}
    )
    held = lease(resident("gone", gib=1))
    state.leases[held.id] = held
    state.lease_of[held.ticket] = "another"
    state.unloads[unload(7, "gone").ticket] = unload(7, "gone")
    said = " ".join(consistent(state))
    for word in ("still kept of it", "not there to take it", "no victim of its plan"):
        assert word in said
    for word in ("has left already", "is leased", "which has ended", "waits for gone"):
        assert word in said
