"""From when on an engine counts as silent, by a clock that the test moves."""

from orchestrator.runtimes.docker.liveness import SLOW_S, Liveness


class Told:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.liveness = Liveness("Docker", lambda: self.now_s)

    def for_s(self) -> float | None:
        silence = self.liveness.silence()
        return None if silence is None else silence.for_s


def test_who_has_not_been_asked_owes_nothing() -> None:
    assert Told().for_s() is None


def test_a_question_without_an_answer_is_a_silence_after_a_while() -> None:
    told = Told()
    with told.liveness.awaited():
        told.now_s += SLOW_S - 0.1
        assert told.for_s() is None
        told.now_s += 9.1
        assert told.for_s() == SLOW_S + 9
        silence = told.liveness.silence()
        assert silence is not None
        assert "Docker has not answered for 12 s" in silence.problem
    told.liveness.came()
    assert told.for_s() is None


def test_one_slow_answer_among_quick_ones_is_no_silence() -> None:
    told = Told()
    with told.liveness.awaited():
        told.now_s += 60
        with told.liveness.awaited():
            told.liveness.came()
        assert told.for_s() is None


def test_an_engine_that_cannot_be_reached_is_silent_at_once_and_since_then() -> None:
    told = Told()
    told.liveness.came()
    told.liveness.lost("Docker cannot be reached")
    told.now_s += 2
    told.liveness.lost("Docker cannot be reached: refused.")
    silence = told.liveness.silence()
    assert silence is not None
    assert (silence.for_s, silence.problem) == (2, "Docker cannot be reached: refused.")
    told.liveness.came()
    assert told.for_s() is None
