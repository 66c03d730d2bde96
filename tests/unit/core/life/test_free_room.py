"""Loads for which no model may leave: `evict: never`."""

from dataclasses import replace

import pytest

from orchestrator.core.life.loads import LINES_CONSIDERED_MAX
from orchestrator.core.values.messages import Checked, Deny, Grant, Stopped, Ticked, Withdrawn
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ModelName, Serving
from orchestrator.core.values.tickets import Ticket
from tests.factories import gpu, request, resident, sampled, scheduler, spec

IDLE = resident("idle", gib=20)
NEW = spec("new", gib=10)


def denied(effects):
    return [effect.refusal for effect in effects if isinstance(effect, Deny)]


def test_load_without_room_is_refused_at_once_and_evicts_nobody():
    play = scheduler(gpu(gib=24), IDLE, NEW)
    (refusal,) = denied(play.handle(request(1, NEW, evicts=False), now_s=1000.0))
    assert refusal.code is RefusalCode.NO_ROOM
    assert "idle (it has been idle for 1000 s)" in refusal.detail
    assert refusal.detail.endswith("No resident may leave for this load (`evict: never`).")
    assert "Leave `evict` out" in refusal.remedy
    assert play.state.ledger.resident(IDLE.name).state is ResidentState.READY


def test_load_into_free_room_is_served():
    play = scheduler(gpu(gib=40), IDLE, NEW)
    assert denied(play.handle(request(1, NEW, evicts=False), now_s=1000.0)) == []
    assert play.state.ledger.resident(NEW.name).state is ResidentState.RESERVED


def test_what_is_ready_is_granted():
    play = scheduler(gpu(gib=24), IDLE)
    effects = play.handle(request(1, IDLE.spec, evicts=False), now_s=1000.0)
    assert any(isinstance(effect, Grant) for effect in effects)


def test_room_that_is_on_its_way_is_waited_for():
    going = resident("idle", gib=20, state=ResidentState.UNLOADING)
    play = scheduler(gpu(gib=24), going, NEW)
    assert denied(play.handle(request(1, NEW, evicts=False), now_s=1000.0)) == []
    assert len(play.state.queue) == 1


def test_it_is_refused_also_at_the_end_of_a_long_queue():
    """It waited for bytes on their way back, behind as many as one decision looks at."""
    going = resident("idle", gib=20, state=ResidentState.UNLOADING)
    play = scheduler(gpu(gib=24), going, resident("used", gib=4, leases=1))
    for ticket in range(LINES_CONSIDERED_MAX):
        play.handle(request(ticket, spec(f"first-{ticket}", gib=23)), now_s=999.0)
    play.handle(request(1000, spec("last", gib=23), evicts=False), now_s=1000.0)
    play.handle(Ticked(), now_s=1000.5)
    play.handle(Stopped(going.instance), now_s=1001.0)
    play.handle(sampled(gpu(gib=24, used_gib=4, at_s=1002.0)), now_s=1002.0)
    assert play.state.queue.line(ModelName("last")) is None


def test_other_settings_of_what_runs_are_refused():
    play = scheduler(gpu(gib=24), IDLE)
    other = replace(IDLE.spec, serving=Serving(context_size=65536))
    (refusal,) = denied(play.handle(request(1, other, evicts=False), now_s=1000.0))
    assert refusal.code is RefusalCode.CONFLICT


def test_it_joins_those_who_let_others_leave():
    play = scheduler(gpu(gib=24), IDLE, NEW, servers_answer=False)
    play.handle(request(1, NEW), now_s=1000.0)
    assert denied(play.handle(request(2, NEW, evicts=False), now_s=1000.0)) == []


def test_nobody_leaves_for_it_when_the_others_have_left():
    """The plan was made for a caller who lets residents leave, and who has gone."""
    play = scheduler(gpu(gib=24), IDLE, NEW, servers_answer=False)
    play.handle(request(1, NEW), now_s=1000.0)
    play.handle(Checked(NEW.name, None), now_s=1000.0)
    assert play.state.ledger.resident(IDLE.name).state is ResidentState.DRAINING
    play.handle(request(2, NEW, evicts=False), now_s=1000.0)
    (refusal,) = denied(play.handle(Withdrawn(Ticket(1)), now_s=1001.0))
    assert refusal.code is RefusalCode.NO_ROOM
    assert play.state.ledger.resident(IDLE.name).state is ResidentState.READY


def test_what_never_fits_is_refused_for_its_size():
    huge = spec("huge", gib=100)
    play = scheduler(gpu(gib=24), IDLE, huge)
    (refusal,) = denied(play.handle(request(1, huge, evicts=False), now_s=1000.0))
    assert refusal.code is RefusalCode.DOES_NOT_FIT


@pytest.mark.parametrize("evicts", [True, False])
def test_pin_in_the_way_is_refused_for_the_pin(evicts):
    play = scheduler(gpu(gib=24), IDLE, NEW)
    play.state.pinned = {IDLE.name}
    (refusal,) = denied(play.handle(request(1, NEW, evicts=evicts), now_s=1000.0))
    assert "it is pinned" in refusal.detail
    assert "Unpin" in refusal.remedy


def test_one_who_is_left_alone_with_what_can_never_fit_hears_it():
    """While another waited, the budget became too small for it; then that one left."""
    held = replace(IDLE, busy=True)
    play = scheduler(gpu(gib=24), held, NEW)
    play.handle(request(1, NEW), now_s=1000.0)
    play.handle(request(2, NEW, evicts=False), now_s=1000.1)
    assert play.state.queue.line(NEW.name).explained
    play.state.ledger.rule(headroom_bytes=0, budget_bytes=8 << 30)
    (refusal,) = denied(play.handle(Withdrawn(Ticket(1)), now_s=1001.0))
    assert refusal.code is RefusalCode.DOES_NOT_FIT
