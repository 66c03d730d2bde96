"""OrchestratorError
├── Denied            the caller cannot have it; nothing is broken
├── Failed            the world did not obey
│   ├── StartFailed     the thing did not come up; nothing is left behind
│   ├── NotStopped      the thing is not verified gone: it stays charged
│   ├── Unreachable     the runtime or the server does not answer
│   │   └── CannotAsk     we could not even ask: for want of descriptors or memory of ours
│   ├── AuditUnavailable  an act cannot be written down: it is not performed
│   └── RegistryFailed  the disk does not take or give what was written
├── ConfigInvalid     the operator's file has mistakes: all of them, with their places
├── Defect            a mistake of ours: the scheduler broke off, and its state may be half changed
└── Unpredictable     what a model takes cannot be told from its files
"""

import errno

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.refusals import Refusal

EVENT_CHARS_MAX = 1000  # of an event in a sentence: its kind and its model stand in front


class OrchestratorError(Exception):
    """Something the operator should read."""


class Denied(OrchestratorError):
    """The request cannot be granted; the refusal says why and what would help."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class Failed(OrchestratorError):
    """The world did not obey."""


class StartFailed(Failed):
    """The thing did not come up, and nothing of it is left behind."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class NotStopped(Failed):
    """The thing could not be verified gone."""


class Unreachable(Failed):
    """The runtime or the server does not answer."""


class CannotAsk(Unreachable):
    """The question could not be put: it says nothing about who was to be asked."""


class RegistryFailed(Failed):
    """The registry could not be read or written."""


class AuditUnavailable(Failed):
    """What was to be done cannot be written into the audit log, and was not done."""


class ConfigInvalid(OrchestratorError):
    """The configuration has mistakes; each is named with its place."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Defect(OrchestratorError):
    """The scheduler broke off: the daemon ends, and its next life finds out what is true."""

    def __init__(self, event: object, error: Exception) -> None:
        said = repr(event)
        shown = said if len(said) <= EVENT_CHARS_MAX else f"{said[:EVENT_CHARS_MAX]}…"
        super().__init__(
            f"The daemon made a mistake ({error!r}) when it heard {shown}, and cannot trust its "
            "own state any more: it ends. Models keep running; its next start takes them over. "
            "Please report this sentence and the traceback in its log."
        )


class Unpredictable(OrchestratorError):
    """What a model takes cannot be told: what is wrong with it, and under which key."""

    def __init__(self, where: tuple[str | int, ...], sentence: str) -> None:
        super().__init__(sentence)
        self.where = where


# What this process, or this machine, has run out of.
_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def limit_reached(error: BaseException) -> bool:
    """Whether at the bottom of it lies a limit of ours, and not the other side."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _LIMITS:
            return True
        cause = cause.__cause__ or cause.__context__
    return False
