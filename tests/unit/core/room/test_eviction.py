"""Who gives way to whom: the whole table, and the words for it."""

from dataclasses import replace

import pytest

from orchestrator.core.room.eviction import (
    USE_GAP_S_UNKNOWN,
    YIELDS,
    Stance,
    Urgency,
    Yielding,
    least_recently_used,
    least_regretted,
    say,
    stance,
)
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, room_spec
from orchestrator.core.values.vram import GiB
from tests.factories import ask, resident, spec

NOW_S = 1000.0
RULES = Rules(protect_idle_s=300, min_residency_s=10)
LONG_IDLE = resident("a", gib=8, used_s=0)
JUST_USED = resident("a", gib=8, used_s=990)
IN_USE = resident("a", gib=8, used_s=990, leases=1)
BUSY = replace(JUST_USED, busy=True)  # in use by somebody who did not come through us
SETTLING = resident("a", gib=8, used_s=0, settled_until_s=1004)
LOADING = resident("a", gib=8, state=ResidentState.LOADING)
RESISTED = replace(IN_USE, resisted=((ModelName("b"), NOW_S + 1),))
ROOM = replace(LONG_IDLE, spec=room_spec(ModelName("lease-1"), GiB, None, 5))


def check(there, *, priority=5, pinned=False, **urgency):
    return stance(there, Urgency(priority=priority, **urgency), RULES, NOW_S, pinned=pinned)


@pytest.mark.parametrize(
    ("there", "wish", "taken"),
    [
        (LONG_IDLE, {}, Stance.IDLE),
        (JUST_USED, {}, Stance.IDLE),
        (IN_USE, {}, Stance.IN_USE),
        (BUSY, {}, Stance.IN_USE),
        # A lower priority asks: protected while in use or lately used, however long it waits.
        (LONG_IDLE, {"priority": 4}, Stance.IDLE),
        (JUST_USED, {"priority": 4}, Stance.MORE_IMPORTANT),
        (IN_USE, {"priority": 4, "due": True}, Stance.MORE_IMPORTANT),
        # A higher one asks: in use is let finish; whoever has just arrived goes again.
        (IN_USE, {"priority": 6}, Stance.LESS_IMPORTANT),
        (SETTLING, {"priority": 6}, Stance.IDLE),
        # Equals: after a switch the newcomer keeps its place; else patience decides.
        (SETTLING, {}, Stance.JUST_ARRIVED),
        (SETTLING, {"due": True}, Stance.JUST_ARRIVED),
        (IN_USE, {"due": True}, Stance.OUTWAITED),
        # Whoever they are.
        (LONG_IDLE, {"pinned": True, "priority": 9, "due": True}, Stance.PINNED),
        (LOADING, {"priority": 9, "due": True}, Stance.UNSETTLED),
        (RESISTED, {"due": True, "wisher": ModelName("b")}, Stance.STUBBORN),
        (RESISTED, {"due": True, "wisher": ModelName("c")}, Stance.OUTWAITED),
        (replace(RESISTED, lease_count=0), {"wisher": ModelName("b")}, Stance.IDLE),
        (ROOM, {"priority": 9, "due": True}, Stance.LEASED_ROOM),
    ],
)
def test_stance(there, wish, taken):
    assert check(there, **wish) is taken


def test_what_cannot_be_stopped_does_not_give_way():
    urgent = Urgency(priority=9, due=True)
    taken = stance(LONG_IDLE, urgent, RULES, NOW_S, pinned=False, silent=True)
    assert (taken, YIELDS[taken]) == (Stance.UNREACHABLE, Yielding.NO)


def test_protection_of_the_idle_ends_on_the_second():
    idle = replace(LONG_IDLE, last_used_s=NOW_S - RULES.protect_idle_s)
    assert check(idle, priority=4) is Stance.IDLE
    assert check(replace(idle, last_used_s=idle.last_used_s + 0.1), priority=4) is (
        Stance.MORE_IMPORTANT
    )


def test_every_stance_has_its_consequence():
    assert YIELDS.keys() == set(Stance)
    assert [each for each in Stance if YIELDS[each] is Yielding.NOW] == [Stance.IDLE]
    assert [each for each in Stance if YIELDS[each] is Yielding.NEVER] == [Stance.PINNED]


@pytest.mark.parametrize("taken", list(Stance))
def test_every_stance_can_be_said(taken):
    assert say(taken, SETTLING, NOW_S).startswith(("it ", "its ", "somebody "))


def test_what_is_said_has_the_numbers():
    assert say(Stance.IDLE, LONG_IDLE, NOW_S) == "it has been idle for 1000 s"
    assert "for 4 s" in say(Stance.JUST_ARRIVED, SETTLING, NOW_S)
    assert "idle for only 10 s" in say(Stance.MORE_IMPORTANT, JUST_USED, NOW_S)
    assert "in use" in say(Stance.MORE_IMPORTANT, IN_USE, NOW_S)


def test_a_long_load_earns_a_longer_patience():
    rules = Rules(patience_s=60, patience_loads=10)
    assert [rules.patience_for(load_s) for load_s in (1, 6, 30)] == [60, 60, 300]


def test_the_longest_idle_leaves_first_by_the_plain_policy():
    older, younger = resident("a", gib=1, used_s=5), resident("b", gib=1, used_s=9)
    assert least_recently_used(older, NOW_S) < least_recently_used(younger, NOW_S)


def test_regret_grows_with_the_reload_and_with_the_likelihood_of_being_wanted():
    slow, quick = resident("a", gib=1, load_s=60), resident("b", gib=1, load_s=6)
    assert least_regretted(slow, 10) == pytest.approx(10 * least_regretted(quick, 10))
    often, rarely = replace(quick, use_gap_s=2.0), replace(quick, use_gap_s=200.0)
    assert least_regretted(often, 1) > least_regretted(rarely, 1)


def test_regret_fades_with_the_idle_time():
    often = replace(resident("a", gib=1, used_s=0), use_gap_s=2.0)
    assert least_regretted(often, 1) == least_regretted(often, 2)
    assert least_regretted(often, 100) == pytest.approx(least_regretted(often, 10) / 10)


def test_a_model_that_nobody_has_used_yet_is_not_taken_for_forgotten():
    unused = resident("a", gib=1, used_s=0)
    assert least_regretted(unused, 1) == pytest.approx(1 / USE_GAP_S_UNKNOWN)


def test_of_models_that_were_used_once_the_one_that_is_idle_for_longer_is_regretted_less():
    earlier, later = (replace(resident("a", gib=1).used(at_s), last_used_s=at_s) for at_s in (1, 9))
    assert least_regretted(earlier, 10) == pytest.approx(1 / 9)
    assert least_regretted(later, 10) == pytest.approx(1)


def test_a_resident_that_has_changed_is_asked_anew():
    asked, idle = ask(spec("new", gib=4)), resident("old", gib=4)
    assert asked.stance(idle) is asked.stance(idle) is Stance.IDLE
    assert asked.stance(replace(idle, lease_count=1)) is Stance.IN_USE
