"""Why a model did not come up or went away, by name (R9), and the breaker that remembers."""

from dataclasses import dataclass, replace
from enum import StrEnum


class FailureReason(StrEnum):
    OUT_OF_MEMORY = "out_of_memory"
    MODEL_FILE = "model_file"
    CONFIGURATION = "configuration"
    DOWNLOAD = "download"
    IMAGE_MISSING = "image_missing"
    BINARY_MISSING = "binary_missing"
    PORT = "port"
    ARGUMENTS = "arguments"
    EXITED = "exited"
    NOT_READY_IN_TIME = "not_ready_in_time"
    RUNTIME_UNAVAILABLE = "runtime_unavailable"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


class ShortOf(StrEnum):
    """What there was no memory for, when a server ran out of it."""

    WEIGHTS = "weights"
    CONTEXT = "context"  # keys and values, or recurrent state
    COMPUTE = "compute"
    PROJECTOR = "projector"
    RUN_TIME = "run_time"  # it had been ready: what it needed while it served


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong with one start or one running server."""

    reason: FailureReason
    detail: str  # one sentence an operator can act on
    log_tail: tuple[str, ...] = ()
    asked_bytes: int | None = None  # the allocation that failed for out_of_memory, if logged
    short_of: ShortOf | None = None  # likewise
    remedy: str = ""
    transient: bool = False  # nothing has to be mended here: the same wish may come true soon
    # Seen without a start and without a download: a look tells whether it is mended.
    outside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What models run on does not answer."""

    who: str  # "Docker at unix:///var/run/docker.sock"
    for_s: float
    problem: str  # in a sentence, with what to look at


BREAKER_FAILURES = 3  # starts of a broken model before callers are refused at once
BREAKER_COOLDOWN_S = 30.0  # before one caller may try again; doubles with each failed trial
BREAKER_COOLDOWN_S_MAX = 600.0

# A second try cannot help: the file, the image or the arguments must change first.
HOPELESS = frozenset(
    {
        FailureReason.MODEL_FILE,
        FailureReason.CONFIGURATION,
        FailureReason.IMAGE_MISSING,
        FailureReason.BINARY_MISSING,
        FailureReason.ARGUMENTS,
    }
)
# Not the model's fault: does not count against it.
BLAMELESS = frozenset(
    {FailureReason.CANCELLED, FailureReason.RUNTIME_UNAVAILABLE, FailureReason.STOPPED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Counts a model's failures in a row; open means refuse at once, with the cause.

    A cause outside is looked at again before a caller is refused for it.
    """

    failures: int = 0
    outside: int = 0  # of them: nothing was started, so they say nothing of the server
    open_until_s: float | None = None
    cooldown_s: float = BREAKER_COOLDOWN_S
    cause: Failure | None = None

    def after(self, failure: Failure, now_s: float) -> "Breaker":
        if failure.reason in BLAMELESS:
            return self
        failures = self.failures + 1
        trips = failures >= BREAKER_FAILURES or failure.reason in HOPELESS
        reopens = self.open_until_s is not None
        cooldown_s = (
            min(self.cooldown_s * 2, BREAKER_COOLDOWN_S_MAX) if reopens else BREAKER_COOLDOWN_S
        )
        return Breaker(
            failures=failures,
            outside=self.outside + failure.outside,
            open_until_s=now_s + cooldown_s if trips else None,
            cooldown_s=cooldown_s,
            cause=failure,
        )

    def refuses(self, now_s: float) -> bool:
        """Closed, or half open once the cooldown is over: then one start may try."""
        return self.open_until_s is not None and now_s < self.open_until_s

    @property
    def cause_outside(self) -> bool:
        return self.cause is not None and self.cause.outside

    def mended(self) -> "Breaker | None":
        """Without the causes outside, of which the last is mended; None if nothing is left."""
        crashes = self.failures - self.outside
        if not crashes:
            return None
        return replace(self, failures=crashes, outside=0, open_until_s=None, cause=None)

    def retry_after_s(self, now_s: float) -> float:
        return max(0.0, (self.open_until_s or now_s) - now_s)
