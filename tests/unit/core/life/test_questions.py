"""What a line asks of the planner; how plans follow from it is played in test_loads.py."""

import pytest

from orchestrator.core.life.questions import is_due, question
from tests.factories import gpu, request, scheduler, spec

A = spec("a", gib=30, load_s=10.0)


def waiting(**changes):
    """A play in which `a` waits since a second, for its file to be looked at."""
    play = scheduler(gpu(gib=40, used_gib=20), A, changes=changes)
    play.handle(request(1, A, priority=7), now_s=1.0)
    return play.state, play.state.queue.line(A.name)


@pytest.mark.parametrize(("at_s", "due"), [(100.9, False), (101.0, True)])
def test_a_line_is_due_after_its_patience_or_ten_loads(at_s, due):
    state, line = waiting(patience_s=60.0, patience_loads=10.0)
    assert is_due(state, line, at_s) is due


def test_a_line_asks_with_what_its_wishes_say():
    asked = question(*waiting(), 2.0)
    assert (asked.spec, asked.urgency.priority, asked.urgency.wisher) == (A, 7, A.name)
    assert asked.evicts
    assert asked.quota is None
