"""What is kept of a key and of a browser's session. No secret is in it: only digests are."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

EVERY_MODEL = ("*",)
REQUESTS_PER_MINUTE_DEFAULT = 60
IN_FLIGHT_DEFAULT = 8
WAITING_DEFAULT = 20
GLOBS_KEPT_MAX = 4096  # answers whether a model is among a key's


class KeyScope(StrEnum):
    READ = "read"  # status, plan, events, metrics
    USE = "use"  # requests to models that are ready
    LOAD = "load"  # may cause loads and evictions, and unload what it has loaded
    LEASE = "lease"  # may keep models and VRAM for a time
    ADMIN = "admin"  # force, pin, what is others', catalogue, logs, keys


# What holds with a scope. An admin makes keys, and so could have any of them.
IMPLIED: Mapping[KeyScope, frozenset[KeyScope]] = {
    KeyScope.READ: frozenset({KeyScope.READ}),
    KeyScope.USE: frozenset({KeyScope.READ, KeyScope.USE}),
    KeyScope.LOAD: frozenset({KeyScope.READ, KeyScope.USE, KeyScope.LOAD}),
    KeyScope.LEASE: frozenset({KeyScope.LEASE}),
    KeyScope.ADMIN: frozenset(KeyScope),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerSecret:
    """What a key was before it was rotated: valid beside the new one until its time is over."""

    digest: str
    ends_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key. Instants are wall time: they hold for every process and over restarts.

    A key keeps its id when it is rotated: what it has loaded and leased stays its own. One that
    was revoked stays in the table: that there were keys is what keeps the doors closed.
    """

    id: str
    digest: str  # SHA-256 of the whole key, in hex
    name: str
    scopes: tuple[KeyScope, ...]
    created_s: float
    models: tuple[str, ...] = EVERY_MODEL  # globs of names
    max_priority: int | None = None  # None: any
    requests_per_minute: int = REQUESTS_PER_MINUTE_DEFAULT
    burst: int | None = None  # within one second; None: as many as a minute's
    max_in_flight: int = IN_FLIGHT_DEFAULT
    max_waiting: int = WAITING_DEFAULT
    vram_mb: int | None = None  # of all that it has loaded and leased; None: no bound
    max_lease_s: float | None = None
    max_tokens: int | None = None  # of all answers of a request; None: no bound
    networks: tuple[str, ...] = ()  # from which it may come; none: from anywhere
    expires_s: float | None = None
    created_by: str | None = None  # a key's id; None: the operator on the machine itself
    former: FormerSecret | None = None
    revoked_s: float | None = None

    @property
    def granted(self) -> frozenset[KeyScope]:
        return _granted(self.scopes)

    def sees(self, model: str) -> bool:
        """Whether the model, by its own name, is among those of the key."""
        return self.models == EVERY_MODEL or _among(model, self.models)


@lru_cache(maxsize=64)
def _granted(scopes: tuple[KeyScope, ...]) -> frozenset[KeyScope]:
    return frozenset().union(*(IMPLIED[scope] for scope in scopes))


@lru_cache(maxsize=GLOBS_KEPT_MAX)
def _among(model: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, glob) for glob in globs)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """A login by a key. It ends by its time, by a logout, and with its key."""

    digest: str  # SHA-256 of the cookie, in hex
    key: str  # id
    ends_s: float

    @property
    def mark(self) -> str:
        """What may stand in a log."""
        return self.digest[:8]
