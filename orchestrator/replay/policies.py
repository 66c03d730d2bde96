"""Who leaves first, by name: the daemon's own rule, and others to compare it with."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.room.eviction import Policy, least_recently_used, least_regretted
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.messages import Effect, Event, Recovered
from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs
from orchestrator.replay.trace import VirtualDevice


class PolicyName(StrEnum):
    REGRET = "regret"  # the daemon's
    LRU = "lru"
    LARGEST = "largest"
    FEWEST = "fewest"
    ONE_AT_A_TIME = "one-at-a-time"  # a device for one model


def largest_first(resident: Resident, _now_s: float) -> float:
    """One large model before several small ones, however often it is used."""
    return 1.0 / max(resident.placement.total_bytes, 1)


def fewest_victims(_resident: Resident, _now_s: float) -> float:
    """Any model is as good as another: as few leave as will do, those that free least."""
    return 1.0


POLICIES: Mapping[PolicyName, Policy] = {
    PolicyName.REGRET: least_regretted,
    PolicyName.LRU: least_recently_used,
    PolicyName.LARGEST: largest_first,
    PolicyName.FEWEST: fewest_victims,
    PolicyName.ONE_AT_A_TIME: least_recently_used,
}


def alone(spec: ModelSpec, devices: Iterable[VirtualDevice], headroom_bytes: int) -> ModelSpec:
    """The same model, wanting the smallest device that has room for it all to itself."""
    sizes = (device.total_bytes - device.foreign_bytes - headroom_bytes for device in devices)
    large_enough = [size for size in sizes if size >= spec.footprint.device_bytes]
    if not large_enough:
        return spec
    return replace(spec, footprint=Footprint(device_bytes=min(large_enough)), span=1)


class RealScheduler:
    """The daemon's own, as a virtual machine asks it."""

    def __init__(
        self,
        specs: ModelSpecs,
        *,
        headroom_bytes: int = 0,
        policy: Policy = least_regretted,
        rules: Rules | None = None,
    ) -> None:
        ledger = Ledger(headroom_bytes=headroom_bytes)
        self._scheduler = Scheduler(specs, ledger, rules or Rules(), policy)
        self._kept = [name for name, spec in specs.items() if spec.keep_loaded]

    @property
    def hurried(self) -> bool:
        return self._scheduler.hurried

    def handle(self, event: Event, *, now_s: float) -> Sequence[Effect]:
        return self._scheduler.handle(event, now_s=now_s)

    def matters_s(self, now_s: float) -> float:
        """When the first model has been idle for its ttl; at once if one that is kept is away."""
        ledger = self._scheduler.state.ledger
        if any(ledger.resident(name) is None for name in self._kept):
            return now_s
        ends_s = (
            one.last_used_s + one.ttl_s
            for one in ledger.residents
            if one.ttl_s is not None and one.state is ResidentState.READY and not one.in_use
        )
        return min(ends_s, default=math.inf)

    def wake(self, now_s: float) -> Sequence[Effect]:
        """Time that was skipped is no time that the daemon was stopped for."""
        return self._scheduler.handle(Recovered(residents=()), now_s=now_s)


def specs_for(
    models: Mapping[ModelName, ModelSpec],
    policy: PolicyName,
    devices: Sequence[VirtualDevice],
    headroom_bytes: int,
) -> dict[ModelName, ModelSpec]:
    if policy is not PolicyName.ONE_AT_A_TIME:
        return dict(models)
    return {name: alone(spec, devices, headroom_bytes) for name, spec in models.items()}
