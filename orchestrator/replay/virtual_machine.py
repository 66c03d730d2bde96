"""A machine in virtual time: devices that hold bytes, servers that load and serve, and a clock that
jumps to whatever happens next. Who decides is asked by events and answers with effects, as in the
daemon; nothing here knows why.
"""

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Protocol

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.leases import LeaseId, LeaseKind
from orchestrator.core.values.messages import (
    AskUse,
    Check,
    Checked,
    Deny,
    Effect,
    Event,
    Evict,
    Grant,
    Load,
    Loaded,
    LoadFailed,
    Released,
    Remember,
    Requested,
    Sampled,
    Stopped,
    Ticked,
    UseAnswered,
    Withdrawn,
)
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Resident,
    ResidentState,
    UseAnswer,
)
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import Device, DeviceId, DeviceState, Reading
from orchestrator.replay.trace import Demand, ServedDemand, Tally, VirtualDevice

TICK_S = 1.0  # as in the daemon, while a request waits or a resident moves
STOP_S = 0.3  # from the order to a server's end
PATIENCE_S = 600.0  # what a client waits for its model: `gateway.wait_s`, unless it is changed
GAVE_UP = "gave_up"


class Decider(Protocol):
    """The real scheduler, or a model of another program's."""

    @property
    def hurried(self) -> bool:
        """Whether a wish waits for devices."""

    def handle(self, event: Event, *, now_s: float) -> Sequence[Effect]: ...

    def matters_s(self, now_s: float) -> float:
        """When time matters next to it while nothing happens; infinity if it never does."""

    def wake(self, now_s: float) -> Sequence[Effect]:
        """Nothing has happened for a while, and no tick came."""


@dataclass(slots=True)
class _Server:
    """`held` is charged from the start of its load."""

    resident: Resident
    held: Mapping[DeviceId, int]
    ready_s: float | None = None
    stops: bool = False
    serving: int = 0
    waiting: deque["_Request"] = field(default_factory=deque)


@dataclass(slots=True)
class _Request:
    demand: Demand
    ticket: Ticket
    asked_s: float
    lease: LeaseId | None = None


Next = Callable[[Demand, float], Demand | None]


class VirtualMachine:
    def __init__(
        self,
        devices: Iterable[VirtualDevice],
        decider: Decider,
        models: Mapping[ModelName, ModelSpec],
        *,
        slots: int | None = None,
        takes: Mapping[ModelName, int] | None = None,
        patience_s: float = PATIENCE_S,
        then: Next | None = None,
    ) -> None:
        """`slots` are what a server serves at a time (None: all), `takes` what models really need,
        where that is not what was planned, `then` what a client asks when it has its answer.
        """
        self._devices = tuple(devices)
        self._decider = decider
        self._models = models
        self._slots = slots
        self._takes = takes or {}
        self._patience_s = patience_s
        self._then = then
        self._now_s = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._tickets = count(1)
        self._servers: dict[InstanceId, _Server] = {}
        self._waiting: dict[Ticket, _Request] = {}  # not granted yet
        self._open = 0  # requests that are to come, wait or are served
        self._tick_s: float | None = None  # when the next one is
        self._ticked_s = 0.0
        self._samples = False
        self._answered: list[ServedDemand] = []
        self._refused: Counter[str] = Counter()
        self._lost_s: list[float] = []
        self._loads = self._evictions = self._out_of_memory = 0
        self._reload_s = self._loaded_s = 0.0

    def live(self, demands: Iterable[Demand]) -> Tally:
        """Until each of them, and what follows by `then`, is answered or refused."""
        for demand in demands:
            self._expect(demand)
        began_s = self._now_s = self._agenda[0][0] if self._agenda else 0.0
        self._tell(Sampled(self._readings(), {}))
        self._tell(Ticked())
        while self._open and self._agenda:
            self._now_s, _, act = heapq.heappop(self._agenda)
            act()
        for server in self._servers.values():
            self._count_loaded(server)
        return Tally(
            answered=tuple(self._answered),
            refused=dict(self._refused),
            lost_s=tuple(self._lost_s),
            loads=self._loads,
            evictions=self._evictions,
            reload_s=self._reload_s,
            out_of_memory=self._out_of_memory,
            lasted_s=self._now_s - began_s,
            loaded_s=self._loaded_s,
        )

    # --- time --------------------------------------------------------------------------------

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (max(at_s, self._now_s), next(self._order), act))

    def _tell(self, event: Event) -> None:
        self._perform_all(self._decider.handle(event, now_s=self._now_s))
        self._plan_tick()

    def _plan_tick(self) -> None:
        """Every second while a request waits or a resident moves; else when time matters."""
        at_s = self._now_s + TICK_S
        if not self._waiting and not self._decider.hurried:
            at_s = max(at_s, self._decider.matters_s(self._now_s))
        if at_s < (math.inf if self._tick_s is None else self._tick_s):
            self._tick_s = at_s
            self._at(at_s, partial(self._tick, at_s))

    def _tick(self, at_s: float) -> None:
        if at_s != self._tick_s:
            return  # another one was sooner
        self._tick_s = None
        if self._now_s - self._ticked_s > TICK_S:
            self._perform_all(self._decider.wake(self._now_s))
        self._ticked_s = self._now_s
        self._tell(Ticked())
        if self._decider.hurried:
            self._sample_soon()

    def _sample_soon(self) -> None:
        if not self._samples:
            self._samples = True
            self._at(self._now_s, self._sample)

    def _sample(self) -> None:
        self._samples = False
        held = {instance: server.held for instance, server in self._running()}
        self._tell(Sampled(self._readings(), held))

    # --- requests ----------------------------------------------------------------------------

    def _expect(self, demand: Demand) -> None:
        self._open += 1
        self._at(demand.at_s, lambda: self._arrive(demand))

    def _arrive(self, demand: Demand) -> None:
        request = _Request(demand, Ticket(next(self._tickets)), self._now_s)
        self._waiting[request.ticket] = request
        patience_s = self._patience_s if demand.patience_s is None else demand.patience_s
        ends_s = self._now_s + patience_s
        self._tell(
            Requested(
                ticket=request.ticket,
                spec=self._models[demand.model],
                priority=demand.priority,
                hold=LeaseKind.REQUEST,
                deadline_s=ends_s,
            )
        )
        if request.ticket in self._waiting:
            self._at(ends_s, lambda: self._give_up(request))

    def _give_up(self, request: _Request) -> None:
        if self._waiting.pop(request.ticket, None) is not None:
            self._refuse(request, GAVE_UP)
            self._tell(Withdrawn(request.ticket))

    def _refuse(self, request: _Request, code: str) -> None:
        self._refused[code] += 1
        self._lost_s.append(self._now_s - request.asked_s)
        self._end(request)

    def _end(self, request: _Request) -> None:
        self._open -= 1
        following = self._then(request.demand, self._now_s) if self._then else None
        if following is not None:
            self._expect(following)

    def _enter(self, server: _Server, request: _Request) -> None:
        if self._slots is not None and server.serving >= self._slots:
            server.waiting.append(request)
            return
        server.serving += 1
        waited_s = self._now_s - request.asked_s
        self._at(
            self._now_s + request.demand.serves_s, lambda: self._leave(server, request, waited_s)
        )

    def _leave(self, server: _Server, request: _Request, waited_s: float) -> None:
        server.serving -= 1
        self._answered.append(
            ServedDemand(demand=request.demand, waited_s=waited_s, ended_s=self._now_s)
        )
        self._end(request)
        if server.waiting:
            self._enter(server, server.waiting.popleft())
        if request.lease is not None:
            self._tell(Released(request.lease))

    # --- effects -----------------------------------------------------------------------------

    def _perform_all(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Grant(ticket=ticket, resident=resident, lease=lease):
                request = self._waiting.pop(ticket, None)
                if request is not None:
                    request.lease = lease.id if lease else None
                    self._enter(self._servers[resident.instance], request)
            case Deny(ticket, refusal):
                request = self._waiting.pop(ticket, None)
                if request is not None:
                    self._refuse(request, str(refusal.code))
            case Check(spec):
                self._at(self._now_s, lambda: self._tell(Checked(spec.name, None)))
            case Remember(resident) if resident.state is ResidentState.RESERVED:
                self._sample_soon()
            case AskUse(look, residents):
                answers = {one.instance: UseAnswer(busy=False) for one in residents}
                self._at(self._now_s, lambda: self._tell(UseAnswered(look, answers)))
            case Load(resident):
                self._load(resident)
            case Evict(resident):
                self._stop(resident)
            case _:
                pass  # what is written down, learned or said

    def _load(self, resident: Resident) -> None:
        shares = dict(resident.placement.shares)
        needed = self._takes.get(resident.name)
        if needed is not None:
            shares = {resident.placement.devices[0]: needed}
        for device in self._devices:
            held = sum(server.held.get(device.id, 0) for _, server in self._running())
            if device.foreign_bytes + held + shares.get(device.id, 0) > device.total_bytes:
                self._out_of_memory += 1
                failing = self._servers[resident.instance] = _Server(resident, {})
                half_s = resident.spec.load_s / 2  # it notices on its way
                self._at(self._now_s + half_s, partial(self._fail, failing, device))
                return
        server = self._servers[resident.instance] = _Server(resident, shares)
        self._at(self._now_s + resident.spec.load_s, lambda: self._loaded(server))

    def _fail(self, server: _Server, device: VirtualDevice) -> None:
        if server.stops:
            return  # its end is told when it has come
        del self._servers[server.resident.instance]
        failure = Failure(
            reason=FailureReason.OUT_OF_MEMORY, detail=f"{device.id} is out of memory"
        )
        self._tell(LoadFailed(server.resident.instance, failure))

    def _loaded(self, server: _Server) -> None:
        if server.stops:
            return
        load_s = server.resident.spec.load_s
        server.ready_s = self._now_s
        self._loads += 1
        self._reload_s += load_s
        self._sample()
        self._tell(
            Loaded(
                instance=server.resident.instance,
                endpoint=Endpoint("virtual:"),
                load_s=load_s,
                measured=server.held,
            )
        )

    def _stop(self, resident: Resident) -> None:
        server = self._servers.get(resident.instance)
        if server is None or server.stops:
            return
        server.stops = True
        self._at(self._now_s + STOP_S, lambda: self._stopped(server))

    def _stopped(self, server: _Server) -> None:
        self._evictions += 1
        self._count_loaded(server)
        del self._servers[server.resident.instance]
        self._tell(Stopped(server.resident.instance))
        self._sample_soon()

    def _count_loaded(self, server: _Server) -> None:
        if server.ready_s is not None:
            self._loaded_s += self._now_s - server.ready_s

    # --- devices -----------------------------------------------------------------------------

    def _running(self) -> Iterable[tuple[InstanceId, _Server]]:
        return self._servers.items()

    def _readings(self) -> tuple[Reading, ...]:
        return tuple(
            Reading(
                device=Device(id=device.id, name=device.name, kind=device.kind),
                read_s=self._now_s,
                state=DeviceState.OK,
                total_bytes=device.total_bytes,
                free_bytes=device.total_bytes
                - device.foreign_bytes
                - sum(server.held.get(device.id, 0) for _, server in self._running()),
            )
            for device in self._devices
        )
