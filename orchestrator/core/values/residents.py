"""A resident is a model that occupies, or is promised, VRAM. This file owns its life."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NewType

from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import DeviceId

InstanceId = NewType("InstanceId", str)  # one life of one model: "qwen-7f3a91"


class ResidentState(StrEnum):
    RESERVED = "reserved"  # bytes promised; evictions still under way
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"  # no new leases; leaves when the last one ends
    UNLOADING = "unloading"  # the runtime has been told to stop it
    RELEASING = "releasing"  # gone, but the device has not given the bytes back yet (R3)
    STUCK = "stuck"  # the stop failed: still charged, nothing starts on top (R10)


ON_HANG = "(on_hang: restart)"  # ends the reason of one that leaves because its server hangs
USE_SEEN_LATE_S = 5.0  # looks at counters are closer together: an earlier use was seen by one

_S = ResidentState
# Leaving the table means that the bytes are free. Anything may die, so RELEASING is everywhere.
TRANSITIONS: Mapping[ResidentState, frozenset[ResidentState]] = {
    _S.RESERVED: frozenset({_S.LOADING, _S.READY}),  # READY at once: a lease of plain room
    _S.LOADING: frozenset({_S.READY, _S.UNLOADING, _S.RELEASING, _S.STUCK}),
    _S.READY: frozenset({_S.DRAINING, _S.UNLOADING, _S.RELEASING}),
    _S.DRAINING: frozenset({_S.READY, _S.UNLOADING, _S.RELEASING}),
    _S.UNLOADING: frozenset({_S.RELEASING, _S.STUCK}),
    _S.RELEASING: frozenset(),
    _S.STUCK: frozenset({_S.UNLOADING, _S.RELEASING}),
}

COMING = frozenset({_S.RESERVED, _S.LOADING})
LEAVING = frozenset({_S.UNLOADING, _S.RELEASING, _S.STUCK})
SERVING = frozenset({_S.READY, _S.DRAINING})


@dataclass(frozen=True, slots=True)
class Placement:
    """Which devices, how many bytes on each. Order matters: it is the order of the split."""

    shares: tuple[tuple[DeviceId, int], ...]

    def on(self, device: DeviceId) -> int:
        return sum([share for at, share in self.shares if at == device])

    @property
    def devices(self) -> tuple[DeviceId, ...]:
        return tuple(device for device, _ in self.shares)

    @property
    def total_bytes(self) -> int:
        return sum(share for _, share in self.shares)


class ReadyState(StrEnum):
    READY = "ready"
    STARTING = "starting"  # it answers that it loads, or does not listen yet
    BROKEN = "broken"  # it answers that it never will be ready


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a ready resident answers: us, and those who are told of it."""

    url: str
    direct: str | None = None  # where clients beyond this machine reach it; None: nowhere else

    @property
    def named(self) -> str:
        return self.direct or self.url


@dataclass(frozen=True, slots=True)
class ForNewcomer:
    """Its room is reserved for another model; all victims of that plan go together."""

    model: ModelName
    until_s: float


@dataclass(frozen=True, slots=True)
class ForUnload:
    """A caller wants it unloaded."""

    ticket: Ticket
    until_s: float


@dataclass(frozen=True, slots=True)
class ForOtherSettings:
    """Callers wait for the same model with settings that it does not run with."""

    until_s: float | None  # None: it goes only if it is idle


@dataclass(frozen=True, slots=True)
class ForIdleness:
    """It has been idle for its `ttl`. Ends with the look at it: one that is in use stays."""


# Why a resident leaves, for whom, and until when that waits for its use to end.
Leaving = ForNewcomer | ForUnload | ForOtherSettings | ForIdleness


@dataclass(frozen=True, slots=True)
class Look:
    """Its server is being asked whether it is idle, before it is told to stop."""

    number: int  # an answer to an earlier look says nothing about now
    until_s: float  # it counts as unanswered then


@dataclass(frozen=True, slots=True)
class UseAnswer:
    """What a server said when it was asked, before its stop, whether it is in use."""

    busy: bool | None  # None: it did not say, or cannot
    used: bool = False  # since it was last looked at
    unanswered: str = ""  # why it did not say, though it can


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    instance: InstanceId
    spec: ModelSpec
    placement: Placement
    state: ResidentState
    state_since_s: float
    last_used_s: float
    priority: int  # the spec's, or that of the most important wish that brought it here
    ttl_s: float | None = None
    ready_s: float | None = None
    endpoint: Endpoint | None = None
    slots: tuple[int, ...] = ()  # the tokens of each request at a time, as its server tells them
    lease_count: int = 0
    busy: bool = False  # its server works for a client that did not come through us (R13)
    use_began_s: float | None = None  # the last one
    use_gap_s: float | None = None  # running mean of the time between beginnings of uses
    leased_s: float | None = None  # when a lease on it was last granted or ended
    settled_until_s: float = 0.0  # after a switch it keeps its place against equals until then
    leaving: tuple[Leaving, ...] = ()  # it drains, or is gone, for these; none: it stays
    look: Look | None = None  # the last one before it is told to stop, under way
    # Newcomers it was asked to drain for in vain, and until when they do not ask again.
    resisted: tuple[tuple[ModelName, float], ...] = ()
    why_leaving: str = ""  # in words
    unasked: bool = False  # it came by itself, and no caller has asked for it or used it since
    unpromised: bool = False  # others started it: nobody saw to it that there is room
    silent_since_s: float | None = None  # it runs, and its server does not answer any more
    problem: str = ""  # it serves, but not as it should: said once, shown until it leaves
    key: str | None = None  # the API key whose wish brought it, and that it is charged to

    @property
    def name(self) -> ModelName:
        return self.spec.name

    @property
    def movable(self) -> bool:
        """Whether it may be asked to leave: it is ready, or loads though no caller waits for it."""
        loads_unasked = self.state is ResidentState.LOADING and self.unasked
        return self.state is ResidentState.READY or loads_unasked

    @property
    def in_use(self) -> bool:
        return self.lease_count > 0 or self.busy

    def become(self, state: ResidentState, now_s: float) -> "Resident":
        assert state in TRANSITIONS[self.state], f"{self.instance}: {self.state} -> {state}"
        look = self.look if state is ResidentState.DRAINING else None
        return replace(self, state=state, state_since_s=now_s, look=look)

    def used(self, now_s: float) -> "Resident":
        """A use begins. The mean gap between beginnings tells how likely the next one is."""
        mean_s = self.use_gap_s
        if self.use_began_s is not None:
            gap_s = max(now_s - self.use_began_s, 0.0)
            mean_s = gap_s if mean_s is None else 0.7 * mean_s + 0.3 * gap_s
        return replace(self, last_used_s=now_s, use_began_s=now_s, use_gap_s=mean_s, unasked=False)

    def touched(self, now_s: float) -> "Resident":
        """A use goes on, or has just ended."""
        return replace(self, last_used_s=now_s, unasked=False)

    def seen_in_use(self, now_s: float, *, busy: bool, used: bool) -> "Resident":
        """What its server's own counters say. One use counts once, however often it is seen."""
        if not (busy or used):
            return replace(self, busy=False) if self.busy else self
        leased = self.lease_count > 0 or (
            self.leased_s is not None and now_s - self.leased_s < USE_SEEN_LATE_S
        )
        known = self.busy or leased
        return replace(self.touched(now_s) if known else self.used(now_s), busy=busy)

    def resists(self, newcomer: ModelName, now_s: float) -> bool:
        """Whether a drain for that model was in vain a short time ago and would be again."""
        return bool(self.resisted) and self.in_use and now_s < self.resists_until_s(newcomer)

    def resists_until_s(self, newcomer: ModelName) -> float:
        return next((until_s for model, until_s in self.resisted if model == newcomer), 0.0)

    def serves(self, spec: ModelSpec) -> bool:
        """Whether the running server is what is asked for; a larger context does as well."""
        if self.spec.plain_room:
            return False
        running, wanted = self.spec.wanted, spec.wanted
        if running.context_size > wanted.context_size:
            spec = replace(spec, asked=replace(wanted, context_size=running.context_size))
        return self.spec.launches_like(spec)
