"""What outlives the daemon, and the registry that keeps it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.measurements import Measurement, Raised
from orchestrator.core.values.residents import InstanceId, Resident
from orchestrator.core.values.specs import ModelName
from orchestrator.ports import Running


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentRecord:
    """A resident as written down: the intent first, the handle as soon as there is one."""

    resident: Resident
    runtime: str
    running: Running | None


class OperationState(StrEnum):
    QUEUED = "queued"
    LOADING = "loading"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One load or unload that somebody asked for, to be looked up afterwards."""

    id: str
    kind: str  # "load" | "unload"
    model: ModelName
    state: OperationState
    created_at: datetime
    finished_at: datetime | None = None
    code: str | None = None  # of the refusal
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    id: int
    at: datetime
    decision: Decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Decisions, newest first, unless `after_id` is given: then the oldest after it first."""

    before_id: int | None = None
    after_id: int | None = None
    model: ModelName | None = None
    limit: int

    def of(self, records: Iterable[DecisionRecord]) -> tuple[DecisionRecord, ...]:
        held = [
            record
            for record in records
            if (self.before_id is None or record.id < self.before_id)
            and (self.after_id is None or record.id > self.after_id)
            and (self.model is None or record.decision.model == self.model)
        ]
        held.sort(key=lambda record: record.id, reverse=self.after_id is None)
        return tuple(held[: max(self.limit, 0)])


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedRecord:
    """What was learned of one model under one set of settings."""

    model: ModelName
    settings: str  # fingerprint of everything that changes the footprint
    footprint: Footprint
    load_s: float | None
    measured_at: datetime
    context: str = ""  # fingerprint of what a residual holds for: files, server, type of device
    measurements: tuple[Measurement, ...] = ()  # of the last loads, oldest first
    raised: Raised | None = None  # after an out-of-memory
    sighted: Measurement | None = None  # what the last load seemed to take, where that is not sure


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What the operator said last of one model; also that it is not pinned."""

    model: ModelName
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Everything the registry gives back at start."""

    residents: tuple[ResidentRecord, ...]
    leases: tuple[Lease, ...]
    learned: tuple[LearnedRecord, ...]
    pins: Mapping[ModelName, bool]
    last_decision_id: int


K_contra = TypeVar("K_contra", contravariant=True)
V = TypeVar("V")


class Records(Protocol[K_contra, V]):
    """The records of one table, one for each key.

    Safe to await from the event loop: the disk's slowness stays in a thread. `put` and `drop` never
    fail for the disk's sake: what it refuses is kept, is seen by every reading, and is tried again.
    They return when the disk has taken the change (True), or when it has refused it or has been
    waited for long enough (False). Readings raise RegistryFailed if the disk does not answer.
    """

    async def put(self, value: V) -> bool:
        """Write it, instead of what has its key."""

    async def drop(self, key: K_contra) -> bool:
        """Dropping what is not there is not an error."""

    async def get(self, key: K_contra) -> V | None:
        """None if there is none. Raise RegistryFailed."""

    async def all(self) -> tuple[V, ...]:
        """In no order. Raise RegistryFailed."""


class Registry(Protocol):
    """What outlives the daemon. A failure of it touches nothing that runs."""

    residents: Records[InstanceId, ResidentRecord]  # dropped with its leases
    leases: Records[LeaseId, Lease]
    learned: Records[tuple[ModelName, str], LearnedRecord]  # by model and settings
    pins: Records[ModelName, Pin]
    operations: Records[str, Operation]
    decisions: Records[int, DecisionRecord]

    async def recall(self) -> Memory:
        """Everything a start needs; asked before anything is written. Raise RegistryFailed."""

    async def page(self, page: Page) -> tuple[DecisionRecord, ...]:
        """Raise RegistryFailed."""

    async def prune(self, *, before: datetime, keep_decisions: int) -> int:
        """Delete what is old or too much; say how many rows.

        Finished operations and decisions go by age and number, what was learned goes by number.

        The newest decision stays whatever its age: ids go on from it after a restart. 0 if
        the disk refuses.
        """

    async def close(self) -> None:
        """Write what is left to be written, within a bound. Raise RegistryFailed beyond it."""
