"""A history to be lived through again: which models there were, on what, and what was asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.core.values.specs import PRIORITY_DEFAULT, ModelName, ModelSpec
from orchestrator.core.values.vram import DeviceId, DeviceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One request: when it came, and how long its model's server took over it."""

    at_s: float
    model: ModelName
    serves_s: float
    priority: int = PRIORITY_DEFAULT
    client: int = 0  # whose it is, where a client asks again after the answer
    patience_s: float | None = None  # so long it waits for its model; None: as all others


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDevice:
    """A device as far as a plan needs it. `foreign_bytes` are other programs'."""

    id: DeviceId
    name: str
    kind: DeviceKind = DeviceKind.GPU
    total_bytes: int
    foreign_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDemand:
    """A request that was served. `waited_s` is the time until its model took it."""

    demand: Demand
    waited_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What came of a history, in figures."""

    answered: tuple[ServedDemand, ...]
    refused: Mapping[str, int]  # by code; those who left before they were served, too
    lost_s: tuple[float, ...] = ()  # what those waited who were not served
    loads: int
    evictions: int
    reload_s: float  # that models spent loading
    out_of_memory: int = 0  # loads that found less than they needed
    lasted_s: float = 0.0
    loaded_s: float = 0.0  # of all models together, ready

    @property
    def asked(self) -> int:
        return len(self.answered) + sum(self.refused.values())

    @property
    def waits_s(self) -> list[float]:
        """Of all, in order: who left without an answer has waited too."""
        return sorted([*(one.waited_s for one in self.answered), *self.lost_s])

    @property
    def models_loaded(self) -> float:
        """On average."""
        return self.loaded_s / self.lasted_s if self.lasted_s else 0.0


def at_quantile(ordered: list[float], share: float) -> float:
    """Of numbers in order, the least one that so great a share does not exceed. 0 if none is."""
    if not ordered:
        return 0.0
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    devices: tuple[VirtualDevice, ...]
    headroom_bytes: int
    models: Mapping[ModelName, ModelSpec]
    demands: tuple[Demand, ...]  # in order
    was: Tally | None = None  # what came of it when it happened
    undescribed: Mapping[str, int] = field(default_factory=dict)  # asked for, and no model of it
    not_kept: int = 0  # requests that the daemon had no record of
