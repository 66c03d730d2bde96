"""How long a wish may wait, and pins; how wishes come true is played in test_scheduler.py."""

import pytest

from orchestrator.core.life.grants import WAIT_S_MAX, bound_s
from orchestrator.core.life.state import CLAIMS_MAX
from orchestrator.core.values.messages import PinChanged, Withdrawn
from tests.factories import gpu, request, resident, scheduler, spec


def test_the_bound_is_patience_and_a_turn_for_each_line_and_ones_own():
    rules = {
        "patience_s": 60.0,
        "patience_loads": 10.0,
        "drain_timeout_s": 120.0,
        "release_timeout_s": 30.0,
        "min_residency_s": 10.0,
    }
    play = scheduler(gpu(gib=24), resident("old", gib=20, leases=1), changes=rules)
    wanted = spec("new", gib=20, load_s=8.0)
    turn_s = 120 + 30 + 10 + 8
    assert bound_s(play.state, wanted) == 80 + turn_s
    play.handle(request(1, spec("other", gib=20)), now_s=1.0)
    assert bound_s(play.state, wanted) == 80 + 2 * turn_s
    assert bound_s(play.state, spec("slow", gib=20, load_s=3000.0)) == WAIT_S_MAX


def pinned_by(*tickets):
    """Callers who had it pinned by their loads; whether each has heard of that is not known yet."""
    there = resident("a", gib=8)
    play = scheduler(gpu(gib=24), there)
    for ticket in tickets:
        play.handle(request(ticket, there.spec, hold=None, pin=True), now_s=1.0)
    return play


@pytest.mark.parametrize(
    ("who_leave", "pinned"), [((1,), True), ((2,), True), ((1, 2), False), ((3,), True)]
)
def test_a_pin_stays_as_long_as_one_of_its_callers_has_heard_of_it(who_leave, pinned):
    play = pinned_by(1, 2)
    for ticket in who_leave:
        play.handle(Withdrawn(ticket), now_s=1.1)
    assert bool(play.state.pinned) is pinned


def test_a_pin_that_an_operator_has_set_meanwhile_is_not_taken_back():
    play = pinned_by(1)
    play.handle(PinChanged(resident("a", gib=8).name, pinned=True), now_s=1.1)
    play.handle(Withdrawn(1), now_s=1.2)
    assert play.state.pinned


def test_so_many_callers_of_one_pin_are_remembered():
    play = pinned_by(*range(1, CLAIMS_MAX + 2))
    assert not play.state.pinned_by
    play.handle(Withdrawn(1), now_s=1.1)
    assert play.state.pinned
