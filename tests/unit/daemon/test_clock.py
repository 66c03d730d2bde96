import time

from orchestrator.daemon.clock import steady_clock


def test_the_clock_tells_the_time_of_day_and_never_goes_back():
    clock = steady_clock()
    said = [clock() for _ in range(1000)]
    assert said == sorted(said)
    assert abs(said[0] - time.time()) < 1.0
