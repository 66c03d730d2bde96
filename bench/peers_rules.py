"""Models of what other programs document and do about models that do not all fit.

They are written after their sources, as read in August 2026, and drive the same virtual machine as
our scheduler: what differs is who is loaded, who leaves and who waits. They are no measurements of
those programs. All are told the exact size of every model, and nothing of theirs but the rule costs
any time.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.messages import (
    Deny,
    Effect,
    Event,
    Evict,
    Grant,
    Load,
    Loaded,
    LoadFailed,
    Released,
    Requested,
    Stopped,
    Withdrawn,
)
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import InstanceId, Placement, Resident, ResidentState
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.tickets import Ticket
from orchestrator.replay.trace import VirtualDevice


@dataclass
class Copy:
    """A server of a model: `waiting` are those who go in when it is ready."""

    resident: Resident
    ready: bool = False
    stopping: bool = False
    used_s: float = 0.0
    in_flight: set[LeaseId] = field(default_factory=set)
    waiting: list[Requested] = field(default_factory=list)


class Rule:
    """What all of them have in common: copies, a queue in the order of arrival, one device."""

    hurried = False

    def __init__(self, device: VirtualDevice) -> None:
        self._device = device
        self._copies: dict[ModelName, Copy] = {}
        self._queue: list[Requested] = []
        self._count = 0
        self._now_s = 0.0
        self._effects: list[Effect] = []

    def matters_s(self, _now_s: float) -> float:
        """Time matters to none of them."""
        return math.inf

    def wake(self, _now_s: float) -> list[Effect]:
        """Nor that it has passed."""
        return []

    def handle(self, event: Event, *, now_s: float) -> list[Effect]:
        self._now_s = now_s
        self._effects = []
        match event:
            case Requested():
                self.asked(event)
            case Withdrawn(ticket):
                self._withdraw(ticket)
            case Released(lease):
                for copy in self._copies.values():
                    copy.in_flight.discard(lease)
                self.moved()
            case Loaded(instance=instance):
                copy = self._copy_of(instance)
                copy.ready = True
                for request in copy.waiting:
                    self.grant(copy, request)
                copy.waiting.clear()
                self.moved()
            case LoadFailed(instance, failure):
                self._fail(self._copy_of(instance), failure)
                self.moved()
            case Stopped(instance):
                del self._copies[self._copy_of(instance).resident.name]
                self.moved()
        return self._effects

    # --- what a rule says ------------------------------------------------------------------------

    def asked(self, request: Requested) -> None:
        raise NotImplementedError

    def moved(self) -> None:
        """Something ended, came up or is gone: who may go on?"""
        raise NotImplementedError

    # --- what it does ----------------------------------------------------------------------------

    def grant(self, copy: Copy, request: Requested) -> None:
        lease_id = LeaseId(f"lease-{request.ticket}")
        copy.in_flight.add(lease_id)
        copy.used_s = self._now_s
        lease = Lease(
            id=lease_id,
            ticket=request.ticket,
            instance=copy.resident.instance,
            model=copy.resident.name,
            kind=LeaseKind.REQUEST,
            owner=None,
            priority=request.priority,
            granted_s=self._now_s,
            expires_s=None,
        )
        self._effects.append(
            Grant(
                ticket=request.ticket,
                resident=copy.resident,
                lease=lease,
                evicted=(),
                already_loaded=True,
            )
        )

    def load(self, spec: ModelSpec, waiting: Iterable[Requested]) -> Copy:
        self._count += 1
        resident = Resident(
            instance=InstanceId(f"{spec.name}-{self._count}"),
            spec=spec,
            placement=Placement(((self._device.id, spec.footprint.device_bytes),)),
            state=ResidentState.LOADING,
            state_since_s=self._now_s,
            last_used_s=self._now_s,
            priority=spec.priority,
        )
        copy = self._copies[spec.name] = Copy(resident, used_s=self._now_s, waiting=[*waiting])
        self._effects.append(Load(resident))
        return copy

    def stop(self, copy: Copy) -> None:
        copy.stopping = True
        self._effects.append(Evict(copy.resident))

    def _copy_of(self, instance: InstanceId) -> Copy:
        return next(one for one in self._copies.values() if one.resident.instance == instance)

    def _withdraw(self, ticket: Ticket) -> None:
        self._queue = [one for one in self._queue if one.ticket != ticket]
        for copy in self._copies.values():
            copy.waiting = [one for one in copy.waiting if one.ticket != ticket]
        self.moved()

    def _fail(self, copy: Copy, failure: Failure) -> None:
        """Who waits for a load that fails hears so, and is not served by another try."""
        del self._copies[copy.resident.name]
        for request in copy.waiting:
            refusal = Refusal(code=RefusalCode.LOAD_FAILED, detail=failure.detail, remedy="")
            self._effects.append(Deny(request.ticket, refusal))

    def _taken(self, model: ModelName) -> list[Requested]:
        """Those in the queue who want the model, out of the queue."""
        taken = [one for one in self._queue if one.spec.name == model]
        self._queue = [one for one in self._queue if one.spec.name != model]
        return taken


class OneAtATime(Rule):
    """llama-swap with its models in one group, as without `groups` (internal/router/scheduler/
    fifo.go): one model at a time; who asks for the one that runs goes in at once, who asks for
    another waits until no request is under way on it. Its limit of 10 requests a model is off.
    """

    def asked(self, request: Requested) -> None:
        if not self._admit(request):
            self._queue.append(request)

    def moved(self) -> None:
        self._queue = [one for one in self._queue if not self._admit(one)]

    def _admit(self, request: Requested) -> bool:
        name = request.spec.name
        copy = self._copies.get(name)
        others = [one for other, one in self._copies.items() if other != name]
        if copy is not None and not copy.stopping:
            if copy.ready:
                self.grant(copy, request)
            else:
                copy.waiting.append(request)
            return True
        if any(one.in_flight or not one.ready for one in others):
            return False
        for one in others:
            if not one.stopping:
                self.stop(one)
        if self._copies:
            return False  # it comes up when they are gone
        self.load(request.spec, [request])
        return True


class LruByCount(Rule):
    """llama-server's router with `--models-max N` (tools/server/server-models.cpp): at most N
    models, whatever they take; models that are wanted stand in line and are loaded one by one; the
    idle model that was not used for longest leaves, unless it is wanted itself.
    """

    def __init__(self, device: VirtualDevice, models_max: int) -> None:
        super().__init__(device)
        self._models_max = models_max

    def asked(self, request: Requested) -> None:
        copy = self._copies.get(request.spec.name)
        if copy is not None and copy.ready and not copy.stopping:
            self.grant(copy, request)
        elif copy is not None and not copy.stopping:
            copy.waiting.append(request)
        else:
            self._queue.append(request)
            self.moved()

    def moved(self) -> None:
        if not self._queue:
            return
        self._make_room()
        if any(not one.ready for one in self._copies.values()):
            return  # one load after another
        wanted = self._queue[0].spec
        if wanted.name not in self._copies and len(self._copies) < self._models_max:
            self.load(wanted, self._taken(wanted.name))

    def _make_room(self) -> None:
        wanted = {one.spec.name for one in self._queue}
        stopping = sum(one.stopping for one in self._copies.values())
        free = self._models_max - len(self._copies) + stopping
        while free < len(wanted):
            idle = [
                copy
                for name, copy in self._copies.items()
                if copy.ready and not copy.stopping and not copy.in_flight and name not in wanted
            ]
            if not idle:
                return
            self.stop(min(idle, key=lambda one: one.used_s))
            free += 1


class FifoByBytes(Rule):
    """Ollama's scheduler (server/sched.go): who wants a model that is not loaded stands in line,
    and the first in line blocks the others. It is loaded if it takes at most 80 % of what is free,
    or if none is loaded; else an idle model leaves, the first by name, or where all are busy the
    first by name as soon as it is idle, while new requests for it still go in. Three models a GPU.
    """

    def __init__(self, device: VirtualDevice, models_max: int = 3) -> None:
        super().__init__(device)
        self._models_max = models_max
        self._leaving: ModelName | None = None

    def asked(self, request: Requested) -> None:
        copy = self._copies.get(request.spec.name)
        if copy is not None and not copy.stopping:
            self._use(copy, request)
        else:
            self._queue.append(request)
            self.moved()

    def moved(self) -> None:
        while self._queue and self._schedule(self._queue[0]):
            del self._queue[0]

    def _schedule(self, request: Requested) -> bool:
        copy = self._copies.get(request.spec.name)
        if copy is not None and copy.stopping:
            return False
        if copy is not None:
            self._use(copy, request)
            return True
        if self._leaving in self._copies:
            leaving = self._copies[self._leaving]
            if leaving.ready and not leaving.in_flight and not leaving.stopping:
                self.stop(leaving)
            return False
        held = sum(one.resident.placement.total_bytes for one in self._copies.values())
        free = self._device.total_bytes - held
        fits = request.spec.footprint.device_bytes <= free * 80 // 100
        if not self._copies or (fits and len(self._copies) < self._models_max):
            self.load(request.spec, [request])
            return True
        self._leaving = self._victim()
        copy = self._copies[self._leaving]
        if copy.ready and not copy.in_flight:
            self.stop(copy)
        return False

    def _victim(self) -> ModelName:
        named = sorted(self._copies)
        idle = [name for name in named if self._copies[name].ready]
        idle = [name for name in idle if not self._copies[name].in_flight]
        return (idle or named)[0]

    def _use(self, copy: Copy, request: Requested) -> None:
        if copy.ready:
            self.grant(copy, request)
        else:
            copy.waiting.append(request)
