"""The steady clock goes on over restarts, reboots and wall clocks that are set."""

import json
from dataclasses import replace

import pytest

from orchestrator.daemon.clock import NAME, SteadyClock
from orchestrator.records import Memory
from orchestrator.wall import WallClock
from tests.unit.registry.records import lease

HOUR_S, YEAR_S = 3600.0, 365 * 86_400.0
NOW_S = 56 * YEAR_S


class Machine:
    """One that is booted, set, and left running."""

    def __init__(self, tmp_path):
        self.wall_s, self.monotonic_s = NOW_S, 500.0
        self.boot_id = tmp_path / "boot_id"
        self.boot("one")

    def boot(self, name):
        self.boot_id.write_text(f"{name}\n")
        self.monotonic_s = 1.0

    def passes(self, seconds):
        self.wall_s += seconds
        self.monotonic_s += seconds


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def start(tmp_path, machine):
    def start(memory=None):
        """What a daemon of now has for a clock: it, and how a wall clock tells its instants."""
        wall = WallClock(lambda: machine.wall_s, lambda: machine.monotonic_s)
        steady = SteadyClock(
            tmp_path, memory or remembered(0.0), wall=wall, boot_id=machine.boot_id
        )
        return steady, wall

    return start


def remembered(at_s):
    return Memory(
        residents=(),
        leases=(replace(lease("one", "a"), granted_s=at_s),) if at_s else (),
        learned=(),
        pins={},
        last_decision_id=0,
    )


def test_a_first_one_shows_the_time_of_day(start, machine):
    steady, wall = start()
    assert steady.clock() == machine.wall_s
    assert wall.ahead_s == 0


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, -50 * YEAR_S, 50 * YEAR_S])
def test_in_one_boot_it_goes_on_whatever_became_of_the_wall_clock(start, machine, jump_s):
    before, _ = start()
    at_s = before.clock()
    machine.passes(10)
    machine.wall_s += jump_s
    after, wall = start()
    assert after.clock() == pytest.approx(at_s + 10)
    assert wall.told(after.clock()) == pytest.approx(machine.wall_s)


def test_after_a_reboot_it_goes_on_by_the_wall_clock(start, machine):
    before, _ = start()
    machine.wall_s += HOUR_S  # set while it runs, and noticed
    before.keep()
    at_s = before.clock()
    machine.passes(60)
    machine.boot("two")
    after, wall = start()
    assert after.clock() == pytest.approx(at_s + 60)
    assert wall.told(after.clock()) == pytest.approx(machine.wall_s)


def test_after_a_reboot_into_1970_it_goes_on_from_what_was_written_down(start, machine):
    """A board without a battery, before it has heard of the time."""
    before, _ = start()
    at_s = before.clock()
    machine.boot("two")
    machine.wall_s = 30.0
    after, wall = start(remembered(at_s))
    assert after.clock() == pytest.approx(at_s)
    assert wall.told(after.clock()) == pytest.approx(machine.wall_s)
    machine.wall_s = NOW_S + HOUR_S
    assert wall.told(after.clock()) == pytest.approx(machine.wall_s)
    assert after.clock() == pytest.approx(at_s)


@pytest.mark.parametrize(
    "said", [None, "", "no", "{}", "[]", '{"boot": "one", "offset_s": NaN, "ahead_s": 0}']
)
def test_without_what_was_kept_it_shows_the_time_of_day_or_what_was_written_down(
    start, machine, tmp_path, said
):
    start()
    path = tmp_path / NAME
    path.unlink() if said is None else path.write_text(said)
    steady, _ = start()
    assert steady.clock() == machine.wall_s
    later, _ = start(remembered(machine.wall_s + HOUR_S))
    assert later.clock() == pytest.approx(machine.wall_s + HOUR_S)


def test_where_no_boot_is_known_the_wall_clock_is_gone_by(start, machine):
    machine.boot_id.unlink()
    before, _ = start()
    at_s = before.clock()
    machine.passes(60)
    after, _ = start()
    assert after.clock() == pytest.approx(at_s + 60)


def test_it_is_written_when_something_has_changed(start, machine, tmp_path):
    steady, _ = start()
    path = tmp_path / NAME
    first = json.loads(path.read_text())
    assert first == {"boot": "one", "offset_s": NOW_S - 1.0, "ahead_s": 0.0}
    path.unlink()
    steady.keep()
    assert not path.exists()
    machine.wall_s -= HOUR_S
    steady.keep()
    assert json.loads(path.read_text()) == first | {"ahead_s": -HOUR_S}


def test_a_disk_that_does_not_take_it_is_said_and_it_runs_all_the_same(start, tmp_path, caplog):
    (tmp_path / NAME).with_suffix(".tmp").mkdir()
    steady, _ = start()
    assert steady.clock() > 0
    assert "cannot be written" in caplog.text
