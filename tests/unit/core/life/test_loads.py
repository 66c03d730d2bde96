"""Wishes that would wait in vain; the rest of how residents come is played in test_scheduler.py."""

from dataclasses import replace

import pytest

from orchestrator.core.life.queue import Wish
from orchestrator.core.life.ticks import TICK_LATE_S
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.messages import Checked, Deny, Loaded, Ticked
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.vram import GiB
from tests.factories import ENDPOINT, gpu, request, resident, sampled, scheduler, spec

S = ResidentState
VIP = resident("vip", gib=20, priority=10, used_s=999, leases=0)
NEW = spec("new", gib=20, priority=5)


def denied(effects):
    return [effect for effect in effects if isinstance(effect, Deny)]


def test_wish_that_cannot_be_met_in_time_is_refused_at_once():
    """`wan2.1-14b` after `qwen3-vl-30b` was used: 222 s of waiting, then 503, retry in 10."""
    play = scheduler(gpu(gib=24), VIP, NEW, changes={"protect_idle_s": 300})
    (deny,) = denied(play.handle(request(1, NEW), now_s=1222.0 - 200))
    refusal = deny.refusal
    assert refusal.code is RefusalCode.NO_ROOM
    assert refusal.retry_after_s == pytest.approx(277)
    assert refusal.possible_s == pytest.approx(1299)
    assert "it can leave in 277 s, at 00:21:39 UTC" in refusal.detail
    assert "no room before 00:21:39 UTC, and no caller of new waits so long" in refusal.detail


def test_wish_that_can_be_met_in_time_waits():
    play = scheduler(gpu(gib=24), VIP, NEW, changes={"protect_idle_s": 60})
    assert denied(play.handle(request(1, NEW), now_s=1000.0)) == []
    assert len(play.state.queue) == 1


def test_callers_own_patience_counts():
    play = scheduler(gpu(gib=24), VIP, NEW, changes={"protect_idle_s": 60})
    effects = play.handle(request(1, NEW), now_s=1000.0)
    effects += play.handle(request(2, NEW, deadline_s=1010.0), now_s=1001.0)
    assert [each.ticket for each in denied(effects)] == [2], "the other one waits on"
    assert [wish.request.ticket for wish in play.state.queue.wishes()] == [1]


def test_wish_is_refused_as_soon_as_it_waits_in_vain():
    """The more important model is used again and again: each time it stays a minute more."""
    busy = resident("vip", gib=20, priority=10, used_s=999, leases=1)
    play = scheduler(gpu(gib=24), busy, NEW, changes={"protect_idle_s": 60})
    assert denied(play.handle(request(1, NEW), now_s=1000.0)) == []
    ends_by_s = next(iter(play.state.queue.wishes())).ends_by_s
    now_s = 1000.0
    while not (refused := denied(play.handle(Ticked(), now_s=now_s))):
        now_s += TICK_LATE_S / 2
        assert now_s <= ends_by_s
    assert now_s == pytest.approx(ends_by_s - 60, abs=TICK_LATE_S)
    assert refused[0].refusal.retry_after_s == pytest.approx(60)


def test_the_important_who_lets_no_resident_leave_lends_its_priority_to_nobody():
    """It waits for bytes that come back; the other may have residents leave, and matters less."""
    used, gone = resident("used", gib=16, leases=1), resident("gone", gib=4, state=S.RELEASING)
    play = scheduler(gpu(gib=24), used, gone, NEW)
    play.handle(request(1, NEW, priority=9, evicts=False), now_s=1.0)
    play.handle(request(2, NEW, priority=1), now_s=1.0)
    play.handle(Checked(NEW.name, None), now_s=1.1)
    assert play.state.ledger.resident(used.name).state is S.READY


def test_who_is_refused_for_its_size_takes_no_smaller_wish_along():
    """Our own wish, to bring the model back, waits on."""
    huge = replace(NEW, footprint=Footprint(device_bytes=100 * GiB))
    play = scheduler(gpu(gib=24), resident("used", gib=20, leases=1), NEW)
    play.state.queue.add(Wish(request(-1, NEW), 1.0, 61.0, restores=True))
    effects = play.handle(request(1, huge), now_s=1.0)
    assert [each.ticket for each in denied(effects)] == [1]
    assert play.state.queue.line(NEW.name).ours


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ((1024,) * 4, "4 requests at once, 1024 tokens for each."),
        ((1024, 512), "2 requests at once, 512 to 1024 tokens for each."),
        ((4096,), None),
        ((), None),
    ],
)
def test_log_says_how_a_server_divides_its_context(slots, said):
    play = scheduler(gpu(gib=24), NEW)
    play.handle(request(1, NEW), now_s=1000.0)
    play.handle(sampled(gpu(gib=24, at_s=1001)), now_s=1001.0)
    coming = play.state.ledger.resident(NEW.name)
    up = Loaded(instance=coming.instance, endpoint=ENDPOINT, load_s=1.0, slots=slots)
    (text,) = (
        effect.text
        for effect in play.handle(up, now_s=1002.0)
        if isinstance(effect, Decide) and effect.kind is DecisionKind.LOADED
    )
    assert ("requests at once" in text) == (said is not None)
    assert said is None or text.endswith(said)
    assert play.state.ledger.resident(NEW.name).slots == slots
