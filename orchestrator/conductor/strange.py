"""Exceptions that no port promises: mistakes of ours, which neither end the daemon nor get lost."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.core.values.failures import Failure, FailureReason

log = logging.getLogger("orchestrator")


class Strange:
    """Says each kind once, with its traceback: what is asked every second fails every second."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """The block breaks off, and what follows it goes on without its answer.

        `what` names the block for the log, without numbers or instants.
        """
        try:
            yield
        except Exception as error:
            if what not in self._said:
                self._said.add(what)
                log.exception("%s broke off; this is said once", what, exc_info=error)


def failure_of(error: Exception) -> Failure:
    """A mistake of ours, or a limit of this machine: which is not the model's fault."""
    detail = f"internal error: {error!r}"
    if isinstance(error, OSError):
        return Failure(
            reason=FailureReason.RUNTIME_UNAVAILABLE,
            detail=detail,
            remedy="The daemon's log has the details.",
            transient=True,
        )
    return Failure(reason=FailureReason.EXITED, detail=detail)
