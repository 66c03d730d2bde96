"""What outlives the daemon, and the registry that keeps it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.measurements import Measurement, Raised
from orchestrator.core.values.residents import InstanceId, Resident
from orchestrator.core.values.specs import ModelName, Serving
from orchestrator.core.values.speeds import Speeds
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
    key: str | None = None  # of the API key that ordered it


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """Something that happens at fixed intervals. Kept in no registry: it begins with the daemon."""

    name: str
    every_s: float
    last_at: datetime | None = None  # when it last began; None: not yet
    last_s: float | None = None  # how long that took
    last_error: str = ""  # why it broke off, if it did
    next_at: datetime | None = None  # None: the daemon ends


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


BENCHMARKS_KEPT_MAX = 4_096  # the newest, in memory and on the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRecord:
    """The last benchmark of one model, under one set of settings, on these devices."""

    model: ModelName
    settings: str  # fingerprint of everything that changes what it does
    devices: str  # their ids, with commas
    measured_at: datetime
    serving: Serving  # the settings, to be read
    speeds: Speeds
    prompt_tokens: int  # of each request
    answer_tokens: int
    requests: int  # that the figures are the medians of


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
    last_request_id: int = 0
    benchmarks: tuple[BenchmarkRecord, ...] = ()


class Outcome(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"  # by its model's server, whatever the status
    REFUSED = "refused"  # by us: no such model, no room, waited in vain
    CLIENT_GONE = "client_gone"
    SERVER_DIED = "server_died"
    FAILED = "failed"  # anything else that was in the way
    ENDED = "ended"  # by an operator


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model's server says it read and wrote. None: it does not say."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_per_s: float | None = None  # while it wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """The figures of one request, so far. What was asked and what was answered are not kept.

    `wait_s` is all the time before its model could take it; `load_s` is the part of it in which
    the model was loading. `first_byte_s` counts from the beginning as well.
    """

    id: int
    began_at: datetime
    ended_at: datetime | None  # None: it is under way, and has no outcome either
    asked: str  # the model by the name that the request had for it
    model: ModelName | None  # that served it; None: none did
    instance: InstanceId | None
    protocol: str
    path: str
    client: str
    owner: str | None
    streaming: bool
    priority: int | None
    wait_s: float
    load_s: float
    first_byte_s: float | None
    why: str  # it waited
    outcome: Outcome | None
    status: int | None  # None: there was none before it ended
    tokens_in: int | None
    tokens_out: int | None
    tokens_per_s: float | None
    key: str | None = None  # of the API key that asked


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPage:
    """Requests, newest first. What is None is not asked for."""

    before_id: int | None = None
    model: str | None = None  # as asked for, or as served
    client: str | None = None
    owner: str | None = None
    outcome: Outcome | None = None
    protocol: str | None = None
    key: str | None = None
    limit: int

    def of(self, records: Iterable[RequestRecord]) -> tuple[RequestRecord, ...]:
        held = sorted(filter(self._wants, records), key=lambda one: one.id, reverse=True)
        return tuple(held[: max(self.limit, 0)])

    def _wants(self, record: RequestRecord) -> bool:
        return (
            (self.before_id is None or record.id < self.before_id)
            and self.model in (None, record.model, record.asked)
            and self.client in (None, record.client)
            and self.owner in (None, record.owner)
            and self.outcome in (None, record.outcome)
            and self.protocol in (None, record.protocol)
            and self.key in (None, record.key)
        )


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
    benchmarks: Records[tuple[ModelName, str, str], BenchmarkRecord]  # model, settings, devices
    operations: Records[str, Operation]
    decisions: Records[int, DecisionRecord]
    requests: Records[int, RequestRecord]  # that have ended

    async def recall(self) -> Memory:
        """Everything a start needs; asked before anything is written. Raise RegistryFailed."""

    async def page(self, page: Page) -> tuple[DecisionRecord, ...]:
        """Raise RegistryFailed."""

    async def add_requests(self, records: Sequence[RequestRecord]) -> None:
        """Write them all, or none of them: raise RegistryFailed. It takes as long as the disk does.

        They are new ones; the oldest that are too many for the table go with the same write.
        """

    async def page_of_requests(self, page: RequestPage) -> tuple[RequestRecord, ...]:
        """Raise RegistryFailed."""

    async def prune(self, *, before: datetime, keep_decisions: int) -> int:
        """Delete what is old or too much; say how many rows.

        Finished operations, decisions and requests go by age and number, what was learned and
        benchmarks go by number.

        The newest decision and request stay whatever their age: ids go on from them after a
        restart. 0 if the disk refuses.
        """

    async def close(self) -> None:
        """Write what is left to be written, within a bound. Raise RegistryFailed beyond it."""
