"""What the daemon sees by itself: what the devices say, and who is in use without asking us.

Looks are told to the scheduler as facts. No request ever waits for one (R12).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from orchestrator.conductor.strange import Strange
from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.values.messages import (
    Event,
    RuntimesHeard,
    Sampled,
    ServerHeard,
    Ticked,
    UseSeen,
)
from orchestrator.core.values.residents import (
    SERVING,
    InstanceId,
    Resident,
    ResidentState,
    UseAnswer,
)
from orchestrator.core.values.specs import ServiceName
from orchestrator.core.values.vram import DeviceId, DeviceState, Reading
from orchestrator.errors import CannotAsk, Failed, Unreachable
from orchestrator.ports import Clock, Devices, Drivers, Routes, Running, Use
from orchestrator.steps import step

LOOK_APART_S = 0.02  # one look costs a millisecond, many at once would hold up a status
LOOK_ROUND_S = 1.0  # all of them have begun by then, however many there are
LOOK_WAIT_S = 1.5  # then the round is over: a server that is slow is waited for by itself
LOOK_S_MAX = 6.0  # one look at one server; its engine gives up before, and says why
SILENT_S = 3.0  # a server owes an answer for so long before it counts as one that hangs
PIDS_S_MAX = 0.5  # a container engine takes some 20 ms, a machine under load ten times that
# A llama-server deep in a batch is waited for two seconds, and asked for one more if it lives.
ANSWER_S_MAX = 3.5
ANSWER_AGE_S_MAX = 0.01  # an answer "idle" that had to wait longer for the others' is asked again
ANSWER_AGAIN_S_MAX = 0.5
HURRY_S = 0.05  # between readings while a wish waits for a device (R3 asks for <= 0.1)

# A resident, and its server's own figures; None: it did not answer.
Report = Callable[[Resident, Mapping[str, float] | None], None]


class Sensors:
    def __init__(
        self,
        *,
        devices: Devices,
        drivers: Mapping[ServiceName, Drivers],
        scheduler: Scheduler,
        running: Mapping[InstanceId, Running],
        routes: Routes,
        tell: Callable[[Event], None],
        clock: Clock,
        strange: Strange,
    ) -> None:
        self._devices = devices
        self._drivers = drivers
        self._scheduler = scheduler
        self._running = running
        self._routes = routes
        self._tell = tell
        self._clock = clock
        self._strange = strange
        self._reading = asyncio.Lock()  # readings are taken one after the other
        self._hurry = asyncio.Event()
        self._pressed = asyncio.Event()
        self._own: Mapping[
            InstanceId, frozenset[int]
        ] = {}  # the processes of who runs, as last seen
        self._served: dict[InstanceId, float] = {}  # the servers' own counters, as last seen
        self._looks: dict[InstanceId, asyncio.Task[None]] = {}  # at most one at each server
        self._owed: dict[InstanceId, float] = {}  # since when a server owes an answer
        self.held: Mapping[InstanceId, Mapping[DeviceId, int]] = {}
        self.peaks: Mapping[InstanceId, Mapping[DeviceId, int]] = {}  # the most that each held
        self._report: Report = lambda *_: None

    def report(self, to: Report) -> None:
        """Have it hear what servers say of themselves when they are looked at."""
        self._report = to

    def hasten(self, *, at_once: bool = False) -> None:
        """Read the devices many times a second from now on. `at_once`: something was just given
        back, and who waits for it does not wait for a turn.
        """
        self._hurry.set()
        if at_once:
            self._pressed.set()

    async def keep_up(self) -> None:
        """Read the devices many times a second while a wish waits for them; else sleep."""
        while True:
            await self._hurry.wait()
            self._pressed.clear()
            with step("read", "the devices"):
                await self.sample()
            if not self._scheduler.hurried:
                self._hurry.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(HURRY_S):
                    await self._pressed.wait()

    async def tick(self) -> None:
        """Time has passed, and what we run things on answers or does not."""
        silent = {
            service: silence
            for service, drivers in self._drivers.items()
            if (silence := drivers.runtime.silence()) is not None
        }
        if silent or self._scheduler.state.silent:
            self._tell(RuntimesHeard(silent))
        self._tell(Ticked())

    async def until_nobody_is_left(self, timeout_s: float) -> bool:
        """Whether every resident leaves within that time."""
        try:
            async with asyncio.timeout(timeout_s):
                while any(True for _ in self._scheduler.state.ledger.residents):
                    self.hasten()
                    await asyncio.sleep(HURRY_S)
        except TimeoutError:
            return False
        return True

    async def sample(self) -> None:
        """Read the devices once, with what our own processes hold there."""
        async with self._reading:
            pids = await self._pids()
            wanted = frozenset(pid for own in pids.values() for pid in own)
            readings = await self._read(wanted)
        used = {
            reading.device.id: {process.pid: process.used_bytes for process in reading.processes}
            for reading in readings
            if reading.processes is not None
        }
        self.held = {
            instance: {
                device: held
                for device, by_pid in used.items()
                # A process that the driver does not list holds an unknown amount, not none.
                if (held := sum(by_pid.get(pid, 0) for pid in own))
            }
            for instance, own in pids.items()
            if own
        }
        self.peaks = self._peaks()
        self._tell(Sampled(readings, self.held))

    async def _read(self, pids: frozenset[int]) -> tuple[Reading, ...]:
        """What the devices say; of a look that broke off, that they could not be read."""
        with self._strange.noted("reading the devices"):
            return await self._devices.read(pids)
        ledger = self._scheduler.state.ledger
        return tuple(
            Reading(
                device=ledger.reading(device).device,
                read_s=self._clock(),
                state=DeviceState.UNREADABLE,
                problem="The look at it broke off; the daemon's log says why.",
            )
            for device in ledger.devices
        )

    def _peaks(self) -> dict[InstanceId, Mapping[DeviceId, int]]:
        """Of those who run; who could not be seen this time keeps what was seen before."""
        peaks = {instance: of for instance, of in self.peaks.items() if instance in self._running}
        for instance, held in self.held.items():
            before = peaks.get(instance, {})
            peaks[instance] = {
                device: max(held.get(device, 0), before.get(device, 0))
                for device in {*held, *before}
            }
        return peaks

    async def _pids(self) -> Mapping[InstanceId, frozenset[int]]:
        """Who cannot be seen, or not in time, is left out: its charge accounts for it.

        A server that is being stopped has the processes that it had before: an engine of containers
        tells them when it has gone, and who waits for the devices would wait for that.
        """
        pids: dict[InstanceId, frozenset[int]] = {}

        async def look(resident: Resident, running: Running) -> None:
            service = resident.spec.service
            runtime = self._drivers[service].runtime
            with self._strange.noted(f"asking {service} for processes"), suppress(Failed):
                pids[resident.instance] = await runtime.pids(running.handle)

        looks = []
        for resident in self._scheduler.state.ledger.residents:
            running = self._running.get(resident.instance)
            if running is None or resident.state is ResidentState.RELEASING:
                continue
            known = self._own.get(resident.instance)
            if known is not None and resident.state is ResidentState.UNLOADING:
                pids[resident.instance] = known
            else:
                looks.append(look(resident, running))
        with suppress(TimeoutError):  # an engine that hangs must not keep us from the devices
            async with asyncio.timeout(PIDS_S_MAX):
                await asyncio.gather(*looks)
        self._own = dict(pids)
        return self._own

    async def look_at_use(self) -> None:
        """See requests that reach the servers directly (R13). Our own looks never count."""
        residents = [
            resident
            for resident in self._scheduler.state.ledger.residents
            if resident.state in SERVING and resident.instance in self._running
        ]
        here = {resident.instance for resident in residents}
        self._served = {one: total for one, total in self._served.items() if one in here}
        self._owed = {one: since_s for one, since_s in self._owed.items() if one in here}
        apart_s = min(LOOK_APART_S, LOOK_ROUND_S / max(1, len(residents)))
        for turn, resident in enumerate(residents):
            if resident.instance not in self._looks:
                look = self._look_at(resident, self._running[resident.instance], turn * apart_s)
                self._looks[resident.instance] = asyncio.create_task(
                    look, name=f"look at {resident.instance}"
                )
        if self._looks:
            await asyncio.wait(self._looks.values(), timeout=LOOK_WAIT_S)

    def close(self) -> None:
        for look in self._looks.values():
            look.cancel()

    async def ask_use(
        self, residents: Sequence[Resident], ready: Awaitable[object] | None = None
    ) -> dict[InstanceId, UseAnswer]:
        """Ask servers that are about to be stopped, all at once, whether they are idle. Return when
        `ready` is done as well: the disk, which is waited for meanwhile.

        One that had to wait for the others' answers or for that is asked again: it may be in use by
        then.
        """
        loop = asyncio.get_running_loop()
        answers: dict[InstanceId, UseAnswer] = {}
        answered_s: dict[InstanceId, float] = {}

        async def ask(resident: Resident, within_s: float) -> None:
            before = answers.get(resident.instance)
            answer = await self._ask(resident, within_s)
            if before is None:
                answers[resident.instance] = answer
            elif answer.busy is not None:
                used = before.used or answer.used
                answers[resident.instance] = replace(answer, used=used)
            answered_s[resident.instance] = loop.time()

        instances = [resident.instance for resident in residents]
        counting = asyncio.create_task(self._routes.passing(instances), name="count requests")
        await asyncio.gather(*(ask(resident, ANSWER_S_MAX) for resident in residents))
        if ready is not None:
            await ready
        aged_s = loop.time() - ANSWER_AGE_S_MAX
        aged = [
            resident
            for resident in residents
            if answers[resident.instance].busy is False and answered_s[resident.instance] < aged_s
        ]
        await asyncio.gather(*(ask(resident, ANSWER_AGAIN_S_MAX) for resident in aged))
        passing = await counting
        return {
            instance: _with_passing(answer, passing.get(instance, 0))
            for instance, answer in answers.items()
        }

    async def _ask(self, resident: Resident, within_s: float) -> UseAnswer:
        engine = self._drivers[resident.spec.service].engine
        running = self._running.get(resident.instance)
        if running is None or not engine.tells_use:
            return UseAnswer(busy=None)
        with self._strange.noted(f"asking a server of {resident.spec.service}"):
            try:
                async with asyncio.timeout(within_s):
                    use = await engine.use(running.endpoint)
            except TimeoutError:
                return UseAnswer(busy=None, unanswered=f"no answer within {within_s:.1f} s")
            except Failed as error:
                return UseAnswer(busy=None, unanswered=str(error))
            return UseAnswer(busy=bool(use.busy_slots), used=self._served_since(resident, use))
        return UseAnswer(busy=None, unanswered="the daemon's log says why")

    def _served_since(self, resident: Resident, use: Use) -> bool:
        """Whether it has served anything since it was last looked at."""
        before = self._served.get(resident.instance)
        if use.served_total is not None:
            self._served[resident.instance] = use.served_total
        return None not in (before, use.served_total) and before != use.served_total

    async def _look_at(self, resident: Resident, running: Running, after_s: float) -> None:
        try:
            await asyncio.sleep(after_s)
            with self._strange.noted(f"looking at a server of {resident.spec.service}"):
                await self._look(resident, running)
        finally:
            del self._looks[resident.instance]

    async def _look(self, resident: Resident, running: Running) -> None:
        began_s = self._clock()
        try:
            async with asyncio.timeout(LOOK_S_MAX):
                use = await self._drivers[resident.spec.service].engine.use(running.endpoint)
        except CannotAsk:
            return  # that we cannot ask says nothing of it
        except (Unreachable, TimeoutError):
            since_s = self._owed.setdefault(resident.instance, began_s)
            self._report(resident, None)
            if self._clock() - since_s >= SILENT_S:  # an end is noticed by who watches it
                self._tell(ServerHeard(resident.instance, since_s))
            return
        if self._owed.pop(resident.instance, None) is not None:
            self._tell(ServerHeard(resident.instance, None))
        self._report(resident, use.figures)
        used = self._served_since(resident, use)
        busy = bool(use.busy_slots) or self._routes.under_way(resident.instance) > 0
        if used or busy or resident.busy:
            self._tell(UseSeen(instance=resident.instance, busy=busy, used=used))


def _with_passing(answer: UseAnswer, passing: int | None) -> UseAnswer:
    """What a server says of itself, and the requests that are on their way to it."""
    if passing:
        return replace(answer, busy=True, unanswered="")
    if passing is None and answer.busy is not True:
        said = answer.unanswered or "it cannot be told which requests are on their way to it"
        return UseAnswer(busy=None, used=answer.used, unanswered=said)
    return answer
