"""What keeps a process from starting has a name and a way out. Real causes: test_runtime.py."""

import errno
import os

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.runtimes.process.failures import no_port, not_started
from tests.unit.runtimes.processes import program


@pytest.mark.parametrize("error", [None, OSError("Too many open files")])
def test_no_port_is_a_failure_with_a_way_out(error):
    failure = no_port(program("x"), error)
    assert failure.reason is FailureReason.PORT
    assert failure.remedy


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOENT, FailureReason.BINARY_MISSING),
        (errno.EACCES, FailureReason.BINARY_MISSING),
        (errno.ENOEXEC, FailureReason.BINARY_MISSING),
        (errno.E2BIG, FailureReason.ARGUMENTS),
        (errno.EAGAIN, FailureReason.RUNTIME_UNAVAILABLE),
    ],
)
def test_the_kernels_refusal_has_a_name_and_a_way_out(number, reason):
    failure = not_started(program("llama-server"), OSError(number, os.strerror(number)))
    assert (failure.reason, bool(failure.remedy)) == (reason, True)
    assert "llama-server" in failure.detail
