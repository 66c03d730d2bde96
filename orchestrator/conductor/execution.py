"""Brings one resident up or takes one down, end to end, and returns what came of it."""

import asyncio
import logging
import math
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import ReadyState, Resident
from orchestrator.core.values.specs import ModelSpec
from orchestrator.errors import Failed, NotStopped, StartFailed, Unreachable
from orchestrator.ports import Clock, Drivers, Exit, Handle, Readiness, Running, Tell
from orchestrator.steps import step

log = logging.getLogger("orchestrator")

T = TypeVar("T")

# Probes are cheap: half a millisecond on both sides. A model is told ready soon after it is.
POLL_S_MIN = 0.025
POLL_S_MAX = 0.25
POLL_FRACTION = 0.01  # of the time waited so far: a long load is polled less often
# Around the moment at which the last load of it was ready, it is asked more often.
NEAR = 0.3  # of that load's time, before and after
POLL_NEAR_S_MIN = 0.005
POLL_NEAR_FRACTION = 0.002  # of that load's time: some 300 probes at most
LOG_LOOK_S = 0.5  # of a container it takes some milliseconds; the deadline is minutes
# A large file from a slow disk loads for as long as it moves; but nothing loads for ever.
STRETCH_MAX = 10
FORESEE_S_MAX = 15.0  # a preview: longer than a disk or an engine that works ever takes
WATCH_AGAIN_S = 1.0  # a server whose end cannot be seen now is looked at so often
LOG_LINES = 40  # of the log in an answer: enough for a stack of allocations that failed


@dataclass(frozen=True, slots=True)
class Up:
    running: Running
    load_s: float
    slots: tuple[int, ...] = ()  # as its server tells them


@dataclass(frozen=True, slots=True)
class Due:
    """When a load should be ready, by the last one of the same model."""

    at_s: float
    load_s: float  # that it took then

    def pause_s(self, now_s: float) -> float:
        """The longest pause that does not miss that moment; without end where it has passed."""
        to_come_s = self.at_s - NEAR * self.load_s - now_s
        near_s = max(POLL_NEAR_S_MIN, POLL_NEAR_FRACTION * self.load_s)
        if to_come_s > 0:
            return max(to_come_s, near_s)
        return near_s if now_s <= self.at_s + NEAR * self.load_s else math.inf


async def look_at(spec: ModelSpec, drivers: Drivers, tell: Tell) -> ModelSpec | Failure:
    """Return the spec with all that it needs at hand, or why it could not start."""
    was_unknown = spec.footprint.unknown
    for supply in drivers.supplies:
        supplied = await supply.bring(spec, tell)
        if isinstance(supplied, Failure):
            return supplied
        spec = supplied
    if was_unknown:
        return spec  # what it takes is all that was asked
    return await _check(spec, drivers) or spec


async def foresee(spec: ModelSpec, drivers: Drivers) -> Failure | None:
    """Why a start would fail, as far as a look tells that fetches nothing. In bounded time."""
    try:
        async with asyncio.timeout(FORESEE_S_MAX):
            for supply in drivers.supplies:
                if await supply.would_bring(spec):
                    return None  # what comes of that is not known before
            found = await look_at(spec, drivers, lambda _: None)
    except TimeoutError:
        return _NOT_SEEN
    return found if isinstance(found, Failure) else None


_NOT_SEEN = Failure(
    reason=FailureReason.RUNTIME_UNAVAILABLE,
    detail=f"What it needs could not be looked at within {FORESEE_S_MAX:g} s.",
    remedy="Do the disk of its file and the engine that runs it answer? Ask again.",
    transient=True,
)


async def _check(spec: ModelSpec, drivers: Drivers) -> Failure | None:
    failure = await drivers.engine.check(spec)
    return failure and replace(failure, outside=True)


async def bring_up(
    resident: Resident,
    drivers: Drivers,
    clock: Clock,
    on_running: Callable[[Running], Awaitable[None]],
) -> Up | Failure:
    """Return when it answers, or why it does not; in the latter case nothing is left behind.

    Raise NotStopped if something is left behind after all. If cancelled, the thing is left
    running for `take_down`, which knows it by what `on_running` was told.
    """
    began_s = clock()
    with step("check", resident.name):
        failure = await _check(resident.spec, drivers)
    if failure is not None:
        return failure
    launch = drivers.engine.launch(resident.instance, resident.spec, resident.placement)
    try:
        with step("start", resident.name):
            running = await drivers.runtime.start(launch)
    except StartFailed as error:
        return error.failure
    except Unreachable as error:
        return Failure(
            reason=FailureReason.RUNTIME_UNAVAILABLE,
            detail=str(error),
            remedy="Nothing is started until the runtime answers again.",
            transient=True,
        )
    await on_running(running)
    load_s = resident.spec.load_s
    with step("ready", resident.name):
        ready = await wait_until_ready(running, drivers, clock, Due(began_s + load_s, load_s))
    if isinstance(ready, Failure):
        await drivers.runtime.stop(running.handle, grace_s=drivers.stop_grace_s)
        return ready
    return Up(running, clock() - began_s, ready.slots)


async def wait_until_ready(
    running: Running, drivers: Drivers, clock: Clock, due: Due | None = None
) -> Readiness | Failure:
    """What it says when it answers; else why it never will. Its death is noticed at once."""
    ended = asyncio.create_task(until_ended(running, drivers), name="wait for the end")
    itself: asyncio.Task[bool] | None = None
    began_s = moved_s = clock()
    log_size, size, look_s = -1, -1, began_s
    try:
        while True:
            probe = await drivers.engine.readiness(running.endpoint)
            if probe.heard and (itself is None or (itself.done() and not itself.result())):
                # While it loads: one that is ready does not wait for this any more.
                itself = asyncio.create_task(_itself(running, drivers), name="who listens")
            if probe.state is ReadyState.READY:
                known = itself is not None and await itself
                if (known or await _itself(running, drivers)) and not ended.done():
                    return probe
            if probe.state is ReadyState.BROKEN:
                tail = await _tail(running.handle, drivers)
                return Failure(reason=FailureReason.EXITED, detail=probe.detail, log_tail=tail)
            now_s = clock()
            if now_s >= look_s:
                look_s = now_s + LOG_LOOK_S
                # `wait` tells of its end, a silent runtime does not.
                size = await _or_else(drivers.runtime.log_size(running.handle), size)
                if size != log_size:  # the deadline stands still while the log moves
                    log_size, moved_s = size, now_s
            if now_s - moved_s >= drivers.load_deadline_s or (
                now_s - began_s >= STRETCH_MAX * drivers.load_deadline_s
            ):
                return await _too_late(running.handle, drivers, now_s - began_s)
            pause_s = min(max(POLL_S_MIN, POLL_FRACTION * (now_s - began_s)), POLL_S_MAX)
            if due is not None:
                pause_s = min(pause_s, due.pause_s(now_s))
            await asyncio.wait({ended}, timeout=pause_s)
            if ended.done():
                return drivers.engine.classify(await _with_tail(ended.result(), running, drivers))
    finally:
        ended.cancel()
        if itself is not None:
            itself.cancel()


async def _itself(running: Running, drivers: Drivers) -> bool:
    """Whether it is the server that answers. One whose port was taken ends by itself."""
    return await _or_else(drivers.runtime.listens(running.handle), otherwise=True)


async def until_ended(running: Running, drivers: Drivers) -> Exit:
    """Return when the server has ended, however. Never raises: where its end cannot be watched, for
    want of a descriptor or because of a mistake of ours, it is asked whether it lives.
    """
    said = False
    while True:
        try:
            return await drivers.runtime.wait(running.handle)
        except Exception as error:
            if not said:
                log.warning(
                    "%s cannot be watched, and is looked at every %.0f s: %s",
                    running.endpoint.url,
                    WATCH_AGAIN_S,
                    error,
                    exc_info=not isinstance(error, Failed),
                )
            said = True
        if not await _or_else(drivers.runtime.alive(running.handle), otherwise=True):
            return Exit(code=None)
        await asyncio.sleep(WATCH_AGAIN_S)


async def _or_else(asked: Awaitable[T], otherwise: T) -> T:
    """The answer, or what to go by without one."""
    try:
        return await asked
    except Failed:
        return otherwise
    except Exception:
        log.exception("a runtime broke its promise")
        return otherwise


async def _with_tail(exit_: Exit, running: Running, drivers: Drivers) -> Exit:
    if exit_.log_tail:
        return exit_
    tail = await _tail(running.handle, drivers)
    return replace(exit_, log_tail=tail)


async def _tail(handle: Handle, drivers: Drivers) -> tuple[str, ...]:
    """What the log says; a failure whose log cannot be read now is told without it."""
    return await _or_else(drivers.runtime.log_tail(handle, LOG_LINES), ())


async def _too_late(handle: Handle, drivers: Drivers, waited_s: float) -> Failure:
    return Failure(
        reason=FailureReason.NOT_READY_IN_TIME,
        detail=f"it did not answer within {waited_s:.0f} s, and its log stood still.",
        log_tail=await _tail(handle, drivers),
        remedy="Look at its log; raise scheduling.load_deadline_s if it needs longer.",
    )


async def how_it_ended(running: Running, drivers: Drivers) -> Failure:
    """Wait for the end of a ready server and say why it came."""
    exit_ = await _with_tail(await until_ended(running, drivers), running, drivers)
    failure = drivers.engine.classify(exit_)
    # Its log says why, if anything was wrong; else the one who ended it knows.
    if exit_.stopped and failure.reason is FailureReason.EXITED:
        return _stopped(exit_)
    return failure


def _stopped(exit_: Exit) -> Failure:
    return Failure(
        reason=FailureReason.STOPPED,
        detail=f"it was stopped by somebody else ({_ending(exit_.code)}).",
        log_tail=exit_.log_tail,
        remedy="Whoever asks for it next starts it again; POST /models/unload makes it leave.",
    )


def _ending(code: int | None) -> str:
    """A process tells a signal as -n, a container engine as 128 + n."""
    if code is None:
        return "removed, or started again"
    number = -code if code < 0 else code - 128
    return signal.Signals(number).name if number > 0 else f"exit code {code}"


async def take_down(resident: Resident, running: Running | None, drivers: Drivers) -> None:
    """Return when it is verified gone. Raise NotStopped if it is not (R10)."""
    if running is None:
        return  # it never got so far as to run
    try:
        with step("stop", resident.name):
            await drivers.engine.unload(running.endpoint, resident.spec)
            await drivers.runtime.stop(running.handle, grace_s=drivers.stop_grace_s)
    except Unreachable as error:
        raise NotStopped(str(error)) from error
