"""Instants of a steady clock, told by a wall clock that is set."""

from datetime import UTC, datetime

import pytest

from orchestrator.wall import SET_S, WALL, WallClock

NOW_S = datetime(2026, 1, 15, 16, 36, 35, tzinfo=UTC).timestamp()


class Machine:
    wall_s, monotonic_s = NOW_S, 500.0

    def passes(self, seconds):
        self.wall_s += seconds
        self.monotonic_s += seconds


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def wall(machine):
    return WallClock(lambda: machine.wall_s, lambda: machine.monotonic_s)


def test_both_are_the_same_until_the_wall_clock_is_set(machine, wall):
    for _ in range(10):
        machine.passes(3600)
        assert wall.ahead_s == 0
        assert wall.steady() == machine.wall_s
    assert wall.moment(NOW_S) == datetime.fromtimestamp(NOW_S, UTC)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 86_400.0, 56 * 365 * 86_400.0])
def test_after_it_was_set_every_instant_is_told_by_it_and_durations_stay(machine, wall, jump_s):
    ends_s = wall.steady() + 600
    machine.wall_s += jump_s
    machine.passes(100)
    assert ends_s - wall.steady() == 500
    assert wall.told(ends_s) == pytest.approx(machine.wall_s + 500)
    assert wall.moment(ends_s).timestamp() == pytest.approx(machine.wall_s + 500)
    assert wall.heard(machine.wall_s) == pytest.approx(wall.steady())


def test_drift_moves_nothing_that_is_told_until_it_is_much(machine, wall):
    told = wall.told(NOW_S)
    machine.wall_s += 0.9 * SET_S
    assert wall.told(NOW_S) == told
    machine.wall_s += 0.2 * SET_S
    assert wall.told(NOW_S) == pytest.approx(told + 1.1 * SET_S)


def test_it_goes_on_from_another_beginning(machine, wall):
    wall.begin(wall.offset_s + 3600)
    assert wall.steady() == machine.wall_s + 3600
    assert wall.told(wall.steady()) == machine.wall_s


def test_the_process_has_one_that_shows_the_time_of_day():
    assert abs(WALL.moment(WALL.steady()) - datetime.now(UTC)).total_seconds() < 1
