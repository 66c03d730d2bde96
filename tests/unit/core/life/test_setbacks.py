"""What callers hear of a model that keeps failing; its course is played in test_scheduler.py."""

import pytest

from orchestrator.core.life.setbacks import breaker_open
from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.specs import ModelName


@pytest.mark.parametrize(
    ("remedy", "heard"),
    [
        ("Choose another port.", "Choose another port."),
        ("", "Mend the cause; a changed configuration is tried at once."),
    ],
)
def test_breaker_says_what_helps_against_its_cause(remedy, heard):
    failure = Failure(reason=FailureReason.ARGUMENTS, detail="a port is taken.", remedy=remedy)
    refusal = breaker_open(ModelName("a"), Breaker().after(failure, 1.0), 2.0)
    assert refusal.remedy == heard
    assert refusal.failure == failure
