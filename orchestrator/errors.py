"""OrchestratorError
├── Denied            the caller cannot have it; nothing is broken
├── Failed            the world did not obey
│   ├── StartFailed     the thing did not come up; nothing is left behind
│   ├── NotStopped      the thing is not verified gone: it stays charged
│   ├── Unreachable     the runtime or the server does not answer
│   │   └── CannotAsk     we could not even ask: for want of descriptors or memory of ours
│   └── RegistryFailed  the disk does not take or give what was written
├── ConfigInvalid     the operator's file has mistakes: all of them, with their places
└── Unpredictable     what a model takes cannot be told from its files
"""

import errno

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.refusals import Refusal


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


class ConfigInvalid(OrchestratorError):
    """The configuration has mistakes; each is named with its place."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


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
