import os

from orchestrator.config.cores import physical_cores


def test_at_least_one_core_and_no_more_than_we_may_use():
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))
