"""When a loop that says nothing counts as hung."""

import pytest

from orchestrator.daemon.health.vital_signs import HUNG_S, LOOK_S, STEP_S_MAX, Stage, VitalSigns


class Clock:
    now_s = 5000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def signs(clock):
    return VitalSigns(clock)


def pass_by(signs, clock, seconds, *, beats=False):
    """With the looks of a thread that runs."""
    ends_s = clock.now_s + seconds
    while clock.now_s < ends_s:
        clock.now_s += LOOK_S / 2
        if beats:
            signs.beat()
        signs.look()


def test_a_loop_that_beats_never_hangs(signs, clock):
    pass_by(signs, clock, 100 * HUNG_S, beats=True)
    assert signs.hung_s is None


def test_a_silent_loop_hangs_after_its_bound_and_is_well_with_its_next_beat(signs, clock):
    pass_by(signs, clock, 3, beats=True)
    pass_by(signs, clock, HUNG_S - LOOK_S)
    assert signs.hung_s is None
    pass_by(signs, clock, 2 * LOOK_S)
    assert signs.hung_s == pytest.approx(HUNG_S, abs=2 * LOOK_S)
    signs.beat()
    signs.look()
    assert signs.hung_s is None


def test_a_start_that_never_turns_hangs_as_well(signs, clock):
    pass_by(signs, clock, 2 * HUNG_S)
    assert signs.hung_s is not None


def test_a_process_that_stood_still_has_its_bound_anew(signs, clock):
    pass_by(signs, clock, 3, beats=True)
    clock.now_s += 3600
    signs.look()
    assert signs.hung_s is None, "the loop had no turn either"
    pass_by(signs, clock, HUNG_S - STEP_S_MAX - LOOK_S)
    assert signs.hung_s is None
    pass_by(signs, clock, STEP_S_MAX)
    assert signs.hung_s is not None


def test_what_the_loop_says_holds_until_it_says_otherwise(signs):
    assert (signs.stage, signs.able) == (Stage.STARTING, False)
    works = [True]
    signs.serves(lambda: works[0])
    assert (signs.stage, signs.able) == (Stage.SERVING, True)
    works[0] = False
    assert signs.able
    signs.beat()
    assert not signs.able
    signs.ends()
    assert signs.stage is Stage.ENDING


def test_an_end_that_began_while_it_started_goes_on(signs):
    signs.ends()
    signs.serves(lambda: True)
    assert signs.stage is Stage.ENDING
