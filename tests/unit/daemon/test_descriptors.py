import resource

import pytest

from orchestrator.daemon.descriptors import RESERVED, budget, budget_of, raise_limit


@pytest.mark.parametrize(
    ("limit", "connections", "waiting"),
    [(1 << 20, (1 << 20) - RESERVED, 786240), (1024, 768, 576), (128, 64, 48), (2, 1, 1)],
)
def test_callers_get_what_the_daemon_does_not_need(limit, connections, waiting):
    room = budget_of(limit)
    assert (room.connections, room.waiting) == (connections, waiting)
    assert room.waiting <= room.connections < limit


def test_the_limit_is_raised_and_what_it_was_is_known():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = min(64, before[1]), before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        assert raise_limit() == soft
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert budget() == budget_of(hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
