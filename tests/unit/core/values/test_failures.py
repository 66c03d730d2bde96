"""The breaker: how often a model may fail before callers are refused at once."""

import pytest

from orchestrator.core.values.failures import (
    BLAMELESS,
    BREAKER_COOLDOWN_S,
    BREAKER_COOLDOWN_S_MAX,
    BREAKER_FAILURES,
    HOPELESS,
    Breaker,
    Failure,
    FailureReason,
)


def failure(reason=FailureReason.EXITED):
    return Failure(reason=reason, detail="it ended.")


def after(times, *, reason=FailureReason.EXITED, at_s=0.0):
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.after(failure(reason), at_s)
    return breaker


def test_it_opens_at_the_third_failure():
    assert [after(n).refuses(1.0) for n in range(BREAKER_FAILURES + 1)] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("reason", sorted(HOPELESS))
def test_it_opens_at_once_where_a_second_try_cannot_help(reason):
    assert after(1, reason=reason).refuses(1.0)


@pytest.mark.parametrize("reason", sorted(BLAMELESS))
def test_what_is_not_the_models_fault_does_not_count(reason):
    assert after(10, reason=reason) == Breaker()


def test_it_refuses_until_the_cooldown_is_over_and_says_how_long():
    open_ = after(BREAKER_FAILURES, at_s=100.0)
    assert open_.refuses(100.0 + BREAKER_COOLDOWN_S - 0.1)
    assert not open_.refuses(100.0 + BREAKER_COOLDOWN_S)
    assert open_.retry_after_s(110.0) == BREAKER_COOLDOWN_S - 10
    assert open_.retry_after_s(1000.0) == 0.0
    assert Breaker().retry_after_s(5.0) == 0.0


def test_each_trial_that_fails_doubles_the_cooldown_up_to_a_bound():
    breaker, cooldowns, now_s = after(BREAKER_FAILURES), [], 0.0
    for _ in range(8):
        cooldowns.append(breaker.cooldown_s)
        now_s += breaker.cooldown_s
        breaker = breaker.after(failure(), now_s)
    assert cooldowns[:3] == [BREAKER_COOLDOWN_S, 2 * BREAKER_COOLDOWN_S, 4 * BREAKER_COOLDOWN_S]
    assert cooldowns[-1] == BREAKER_COOLDOWN_S_MAX


def test_it_remembers_the_last_cause():
    last = failure(FailureReason.PORT)
    assert after(2).after(last, 0.0).cause == last
