"""How long a wish may wait; how wishes come true is played in test_scheduler.py."""

from orchestrator.core.life.grants import WAIT_S_MAX, bound_s
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
