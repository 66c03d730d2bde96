import logging

import pytest

from orchestrator.conductor.strange import Strange, failure_of
from orchestrator.core.values.failures import FailureReason


def test_what_breaks_off_is_said_once_with_its_traceback(caplog):
    strange, gone_on = Strange(), 0
    for _ in range(3):
        with strange.noted("asking"):
            raise KeyError("odd")
        gone_on += 1
    (said,) = caplog.records
    assert gone_on == 3
    assert (said.levelno, said.exc_info[0]) == (logging.ERROR, KeyError)


def test_another_kind_is_said_too(caplog):
    strange = Strange()
    for what in ("asking", "reading"):
        with strange.noted(what):
            raise KeyError("odd")
    assert len(caplog.records) == 2


def test_an_end_is_not_held_up():
    with pytest.raises(KeyboardInterrupt), Strange().noted("asking"):
        raise KeyboardInterrupt


def test_a_limit_of_the_machine_is_not_the_models_fault():
    limit, mistake = failure_of(OSError(24, "Too many open files")), failure_of(KeyError("argv"))
    assert (limit.reason, limit.transient) == (FailureReason.RUNTIME_UNAVAILABLE, True)
    assert (mistake.reason, mistake.transient) == (FailureReason.EXITED, False)
