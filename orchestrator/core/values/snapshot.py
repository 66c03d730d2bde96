"""The whole state at one moment, as a value: what status, dashboards and the terminal show."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.core.values.failures import Breaker, Silence
from orchestrator.core.values.leases import Lease
from orchestrator.core.values.residents import InstanceId, Resident
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.core.values.vram import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAccount:
    """One device with its account. `available_bytes` is what a load may really use."""

    reading: Reading
    foreign_bytes: int | None  # None: the device cannot be read
    headroom_bytes: int
    available_bytes: int | None
    charged_bytes: int  # to our residents, promised bytes included


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The tickets that wait for one model."""

    model: ModelName
    priority: int
    callers: int
    waited_s: float
    bound_s: float  # after so many seconds of waiting it is granted or refused
    waits_for: str
    possible_s: float | None = None  # the instant at which that will have ended, if it is known


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsAs:
    """By what people find a server: its process here, or its container."""

    process_id: int | None = None
    container_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    now_s: float
    version: int  # grows with every change: equal versions, equal snapshots
    accounts: tuple[DeviceAccount, ...]
    residents: tuple[Resident, ...]  # plain room included
    leases: tuple[Lease, ...]
    queue: tuple[Waiting, ...]
    pinned: frozenset[ModelName]
    breakers: Mapping[ModelName, Breaker]
    # of those that are kept loaded and are away: what they wait for
    away: Mapping[ModelName, str] = field(default_factory=dict)
    # its runtime does not answer
    silent: Mapping[ServiceName, Silence] = field(default_factory=dict)
    restart_hung_s: float | None = None  # a server that is silent for so long; None: waited for
    runs_as: Mapping[InstanceId, RunsAs] = field(default_factory=dict)
    # requests on their way by a route, without a lease
    passing: Mapping[InstanceId, int] = field(default_factory=dict)
