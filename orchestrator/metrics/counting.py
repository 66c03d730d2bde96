"""What happens in the scheduler, counted as it happens: from events and effects alone."""

from collections.abc import Callable, Mapping, Sequence

from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.messages import (
    Checked,
    Deny,
    Died,
    Effect,
    Event,
    Evict,
    Forget,
    Grant,
    Loaded,
    LoadFailed,
    Recovered,
    Remember,
    Requested,
    Sampled,
    StopFailed,
    Stopped,
    UseSeen,
    Withdrawn,
)
from orchestrator.core.values.residents import (
    ON_HANG,
    ForIdleness,
    ForNewcomer,
    ForOtherSettings,
    ForUnload,
    InstanceId,
    Resident,
)
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import DeviceState
from orchestrator.metrics.families import READY, Families
from orchestrator.ports import Clock

FOR_OTHERS = frozenset({"room", "due"})


class Counting:
    """Belongs to the loop of the scheduler; keeps only what is under way."""

    def __init__(
        self,
        families: Families,
        *,
        runtimes: Callable[[], Mapping[ServiceName, str]],
        find: Callable[[InstanceId], Resident | None],
        clock: Clock,
    ) -> None:
        self._count = families
        self._runtimes = runtimes
        self._find = find
        self._clock = clock
        self._lives: dict[InstanceId, Resident] = {}
        self._asked_s: dict[Ticket, float] = {}  # of wishes that have no answer yet
        self._ended_s: dict[InstanceId, float] = {}  # servers whose bytes are on their way back
        self._told: set[InstanceId] = set()  # to leave
        self._drained: set[ModelName] = set()  # asked to finish what they serve, for a due wish
        self._displaced: set[ModelName] = set()  # left for others, and were not back since
        self._uses_s: dict[InstanceId, float] = {}  # when the last use began that was counted

    def observe(self, event: Event, effects: Sequence[Effect]) -> None:
        now_s = self._clock()
        self._happened(event, now_s)
        for effect in effects:
            self._follows(effect, now_s)

    # --- events ------------------------------------------------------------------------------

    def _happened(self, event: Event, now_s: float) -> None:
        match event:
            case Requested(ticket=ticket):
                self._asked_s[ticket] = now_s
            case Withdrawn(ticket):
                self._waited(ticket, "withdrawn", now_s)
            case Loaded():
                self._loaded(event)
            case LoadFailed(instance, failure):
                self._failed_to_load(instance, failure, now_s)
            case Checked(model, failure) if failure is not None:
                self._count.loads.labels(model, failure.reason).inc()
            case Died(instance, failure):
                if (life := self._lives.get(instance)) is not None:
                    self._count.deaths.labels(life.name, failure.reason).inc()
                self._ended_s[instance] = now_s
            case Stopped(instance):
                self._stopped(instance, "verified")
                self._ended_s[instance] = now_s
            case StopFailed(instance):
                self._stopped(instance, "stuck")
            case _:
                self._seen(event)

    def _seen(self, event: Event) -> None:
        match event:
            case Sampled(readings):
                for reading in readings:
                    if reading.state is not DeviceState.OK:
                        self._count.read_errors.labels(reading.device.id, reading.state).inc()
            case Recovered():
                self._adopted(event)
            case UseSeen(instance=instance, used=True):
                if (resident := self._find(instance)) is not None:
                    self._used(resident)
            case _:
                pass

    def _loaded(self, event: Loaded) -> None:
        life = self._lives.get(event.instance)
        if life is None or life.spec.plain_room:
            return
        self._count.loads.labels(life.name, READY).inc()
        self._count.load_duration.labels(life.name).observe(event.load_s)
        if life.name in self._displaced:
            self._displaced.discard(life.name)
            self._count.reload.labels(life.name).inc(event.load_s)
        promised = sum(life.placement.on(device) for device in event.measured or {})
        if promised and event.measured:
            error = sum(event.measured.values()) / promised - 1
            self._count.footprint_error.labels(life.spec.footprint.provenance).observe(error)

    def _failed_to_load(self, instance: InstanceId, failure: Failure, now_s: float) -> None:
        if (life := self._lives.get(instance)) is not None and not life.spec.plain_room:
            self._count.loads.labels(life.name, failure.reason).inc()
        self._ended_s[instance] = now_s

    def _stopped(self, instance: InstanceId, result: str) -> None:
        if (life := self._lives.get(instance)) is not None:
            runtime = self._runtimes().get(life.spec.service, "none")
            self._count.stops.labels(runtime, result).inc()

    def _adopted(self, event: Recovered) -> None:
        for resident in event.residents:
            if not resident.spec.plain_room:
                result = "unseen" if resident.instance in event.unseen else "adopted"
                self._count.adoptions.labels(result).inc()
                self._lives[resident.instance] = resident

    # --- effects -----------------------------------------------------------------------------

    def _follows(self, effect: Effect, now_s: float) -> None:
        match effect:
            case Grant(ticket=ticket, resident=resident, already_loaded=already):
                self._waited(ticket, "granted", now_s)
                if already and not resident.spec.plain_room:
                    self._used(resident)
            case Deny(ticket, refusal):
                if self._waited(ticket, "refused", now_s):
                    self._count.refusals.labels(refusal.code).inc()
            case Remember(resident):
                self._lives[resident.instance] = resident
            case Forget(instance):
                self._gone(instance, now_s)
            case Evict(resident, force):
                self._evicted(resident, force=force)
            case Decide(kind=DecisionKind.DRAIN, model=model) if model is not None:
                self._drained.add(model)
            case _:
                pass

    def _used(self, resident: Resident) -> None:
        """A use that has begun since the load, and did not wait for another one."""
        began_s = resident.use_began_s or 0.0
        if began_s > self._uses_s.get(resident.instance, resident.ready_s or 0.0):
            self._uses_s[resident.instance] = began_s
            self._count.reload_avoided.labels(resident.name).inc(resident.spec.load_s)

    def _waited(self, ticket: Ticket, outcome: str, now_s: float) -> bool:
        """Whether it was a wish that had no answer yet."""
        asked_s = self._asked_s.pop(ticket, None)
        if asked_s is not None:
            self._count.wait.labels(outcome).observe(now_s - asked_s)
        return asked_s is not None

    def _gone(self, instance: InstanceId, now_s: float) -> None:
        life = self._lives.pop(instance, None)
        ended_s = self._ended_s.pop(instance, None)
        self._told.discard(instance)
        self._uses_s.pop(instance, None)
        if life is not None:
            self._drained.discard(life.name)
        if life is None or ended_s is None or life.spec.plain_room:
            return
        for device in life.placement.devices:
            self._count.release.labels(device).observe(now_s - ended_s)

    def _evicted(self, resident: Resident, *, force: bool) -> None:
        """A stop that is tried again is told a second time, and counted once."""
        if resident.instance in self._told:
            return
        self._told.add(resident.instance)
        reason = why_evicted(resident, force=force, drained=resident.name in self._drained)
        self._count.evictions.labels(resident.name, reason).inc()
        if reason in FOR_OTHERS:
            self._displaced.add(resident.name)


def why_evicted(resident: Resident, *, force: bool, drained: bool) -> str:
    """The first cause for which it was to leave."""
    match next(iter(resident.leaving), None):
        case ForNewcomer():
            return "due" if drained else "room"
        case ForIdleness():
            return "ttl"
        case ForOtherSettings():
            return "settings"
        case ForUnload():
            return "operator"
        case None if force and resident.why_leaving.endswith(ON_HANG):
            return "hang"
        case None:
            return "operator" if force else "abandoned"
