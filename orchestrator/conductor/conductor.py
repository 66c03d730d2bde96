"""The imperative shell round the scheduler: carries out effects, reports what came of them.

The scheduler decides; the conductor acts. Only `tell` calls `Scheduler.handle`, and `handle`
cannot await: whatever happens meanwhile is told afterwards, as an event.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar, assert_never

from orchestrator.catalogue.learned import Experience
from orchestrator.conductor.callers import Callers, ended_by, given_by
from orchestrator.conductor.history import History
from orchestrator.conductor.journal import Journal
from orchestrator.conductor.lives import Lives
from orchestrator.conductor.preflight import Preflight
from orchestrator.conductor.sensors import Sensors
from orchestrator.conductor.strange import Strange
from orchestrator.core.life.grants import shutting_down
from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.life.survey import survey
from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import (
    AskUse,
    Check,
    Deny,
    DropLease,
    Effect,
    Event,
    Evict,
    Finish,
    Forget,
    ForgetPin,
    Grant,
    KeepLease,
    Learn,
    Load,
    Released,
    Remember,
    Requested,
    SavePin,
    Uncheck,
    UnloadRequested,
    Withdrawn,
)
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import ModelSpec, ServiceName
from orchestrator.core.values.tickets import Ticket
from orchestrator.errors import Defect, Denied
from orchestrator.ports import Clock, Devices, Drivers, Routes, Running
from orchestrator.records import Memory, Operation, Registry
from orchestrator.wall import WALL

log = logging.getLogger("orchestrator")

T = TypeVar("T")

Watcher = Callable[[Event, Sequence[Effect]], None]

NOTE_S = 0.1  # a burst of events is one change to those who watch
SNAPSHOT_AGE_S_MAX = 0.25  # waiting times in a status are at most so old


class Conductor:
    def __init__(
        self,
        *,
        scheduler: Scheduler,
        devices: Devices,
        drivers: Mapping[ServiceName, Drivers],
        registry: Registry,
        history: History,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        experience: Experience,
        routes: Routes,
    ) -> None:
        self.scheduler = scheduler
        scheduler.state.believe = experience.believed
        self.drivers = drivers
        self.registry = registry
        self.history = history
        self.clock = clock
        self._tasks = tasks
        self._experience = experience
        self._routes = routes
        # Tickets name leases, and leases outlive the daemon: numbers are not used again.
        self._tickets = itertools.count(int(clock() * 1000))
        self._end: Callable[[], None] | None = None
        self._watchers: list[Watcher] = []
        self.defect: Defect | None = None
        self.running: dict[InstanceId, Running] = {}
        self._preflight = Preflight(drivers, self._spawn, self.tell)
        self._snapshot: Snapshot | None = None
        self._noting: asyncio.TimerHandle | None = None
        self.journal = Journal(registry, history, clock, self._spawn)
        self._wishes: Callers[Grant] = Callers(self.journal, self._spawn)
        self._unloads: Callers[Finish] = Callers(self.journal, self._spawn)
        self.strange = Strange()
        self.sensors = Sensors(
            devices=devices,
            drivers=drivers,
            scheduler=scheduler,
            running=self.running,
            routes=routes,
            tell=self.tell,
            clock=clock,
            strange=self.strange,
        )
        self.lives = Lives(
            drivers=drivers,
            running=self.running,
            state=scheduler.state,
            sensors=self.sensors,
            journal=self.journal,
            experience=experience,
            clock=clock,
            tell=self.tell,
            spawn=self._spawn,
        )

    # --- callers -------------------------------------------------------------------------------

    def next_ticket(self) -> Ticket:
        return Ticket(next(self._tickets))

    def wish(self, wanted: Requested) -> asyncio.Future[Grant]:
        """The grant, when it comes; or Denied."""
        answer = self._wishes.expect(wanted.ticket)
        self.tell(wanted)
        return answer

    def unload(self, wanted: UnloadRequested) -> asyncio.Future[Finish]:
        """How the unload ended, when it has; or Denied."""
        answer = self._unloads.expect(wanted.ticket)
        self.tell(wanted)
        return answer

    def withdraw(self, ticket: Ticket) -> None:
        """The caller left. The grant may have landed before it woke: the scheduler knows which."""
        self._wishes.forget(ticket)
        self._unloads.forget(ticket)
        self.tell(Withdrawn(ticket))

    def disown(self, ticket: Ticket) -> None:
        """The caller left and its load goes on: what the wish was to hold, or was given, does not.

        The answer still comes, for those who look the load up.
        """
        self.tell(Withdrawn(ticket, load_goes_on=True))

    def end_waiting(self, ended: Callable[[str], bool], error: Callable[[str], Exception]) -> None:
        """Wishes of keys that have ended leave the line, whoever still waits for them."""
        for wish in tuple(self.scheduler.state.queue.wishes()):
            key = wish.request.key
            if key is not None and ended(key):
                self._wishes.end(wish.request.ticket, error(key))
                self.tell(Withdrawn(wish.request.ticket))

    @asynccontextmanager
    async def lease(
        self,
        spec: ModelSpec,
        *,
        priority: int | None = None,
        deadline_s: float | None = None,
        key: str | None = None,
        bounds: tuple[KeyBound, ...] = (),
    ) -> AsyncIterator[Grant]:
        """Hold `spec` ready for the length of the block, loading it first if need be. Raise Denied;
        also at the deadline.
        """
        ticket = self.next_ticket()
        wanted = Requested(
            ticket=ticket,
            spec=spec,
            priority=spec.priority if priority is None else priority,
            hold=LeaseKind.REQUEST,
            deadline_s=deadline_s,
            key=key,
            bounds=bounds,
        )
        try:
            granted = await self.wish(wanted)
        except asyncio.CancelledError:
            self.withdraw(ticket)
            raise
        assert granted.lease is not None
        try:
            yield granted
        finally:
            self.tell(Released(granted.lease.id))

    def snapshot(self) -> Snapshot:
        """The whole state, from memory."""
        now_s = self.clock()
        state = self.scheduler.state
        fresh = (
            self._snapshot is not None
            and self._snapshot.version == state.ledger.version
            and now_s - self._snapshot.now_s < SNAPSHOT_AGE_S_MAX
        )
        if self._snapshot is None or not fresh:
            here = [resident.instance for resident in state.ledger.residents]
            passing = {one: count for one in here if (count := self._routes.under_way(one))}
            running = self.lives.running
            runs_as = {one: running[one].handle.runs_as for one in here if one in running}
            self._snapshot = replace(survey(state, now_s), passing=passing, runs_as=runs_as)
        return self._snapshot

    # --- events in, effects out ----------------------------------------------------------------

    def end_on_defect(self, end: Callable[[], None]) -> None:
        """Have the daemon ended when the scheduler breaks off; without it, that is raised."""
        self._end = end

    def watch(self, watcher: Watcher) -> None:
        """Have it hear every event with what followed from it, at once and in order."""
        self._watchers.append(watcher)

    def order(self, event: Event) -> None:
        """Tell what a caller wants at once. Raise Denied where it may not have been taken."""
        self.tell(event)
        if self.defect is not None:
            raise Denied(shutting_down())

    def tell(self, event: Event) -> None:
        """Nothing is told any more after a defect: the state may be half changed."""
        if self.defect is None:
            try:
                self._tell(event)
            except Exception as error:
                if self._end is None:
                    raise
                self.defect = Defect(event, error)
                log.critical("%s", self.defect, exc_info=error)
                self._end()
        if self.defect is not None:
            self._wishes.refuse_all(shutting_down())
            self._unloads.refuse_all(shutting_down())

    def _tell(self, event: Event) -> None:
        ledger = self.scheduler.state.ledger
        version = ledger.version
        self.scheduler.state.ahead_s = WALL.ahead_s
        effects = self.scheduler.handle(event, now_s=self.clock())
        if ledger.version != version:
            self._routes.follow(ledger.residents)  # first: a victim is asked with its way closed
        for effect in effects:
            self._perform(effect)
        for watcher in self._watchers:
            with self.strange.noted("watching what happens"):
                watcher(event, effects)
        if self.scheduler.hurried:
            self.sensors.hasten()
        if ledger.version != version and self._noting is None:
            self._noting = asyncio.get_running_loop().call_later(NOTE_S, self._note)

    def _note(self) -> None:
        self._noting = None
        if self.defect is None:
            self.history.note(self.snapshot())

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Grant(ticket=ticket):
                self._wishes.tell(ticket, effect, given_by(effect))
            case Finish(ticket=ticket):
                self._unloads.tell(ticket, effect, ended_by(effect))
            case Deny(ticket, refusal):
                self._wishes.refuse(ticket, refusal)
                self._unloads.refuse(ticket, refusal)
            case Remember(resident):
                self.lives.write(resident)
            case Forget(instance):
                self._forget(instance)
            case Check() | Uncheck():
                self._preflight.perform(effect)
            case Load(resident):
                self.lives.load(resident)
            case AskUse():
                self.lives.ask_use(effect)
            case Evict():
                self.lives.evict(effect)
            case KeepLease() | DropLease() | SavePin() | ForgetPin():
                self.journal.promise(effect)
            case Learn():
                self._learn(effect)
            case Decide():
                self.say(effect)
            case _:
                assert_never(effect)

    def say(self, decision: Decide) -> None:
        self.journal.say(decision)

    def start_from(self, memory: Memory) -> None:
        """Go on numbering where the last life of the daemon ended."""
        self.journal.go_on_after(memory.last_decision_id)

    def _spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T | None]:
        """What it raises would end the daemon with all its tasks: it is logged, and it ends."""

        async def guarded() -> T | None:
            try:
                return await work
            except Exception:
                log.exception("%s", name)
                return None

        task = self._tasks.create_task(guarded(), name=name)
        task.add_done_callback(lambda _: work.close())  # never begun, if it was cancelled at once
        return task

    def _forget(self, instance: InstanceId) -> None:
        peak = self.sensors.peaks.get(instance)
        ended = self._experience.end(instance, peak, self.journal.now())
        if ended is not None:
            self._spawn(self.registry.learned.put(ended), f"write peak of {ended.model}")
        self.running.pop(instance, None)
        self.journal.forget(instance)

    def _learn(self, effect: Learn) -> None:
        record, said = self._experience.learn(effect, self.journal.now())
        self._spawn(self.registry.learned.put(record), f"write footprint of {record.model}")
        if said is not None:
            self.say(said)

    def write_operation(self, operation: Operation) -> None:
        self._spawn(self.registry.operations.put(operation), f"write operation {operation.id}")

    def close(self) -> None:
        """Leave what runs running; only stop looking at it."""
        if self._noting is not None:
            self._noting.cancel()
        self._preflight.close()
        self.sensors.close()
        self.lives.close()
