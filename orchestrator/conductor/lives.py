"""What runs: brought up, watched, asked, taken down, and told of.

Each act is a task of its own; what came of it is told to the scheduler as an event.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from orchestrator.catalogue.learned import Experience
from orchestrator.conductor.execution import Up, bring_up, how_it_ended, take_down, wait_until_ready
from orchestrator.conductor.journal import Journal
from orchestrator.conductor.sensors import Sensors
from orchestrator.conductor.strange import failure_of
from orchestrator.core.life.state import State
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.messages import (
    AskUse,
    Died,
    Event,
    Evict,
    Loaded,
    LoadFailed,
    StopFailed,
    Stopped,
    UseAnswered,
)
from orchestrator.core.values.residents import SERVING, InstanceId, Resident, ResidentState
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.errors import NotStopped
from orchestrator.ports import Clock, Drivers, Running
from orchestrator.records import ResidentRecord
from orchestrator.steps import step

log = logging.getLogger("orchestrator")

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Lives:
    def __init__(
        self,
        *,
        drivers: Mapping[ServiceName, Drivers],
        running: dict[InstanceId, Running],
        state: State,
        sensors: Sensors,
        journal: Journal,
        experience: Experience,
        clock: Clock,
        tell: Callable[[Event], None],
        spawn: Spawn,
    ) -> None:
        self._drivers = drivers
        self.running = running
        self._state = state
        self._sensors = sensors
        self._journal = journal
        self._experience = experience
        self._clock = clock
        self._tell = tell
        self._spawn = spawn
        self._loads: dict[InstanceId, asyncio.Task[None]] = {}
        self._watches: dict[InstanceId, asyncio.Task[None]] = {}
        self._closed = False
        self._last_lives: dict[ModelName, tuple[Resident, Running]] = {}  # whose logs are kept

    def write(self, resident: Resident) -> None:
        spec = resident.spec
        runtime = "" if spec.plain_room else self._drivers[spec.service].runtime.name
        runs = self.running.get(resident.instance)
        self._journal.write(ResidentRecord(resident=resident, runtime=runtime, running=runs))

    def load(self, resident: Resident) -> None:
        self._loads[resident.instance] = self._spawn(
            self._load(resident), f"load {resident.instance}"
        )

    def evict(self, effect: Evict) -> None:
        self._spawn(self._evict(effect), f"evict {effect.resident.instance}")

    def ask_use(self, asked: AskUse) -> None:
        self._spawn(self._ask_use(asked), f"look {asked.look}")

    async def _load(self, resident: Resident) -> None:
        with step("write ahead", resident.name):
            await self._journal.until_known(resident.instance)  # first: the write-ahead log
        drivers, note = self._drivers[resident.spec.service], self._note_running(resident)
        await self._report_load(resident, lambda: bring_up(resident, drivers, self._clock, note))

    def _note_running(self, resident: Resident) -> Callable[[Running], Coroutine[Any, Any, None]]:
        async def note(running: Running) -> None:
            self.know(resident, running)
            self.write(resident)

        return note

    def know(self, resident: Resident, running: Running) -> None:
        """What a resident runs as, from now on."""
        self.running[resident.instance] = running
        self._last_lives[resident.name] = (resident, running)

    def life(self, instance: InstanceId) -> Resident | None:
        """As it came up, also after its end; of each model the last one."""
        return next((r for r, _ in self._last_lives.values() if r.instance == instance), None)

    async def _report_load(
        self, resident: Resident, work: Callable[[], Coroutine[Any, Any, Up | Failure]]
    ) -> None:
        instance = resident.instance
        try:
            outcome = await work()
        except NotStopped as error:
            self._tell(StopFailed(instance, str(error)))
            return
        except Exception as error:
            log.exception("load %s", instance)
            left = await self._left_behind(resident)
            if left:
                self._tell(StopFailed(instance, left))
                return
            outcome = failure_of(error)
        finally:
            self._loads.pop(instance, None)
        if isinstance(outcome, Failure):
            await self._sensors.sample()
            self._tell(LoadFailed(instance, outcome))
            return
        with step("measure", resident.name):
            await self._sensors.sample()  # what it takes is measured before a plan counts on it
        self._tell(
            Loaded(
                instance=instance,
                endpoint=outcome.running.endpoint,
                load_s=outcome.load_s,
                slots=outcome.slots,
                measured=self._sensors.held.get(instance),
                peak=self._sensors.peaks.get(instance),
            )
        )
        self._watch(resident, outcome.running)

    async def _left_behind(self, resident: Resident) -> str:
        """Why something may still run of a load that broke off; empty if nothing does."""
        running = self.running.get(resident.instance)
        try:
            await take_down(resident, running, self._drivers[resident.spec.service])
        except Exception as error:
            log.exception("take down %s", resident.instance)
            return str(error)
        return ""

    async def _ask_use(self, asked: AskUse) -> None:
        """Their stops, which follow the answers at once, will not wait for the disk any more."""
        residents = asked.residents
        for resident in residents:
            self._foresee_stop(resident)
        written = asyncio.gather(*(self._until_written(resident) for resident in residents))
        with step("look", residents[0].name):
            answers = await self._sensors.ask_use(residents, written)
        self._tell(UseAnswered(asked.look, answers))

    def _foresee_stop(self, resident: Resident) -> None:
        running = self.running.get(resident.instance)
        if running is not None:
            self._drivers[resident.spec.service].runtime.foresee_stop(running.handle)

    async def _until_written(self, resident: Resident) -> None:
        with step("write ahead", resident.name):
            await self._journal.until_written(resident.instance)

    async def _evict(self, effect: Evict) -> None:
        resident = effect.resident
        instance = resident.instance
        if not effect.asked:
            await self._journal.until_written(instance)
        load = self._loads.pop(instance, None)
        if load is not None:
            load.cancel()
            await asyncio.wait({load})
        watch = self._watches.pop(instance, None)
        if watch is not None:
            watch.cancel()
        drivers = self._drivers[resident.spec.service]
        try:
            await take_down(resident, self.running.get(instance), drivers)
        except NotStopped as error:
            self._tell(StopFailed(instance, str(error)))
        except Exception as error:
            log.exception("evict %s", instance)
            self._tell(StopFailed(instance, f"internal error: {error!r}"))
        else:
            self._tell(Stopped(instance))
            self._sensors.hasten(at_once=True)

    # --- what is watched -----------------------------------------------------------------------

    def _watch(self, resident: Resident, running: Running) -> None:
        """Notice the death of a ready server at once."""
        if self._closed:
            return  # it came up while the daemon ended, which would wait for its death
        state = self._state.by_instance(resident.instance)
        if state is not None and state.state in SERVING:
            self._watches[resident.instance] = self._spawn(
                self._wait_for_death(resident, running), f"watch {resident.instance}"
            )

    async def _wait_for_death(self, resident: Resident, running: Running) -> None:
        try:
            failure = await how_it_ended(running, self._drivers[resident.spec.service])
        except Exception as error:
            log.exception("watch %s", resident.instance)  # it has ended; why cannot be told
            failure = failure_of(error)
        self._watches.pop(resident.instance, None)
        await self._sensors.sample()
        self._tell(Died(resident.instance, failure))

    def resume(self, resident: Resident) -> None:
        """Go on with an adopted resident: watch it, or wait until it is ready."""
        running = self.running.get(resident.instance)
        if running is None:
            return
        self.write(resident)
        if resident.state is ResidentState.READY:
            self._experience.resume(resident)
            self._watch(resident, running)
        elif resident.state is ResidentState.LOADING:
            self._loads[resident.instance] = self._spawn(
                self._report_load(resident, lambda: self._resumed(resident, running)),
                f"resume {resident.instance}",
            )

    async def _resumed(self, resident: Resident, running: Running) -> Up | Failure:
        drivers = self._drivers[resident.spec.service]
        ready = await wait_until_ready(running, drivers, self._clock)
        if not isinstance(ready, Failure):
            return Up(running, resident.spec.load_s, ready.slots)
        await drivers.runtime.stop(running.handle, grace_s=drivers.stop_grace_s)
        return ready

    async def log_tail(self, model: ModelName, lines: int) -> tuple[str, ...]:
        """Of the resident, or of its last life; empty if it has not run since the start."""
        if (last := self._last_lives.get(model)) is None:
            return ()
        resident, running = last
        return await self._drivers[resident.spec.service].runtime.log_tail(running.handle, lines)

    def close(self) -> None:
        """Leave what runs running; only stop looking at it."""
        self._closed = True
        for task in (*self._loads.values(), *self._watches.values()):
            task.cancel()
