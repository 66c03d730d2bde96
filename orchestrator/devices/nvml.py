"""NVIDIA GPUs as devices.

`Nvml` is the blocking half: it opens the driver, lists devices, reads them, and opens the driver
again, ever more rarely, while something is wrong. `NvmlDevices` is what the daemon holds: it has
one thread do that, and gives up waiting at a deadline. Devices that were seen once stay known, so
that a driver that goes away leaves devices with a problem and not an empty machine.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, Reading
from orchestrator.devices.driver_thread import DriverThread
from orchestrator.devices.nvml_driver import (
    DriverFailed,
    DriverFigures,
    Listed,
    Trouble,
    close_driver,
    driver_in_words,
    forget_library,
    list_devices,
    open_driver,
    read_device,
)
from orchestrator.devices.nvml_problems import GONE, HANGS, NO_GPU
from orchestrator.ports import Clock

READ_DEADLINE_S = 2.0  # a reading takes milliseconds; a sampler that runs every second must go on
OPEN_DEADLINE_S = 20.0  # without persistence mode the driver wakes all GPUs up, seconds for one
REOPEN_AFTER_S = 1.0  # doubles with every vain attempt
REOPEN_AFTER_S_MAX = 60.0  # opening the driver takes its global lock
LIST_AFTER_S = 30.0  # MIG instances come and go while the driver is open


@dataclass(slots=True)
class _Backoff:
    """When to open the driver again. `due_s` is None while all is well."""

    due_s: float | None = None
    wait_s: float = REOPEN_AFTER_S

    def due(self, now_s: float) -> bool:
        return self.due_s is not None and now_s >= self.due_s

    def failed(self, now_s: float) -> None:
        self.due_s = now_s + self.wait_s
        self.wait_s = min(self.wait_s * 2, REOPEN_AFTER_S_MAX)

    def reset(self) -> None:
        self.due_s, self.wait_s = None, REOPEN_AFTER_S


@dataclass(slots=True)
class _Session:
    """What the open driver listed last."""

    listed_s: float
    listed: dict[DeviceId, Listed] = field(default_factory=dict)
    unlisted: list[Trouble] = field(default_factory=list)  # of GPUs that did not tell their name


class Nvml:
    """Not for two threads at once, except `all_with`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: _Session | None = None
        self._trouble = Trouble(problem=NO_GPU)  # why there is no session
        self._library_is_old = False
        self._backoff = _Backoff()
        self._known: tuple[Device, ...] = ()

    def open(self) -> str:
        """Why the driver lists no GPU; empty if it does."""
        if self._session is None:
            self._reopen(self._clock())
        if self._session is None:
            return self._trouble.problem
        if self._session.listed:
            return ""
        return next((trouble.problem for trouble in self._session.unlisted), NO_GPU)

    def read(self, *, wants_processes: bool) -> tuple[Reading, ...]:
        now_s = self._clock()
        never_opened = self._session is None and self._backoff.due_s is None
        if never_opened or self._backoff.due(now_s):
            self._reopen(now_s)
        elif self._session is not None and now_s - self._session.listed_s >= LIST_AFTER_S:
            self._list(now_s)
        if self._session is None:
            return self.all_with(self._trouble)
        outcomes = tuple(self._outcomes(self._session, wants_processes=wants_processes))
        self._plan_reopening((outcome for _, outcome in outcomes), now_s)
        return tuple(self._reading(device, outcome) for device, outcome in outcomes)

    def all_with(self, trouble: Trouble) -> tuple[Reading, ...]:
        """Every known device with the same trouble; one without a name if none is known."""
        return tuple(self._reading(device, trouble) for device in self._known or (_unnamed(0),))

    def close(self) -> None:
        if self._session is not None:
            self._session = None
            close_driver()

    def _reopen(self, now_s: float) -> None:
        self._backoff.failed(now_s)  # until a reading shows that all is well
        self.close()
        if self._library_is_old:
            forget_library()
            self._library_is_old = False
        try:
            open_driver()
        except DriverFailed as failed:
            self._fail(failed.trouble, now_s)
            return
        self._session = _Session(listed_s=now_s)
        self._list(now_s)

    def _list(self, now_s: float) -> None:
        session = _Session(listed_s=now_s)
        try:
            for found in list_devices():
                if isinstance(found, Listed):
                    session.listed[found.device.id] = found
                else:
                    session.unlisted.append(found)
        except DriverFailed as failed:
            self._fail(failed.trouble, now_s)
            return
        self._session = session
        known = {device.id: device for device in self._known}
        known.update((listed.device.id, listed.device) for listed in session.listed.values())
        self._known = tuple(known.values())

    def _fail(self, trouble: Trouble, now_s: float) -> None:
        self._trouble = trouble
        self.close()
        self._plan_reopening((trouble,), now_s)

    def _outcomes(
        self, session: _Session, *, wants_processes: bool
    ) -> Iterator[tuple[Device, DriverFigures | Trouble]]:
        unlisted = iter(session.unlisted)
        for device in self._known:
            listed = session.listed.get(device.id)
            if listed is None:
                yield device, next(unlisted, Trouble(problem=GONE, state=DeviceState.LOST))
            else:
                yield device, read_device(listed, wants_processes=wants_processes)
        for index, trouble in enumerate(unlisted):
            yield _unnamed(index), trouble
        if not self._known and not session.unlisted:
            yield _unnamed(0), Trouble(problem=NO_GPU)

    def _plan_reopening(self, outcomes: Iterable[DriverFigures | Trouble], now_s: float) -> None:
        """Open the driver again later if that might help."""
        troubles = [outcome for outcome in outcomes if isinstance(outcome, Trouble)]
        self._library_is_old |= any(trouble.library_is_old for trouble in troubles)
        if not any(trouble.curable for trouble in troubles):
            self._backoff.reset()
        elif self._backoff.due_s is None:
            self._backoff.failed(now_s)

    def _reading(self, device: Device, outcome: DriverFigures | Trouble) -> Reading:
        read_s = self._clock()
        if isinstance(outcome, Trouble):
            return Reading(
                device=device, read_s=read_s, state=outcome.state, problem=outcome.problem
            )
        return Reading(
            device=device,
            read_s=read_s,
            state=DeviceState.OK,
            total_bytes=outcome.total_bytes,
            free_bytes=outcome.free_bytes,
            utilization_percent=outcome.utilization_percent,
            temperature_c=outcome.temperature_c,
            processes=outcome.processes,
        )


def _unnamed(index: int) -> Device:
    """For a GPU that exists or should, but never told its UUID."""
    return Device(id=DeviceId(f"nvml-{index}"), name="NVIDIA GPU", kind=DeviceKind.GPU)


async def ask_driver(deadline_s: float = OPEN_DEADLINE_S) -> str | Trouble:
    """What the driver says of itself, or why it cannot be used."""
    thread = DriverThread("nvml")
    try:
        return await thread.ask(driver_in_words, deadline_s)
    except DriverFailed as failed:
        return failed.trouble
    except TimeoutError:
        return Trouble(problem=HANGS)
    finally:
        thread.end()


class NvmlDevices:
    def __init__(self, clock: Clock, *, deadline_s: float = READ_DEADLINE_S) -> None:
        """`clock` is also called from the driver's thread."""
        self._nvml = Nvml(clock)
        self._deadline_s = deadline_s
        self._thread = DriverThread("nvml")

    async def open(self) -> str:
        """Wait for the driver's first word. Why it lists no GPU; empty if it does."""
        try:
            return await self._thread.ask(self._nvml.open, OPEN_DEADLINE_S)
        except TimeoutError:
            return HANGS

    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        """With `pids`, every process that the driver lists, ours or not."""
        read = partial(self._nvml.read, wants_processes=pids is not None)
        try:
            return await self._thread.ask(read, self._deadline_s)
        except TimeoutError:
            return self._nvml.all_with(Trouble(problem=HANGS))

    async def close(self) -> None:
        # A driver that hangs cannot be closed, only abandoned.
        with suppress(TimeoutError):
            await self._thread.ask(self._nvml.close, self._deadline_s)
        self._thread.end()
