"""`keep_loaded` and `on_hang`: who leaves comes back by itself, and is in nobody's way."""

from dataclasses import replace

import pytest

from orchestrator.core.life.keeping import why_away
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.footprints import UNKNOWN, Footprint
from orchestrator.core.values.messages import (
    CatalogueChanged,
    Check,
    Checked,
    Evict,
    Finish,
    Grant,
    Load,
    Loaded,
    LoadFailed,
    Recovered,
    ServerHeard,
    Stopped,
    Ticked,
    Uncheck,
    UseSeen,
)
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import Serving
from orchestrator.core.values.tickets import UnloadStatus
from orchestrator.core.values.vram import GiB
from tests.factories import (
    ENDPOINT,
    gpu,
    request,
    resident,
    sampled,
    scheduler,
    spec,
    unload,
)

QWEN = replace(spec("qwen", gib=18, priority=10), keep_loaded=True)
WAN = spec("wan", gib=28)
SMALL = spec("small", gib=10)
NOW_S = 1000.0
CHECKED = Checked(WAN.name, None)


class Play:
    """One card of 32 GiB, whose bytes come back at once."""

    def __init__(self, *parts, **changes):
        self.of = scheduler(gpu(gib=32), *parts, changes=changes)
        self.now_s = NOW_S
        self.effects = []

    def tell(self, event, after_s=0.0):
        self.now_s += after_s
        effects = self.of.handle(event, now_s=self.now_s)
        self.effects += effects
        return effects

    def quiet(self, seconds=7):
        """Ticks and readings, as they come."""
        found = []
        for _ in range(seconds):
            found += self.tell(Ticked(), 1.0)
            found += self.read()
        return found

    def read(self):
        residents = self.of.state.ledger.residents
        held = sum(
            each.placement.total_bytes
            for each in residents
            if each.state not in (ResidentState.RESERVED, ResidentState.RELEASING)
        )
        return self.tell(sampled(gpu(gib=32, used_gib=held / 2**30, at_s=self.now_s)))

    def comes_up(self, name):
        there = self.of.state.ledger.resident(name)
        return self.tell(Loaded(instance=there.instance, endpoint=ENDPOINT, load_s=1.0), 1.0)

    def leaves(self, name):
        there = self.of.state.ledger.resident(name)
        self.tell(Stopped(there.instance), 1.0)
        return self.read()

    def state(self, name):
        there = self.of.state.ledger.resident(name)
        return None if there is None else there.state

    def there(self, name):
        return self.of.state.ledger.resident(name)


def loads(effects):
    return [effect.resident.name for effect in effects if isinstance(effect, Load)]


def evicted(effects):
    return [effect.resident.name for effect in effects if isinstance(effect, Evict)]


def restored(effects):
    return [
        effect.text
        for effect in effects
        if isinstance(effect, Decide) and effect.kind is DecisionKind.RESTORE
    ]


def test_it_comes_back_when_the_other_has_been_unloaded():
    """The documents' first practice: qwen makes room for wan, wan is unloaded, qwen is back."""
    play = Play(resident("wan", gib=28), QWEN, WAN)
    assert loads(play.quiet()) == [], "there is no room"
    play.tell(unload(1, "wan", by_s=play.now_s + 60))
    play.leaves("wan")
    assert loads(play.quiet(4)) == [], "whoever made the room may be about to take it"
    found = play.quiet(4)
    assert loads(found) == ["qwen"]
    assert restored(found) == [
        "Bringing qwen back: it is kept loaded, there is room and nobody waits."
    ]
    play.comes_up("qwen")
    assert play.there("qwen").unasked
    assert evicted(play.effects) == ["wan"]


def test_it_is_loaded_after_a_start_without_being_asked_for():
    play = Play(QWEN)
    assert loads(play.quiet()) == ["qwen"]


def test_what_was_found_running_after_a_restart_is_not_loaded_again():
    play = Play(QWEN)
    found = replace(resident("qwen", gib=18), spec=QWEN)
    play.tell(Recovered((found,)))
    assert loads(play.quiet(20)) == []


def test_nobody_leaves_for_it():
    play = Play(resident("wan", gib=28, used_s=0), QWEN, WAN)
    play.quiet(120)
    assert evicted(play.effects) == []
    assert play.of.state.queue.line_count == 0
    assert _away(play) == {"qwen": "there is no room"}


def _away(play):
    return why_away(play.of.state, play.now_s)


def test_two_that_do_not_fit_together_do_not_take_turns():
    other = replace(spec("other", gib=20, priority=3), keep_loaded=True)
    play = Play(QWEN, other)
    assert loads(play.quiet()) == ["qwen"], "the more important one"
    play.comes_up("qwen")
    assert loads(play.quiet(60)) == []
    assert evicted(play.effects) == []


def test_it_yields_at_once_though_its_priority_is_higher():
    """Nobody has asked for it: it is protected against nobody."""
    play = Play(QWEN, WAN)
    play.quiet()
    play.comes_up("qwen")
    assert evicted(play.tell(request(1, WAN), 1.0)) == []
    assert evicted(play.tell(CHECKED)) == ["qwen"]


def test_used_it_is_protected_like_any_other():
    play = Play(QWEN, WAN)
    play.quiet()
    play.comes_up("qwen")
    play.tell(UseSeen(instance=play.there("qwen").instance, busy=False, used=True), 1.0)
    assert not play.there("qwen").unasked
    play.tell(request(1, WAN), 1.0)
    play.tell(CHECKED)
    assert evicted(play.effects) == []


def test_a_load_that_nobody_asked_for_is_ended_for_a_caller():
    play = Play(QWEN, WAN)
    play.quiet()
    assert play.state("qwen") is ResidentState.LOADING
    play.tell(request(1, WAN), 0.1)
    play.tell(CHECKED)
    assert evicted(play.effects) == ["qwen"]
    play.leaves("qwen")
    assert loads(play.read()) + loads(play.effects[-3:]) != []
    assert play.state("wan") is ResidentState.LOADING


def test_promised_room_is_a_callers():
    play = Play(QWEN, WAN)
    while play.state("qwen") is None:
        play.tell(Ticked(), 1.0)
    assert play.state("qwen") is ResidentState.RESERVED, "no reading has come since"
    play.tell(request(1, WAN), 0.1)
    assert (play.state("qwen"), play.state("wan")) == (None, ResidentState.RESERVED)
    assert evicted(play.effects) == []


def test_who_asks_for_it_while_it_loads_joins_and_is_not_cut_off():
    play = Play(QWEN, WAN)
    play.quiet()
    play.tell(request(1, QWEN), 0.1)
    play.tell(request(2, WAN), 0.1)
    play.tell(CHECKED)
    assert evicted(play.effects) == []
    effects = play.comes_up("qwen")
    assert 1 in [effect.ticket for effect in effects if isinstance(effect, Grant)]


def test_nothing_comes_back_while_a_caller_waits():
    busy = resident("small", gib=10, leases=1)
    play = Play(busy, QWEN, WAN)
    play.tell(request(1, WAN))
    assert loads(play.quiet(20)) == []


def test_an_unload_sends_it_away_until_it_is_asked_for():
    play = Play(replace(resident("qwen", gib=18), spec=QWEN), QWEN)
    play.tell(unload(1, "qwen", by_s=play.now_s + 60))
    play.leaves("qwen")
    assert loads(play.quiet(60)) == []
    assert _away(play) == {"qwen": "it was unloaded, and comes back when it is next asked for"}
    play.tell(request(2, QWEN))
    play.read()
    play.comes_up("qwen")
    assert play.of.state.sent_away == set()


def test_an_unload_of_what_is_away_keeps_it_away():
    play = Play(QWEN)
    play.tell(unload(1, "qwen", by_s=play.now_s + 60))
    assert loads(play.quiet(60)) == []
    play.tell(CatalogueChanged({QWEN.name: replace(QWEN, priority=9)}))
    assert loads(play.quiet(10)) == ["qwen"], "what is written anew counts from now on"


def test_an_unload_ends_its_way_back():
    """While its files are brought: the look at them is ended as well."""
    kept = replace(QWEN, hub="org/qwen", supplied=True)
    play = Play(kept)
    assert [each for each in play.quiet() if isinstance(each, Check)]
    effects = play.tell(unload(1, "qwen", by_s=play.now_s + 60))
    assert [each.status for each in effects if isinstance(each, Finish)] == [
        UnloadStatus.NOT_LOADED
    ]
    assert [each.model for each in effects if isinstance(each, Uncheck)] == ["qwen"]
    play.tell(Checked(kept.name, None))
    assert loads(play.quiet(60)) == []


def test_an_unload_does_not_wait_for_a_load_that_nobody_asked_for():
    play = Play(QWEN)
    play.quiet()
    assert play.state("qwen") is ResidentState.LOADING
    assert evicted(play.tell(unload(1, "qwen", by_s=play.now_s + 1))) == ["qwen"]
    effects = play.leaves("qwen")
    assert [each.status for each in effects if isinstance(each, Finish)] == [UnloadStatus.UNLOADED]
    assert loads(play.quiet(60)) == []


def test_the_unload_of_an_owner_ends_its_lease_only():
    play = Play(replace(resident("qwen", gib=18), spec=QWEN), QWEN)
    (finish,) = (
        effect
        for effect in play.tell(unload(1, "qwen", owner="workflow", by_s=play.now_s + 60))
        if isinstance(effect, Finish)
    )
    assert finish.status is UnloadStatus.RELEASED
    assert play.state("qwen") is ResidentState.READY


def test_it_does_not_leave_for_being_idle():
    idle = replace(resident("qwen", gib=18, used_s=0), spec=QWEN, ttl_s=30.0)
    play = Play(idle, QWEN)
    play.quiet(60)
    assert play.state("qwen") is ResidentState.READY


def test_a_breaker_is_respected():
    play = Play(QWEN)
    failure = Failure(reason=FailureReason.ARGUMENTS, detail="an option is not known.")
    play.of.state.breakers[QWEN.name] = Breaker().after(failure, NOW_S)
    assert loads(play.quiet(25)) == []
    assert _away(play)["qwen"].startswith("it failed 1 time(s) in a row, and is tried again in ")
    assert loads(play.quiet(15)) == ["qwen"]
    play.tell(LoadFailed(play.there("qwen").instance, failure))
    play.read()
    assert loads(play.quiet(50)) == [], "it is out for longer each time"


@pytest.mark.parametrize("shutting_down", [True, False])
def test_nothing_comes_back_in_the_end(shutting_down):
    play = Play(QWEN)
    play.of.state.shutting_down = shutting_down
    assert bool(loads(play.quiet(20))) != shutting_down


def test_no_model_has_to_leave_for_the_wish():
    """Room that is taken between the wish and its turn: it waits, and ends in silence."""
    play = Play(QWEN)
    while not play.of.state.queue.line_count and play.state("qwen") is None:
        play.tell(Ticked(), 1.0)
    assert play.of.state.queue.lines()[0].ours
    assert not play.of.state.queue.lines()[0].evicts


def test_it_comes_back_with_what_was_learned_of_it():
    """Else a model that ran out of memory would be started into too little room again."""
    play = Play(resident("small", gib=10), QWEN, SMALL)
    play.of.state.believe = lambda spec: replace(spec, footprint=Footprint(device_bytes=23 * GiB))
    assert loads(play.quiet(20)) == []
    assert _away(play) == {"qwen": "there is no room"}


def test_of_one_on_a_hub_the_size_is_asked_once():
    unsized = replace(QWEN, footprint=UNKNOWN, hub="org/qwen:Q4_K_M", supplied=True)
    play = Play(resident("wan", gib=28), unsized, WAN)
    play.quiet()
    found = replace(unsized, footprint=QWEN.footprint)
    play.tell(Checked(QWEN.name, None, found))
    asked = [one for one in play.quiet(200) if isinstance(one, Check)]
    assert asked == []
    assert _away(play) == {"qwen": "there is no room"}


def test_it_is_asked_for_where_others_start_it_again_and_callers_wait():
    play = Play(resident("wan", gib=28, leases=1), QWEN, WAN)
    play.tell(request(1, QWEN))
    again = resident("qwen", gib=18, state=ResidentState.LOADING)
    again = replace(again, spec=QWEN, unasked=True, unpromised=True)
    play.tell(Recovered((again,), why="others started it again"))
    assert not play.there("qwen").unasked


# --- servers that hang ----------------------------------------------------------------------------


def hung(play, name, after_s=0.0):
    there = play.there(name)
    return play.tell(ServerHeard(there.instance, silent_since_s=play.now_s), after_s)


def test_a_server_that_hangs_is_waited_for_unless_it_is_to_be_restarted():
    play = Play(resident("small", gib=10), SMALL)
    hung(play, "small")
    assert evicted(play.quiet(300)) == []
    assert play.state("small") is ResidentState.READY


def test_a_server_that_hangs_is_stopped_and_started_anew_after_the_bound():
    play = Play(resident("small", gib=10, leases=1), SMALL, restart_hung_s=30.0)
    hung(play, "small")
    assert evicted(play.quiet(29)) == []
    found = play.quiet(2)
    assert evicted(found) == ["small"]
    (stop,) = (effect for effect in found if isinstance(effect, Evict))
    assert stop.force
    assert stop.resident.why_leaving == ("its server has not answered for 30 s (on_hang: restart)")
    play.leaves("small")
    play.quiet(2)
    assert play.state("small") is ResidentState.LOADING
    assert play.of.state.breakers[SMALL.name].failures == 1


def test_one_that_hangs_and_is_to_be_unloaded_is_not_started_anew():
    there = replace(resident("qwen", gib=18, leases=1), spec=QWEN)
    play = Play(there, QWEN, restart_hung_s=20.0)
    play.tell(ServerHeard(there.instance, play.now_s))
    play.tell(unload(1, "qwen", by_s=play.now_s + 100))
    assert evicted(play.quiet(22)) == ["qwen"]
    effects = play.leaves("qwen")
    assert [each.status for each in effects if isinstance(each, Finish)] == [UnloadStatus.UNLOADED]
    play.quiet(60)
    assert loads(play.effects) == []


def test_a_server_that_answers_in_time_stays():
    play = Play(resident("small", gib=10), SMALL, restart_hung_s=30.0)
    hung(play, "small")
    play.quiet(20)
    play.tell(ServerHeard(play.there("small").instance, None))
    assert evicted(play.quiet(60)) == []


def test_one_that_hangs_after_every_start_is_not_started_for_ever():
    play = Play(resident("small", gib=10), SMALL, restart_hung_s=30.0)
    failure = Failure(reason=FailureReason.EXITED, detail="it ended.")
    play.of.state.breakers[SMALL.name] = Breaker().after(failure, NOW_S).after(failure, NOW_S)
    hung(play, "small")
    play.quiet(31)
    play.leaves("small")
    assert loads(play.quiet(10)) == []


def test_one_that_hung_is_back_also_with_the_settings_of_the_caller_who_waited():
    """Nobody waits for those of the catalogue: nothing is left to bring back, or to contest it."""
    usual = replace(SMALL, serving=Serving(context_size=4096))
    longer, shorter = (replace(SMALL, serving=Serving(context_size=n)) for n in (16384, 2048))
    play = Play(usual, restart_hung_s=30.0)
    play.tell(Recovered((replace(resident("small", gib=10), spec=longer),)))
    hung(play, "small")
    play.tell(request(1, shorter))
    play.quiet(31)
    play.leaves("small")
    play.quiet(2)
    effects = play.comes_up("small")
    assert 1 in [effect.ticket for effect in effects if isinstance(effect, Grant)]
    assert play.there("small").spec.wanted == shorter.wanted
    assert play.of.state.queue.line_count == 0
    assert play.there("small").settled_until_s == 0
