"""Exceptions that no port promises: said once, with what they are."""

import errno

import pytest

from orchestrator.conductor.strange import Strange, failure_of
from orchestrator.core.values.failures import FailureReason


def test_what_breaks_off_again_and_again_is_said_once(caplog):
    strange = Strange()
    for _ in range(3):
        with strange.noted("a look"):
            raise OSError(errno.EMFILE, "Too many open files")
    with strange.noted("another look"):
        raise KeyError("x")
    assert [record.getMessage() for record in caplog.records] == [
        "a look broke off; this is said once",
        "another look broke off; this is said once",
    ]
    assert all(record.exc_info for record in caplog.records), "with their tracebacks"


@pytest.mark.parametrize(
    ("error", "reason", "transient"),
    [
        (OSError(errno.EMFILE, "Too many open files"), FailureReason.RUNTIME_UNAVAILABLE, True),
        (KeyError("x"), FailureReason.EXITED, False),
    ],
)
def test_a_limit_of_the_machine_is_not_the_models_fault(error, reason, transient):
    failure = failure_of(error)
    assert (failure.reason, failure.transient) == (reason, transient)
