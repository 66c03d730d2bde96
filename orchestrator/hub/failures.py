"""Why a model could not be brought here: one exception that says what to do about it."""

from enum import StrEnum


class Cause(StrEnum):
    INVALID = "invalid"  # what the operator wrote
    NOT_FOUND = "not_found"
    GATED = "gated"
    BUSY = "busy"
    NO_NETWORK = "no_network"
    BAD_ANSWER = "bad_answer"
    TRUNCATED = "truncated"
    WRONG_HASH = "wrong_hash"
    DISK_FULL = "disk_full"
    UNWRITABLE = "unwritable"
    LOCKED = "locked"


class PullFailed(Exception):
    """The model is not complete here. What had arrived is kept for the next try."""

    def __init__(self, cause: Cause, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.remedy = remedy


class Again(Exception):
    """It may work in a moment; if it never does, this failure is the reason."""

    def __init__(self, failure: PullFailed, after_s: float | None = None) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.after_s = after_s  # what the hub asked for; None: as long as we think right
