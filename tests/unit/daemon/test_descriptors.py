import resource

import pytest

from orchestrator.cgroups import allowed_bytes
from orchestrator.daemon.descriptors import RESERVED, budget, budget_of, raise_limit


@pytest.mark.parametrize(
    ("limit", "connections", "waiting"),
    [(1 << 20, (1 << 20) - RESERVED, 786240), (1024, 768, 576), (128, 64, 48), (2, 1, 1)],
)
def test_callers_get_what_the_daemon_does_not_need(limit, connections, waiting):
    room = budget_of(limit, 1 << 50)
    assert (room.connections, room.waiting) == (connections, waiting)
    assert room.waiting <= room.connections < limit


def test_a_small_container_has_connections_for_fewer_callers():
    room = budget_of(1 << 20, 256 << 20)
    assert (room.connections, room.waiting) == (1024, 768)


def test_the_limit_is_raised_and_what_it_was_is_known():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = min(64, before[1]), before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        assert raise_limit() == soft
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert budget() == budget_of(hard, allowed_bytes())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
