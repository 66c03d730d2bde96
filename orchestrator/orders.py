"""What callers order and what they get: the words between the web and the conductor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.core.room.planner import Plan
from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.messages import UnloadStatus
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.specs import ModelName, ModelSpec, Profile

WAIT_S_DEFAULT = 240.0  # below the 300 s after which n8n gives up

Layers = int | Literal["all"]  # on GPUs; the output counts as one

# One changed setting of a load, to be sent back as it is.
Suggestion = Mapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    model: str  # name or alias
    service: str | None = None  # must be the model's own, if given
    priority: int | None = None  # None: the model's
    ttl_s: float | None = None
    owner: str | None = None
    lease_s: float | None = None
    profile: Profile | None = None
    context_size: int | None = None
    gpu_layers: Layers | None = None
    cache_type: str | None = None  # of keys and values
    pin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOutcome:
    resident: Resident
    lease: Lease | None
    evicted: tuple[ModelName, ...]
    already_loaded: bool
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadOrder:
    model: str
    force: bool = False
    owner: str | None = None
    lease: LeaseId | None = None
    wait_s: float = WAIT_S_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadOutcome:
    spec: ModelSpec
    status: UnloadStatus
    freed_bytes: int
    verified: bool
    remaining_leases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomOrder:
    """Room for work that is not a model server."""

    vram_bytes: int
    owner: str
    lease_s: float
    device: str | None = None
    priority: int | None = None
    wait_s: float = WAIT_S_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomOutcome:
    lease: Lease
    resident: Resident
    evicted: tuple[ModelName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What would happen, to whom and why, without doing it."""

    spec: ModelSpec
    plan: Plan | None
    refusal: Refusal | None
    available_bytes: int
    eta_s: float | None
    already_loaded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateOrder:
    """A model of the catalogue, or a file that lies where a service may read it."""

    model: str | None = None
    file: str | None = None
    service: str | None = None  # whose files; None: the first under whose roots it lies
    mmproj: str | None = None
    gpus: int | None = None  # None: as many as the model may be spread over
    context_size: int | None = None
    slots: int | None = None
    unified_cache: bool | None = None
    cache_type: str | None = None
    ubatch: int | None = None
    gpu_layers: Layers | None = None
    flash_attention: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadOutcome:
    """What a new configuration changed at once, and what only a restart can change."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
