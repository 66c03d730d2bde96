"""A decision in words: what was decided, why, and what helps (R17)."""

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.values.specs import ModelName


class DecisionKind(StrEnum):
    BRING = "bring"
    RESERVE = "reserve"
    LOAD = "load"
    LOADED = "loaded"
    EVICT = "evict"
    DRAIN = "drain"
    EVICTED = "evicted"
    REFUSE = "refuse"
    FAIL = "fail"
    DIED = "died"
    STUCK = "stuck"
    EXPIRE = "expire"
    RESTORE = "restore"
    DEGRADE = "degrade"
    ADOPT = "adopt"
    LEARN = "learn"
    DEVICE = "device"
    RUNTIME = "runtime"
    SERVER = "server"
    PIN = "pin"
    SPEED = "speed"
    CATALOGUE = "catalogue"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide:
    """A decision said in words, once: log line, API, terminal and page say the same (R17)."""

    kind: DecisionKind
    text: str
    model: ModelName | None = None
    why: str = ""
    evicted: tuple[ModelName, ...] = ()
    remedy: str = ""
    key: str | None = None  # whose wish or lease it is about: for the audit log alone
