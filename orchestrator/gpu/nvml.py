"""NVIDIA GPUs, as their driver sees them. The only module that knows `pynvml`.

`Nvml` is the blocking half: it opens the driver, lists devices, reads them, and opens the driver
again, ever more rarely, while something is wrong. `NvmlDevices` is what the daemon holds: it has
one thread do that, and gives up waiting at a deadline. Devices that were seen once stay known, so
that a driver that goes away leaves devices with a problem and not an empty machine.
"""

import _ctypes
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import pynvml

from orchestrator.core.vram import Device, DeviceId, DeviceKind, DeviceState, ProcessUse, Reading
from orchestrator.gpu.driver_thread import DriverThread
from orchestrator.gpu.host import HostBytes, host_bytes
from orchestrator.gpu.nvml_problems import GONE, HANGS, NO_GPU, NO_INSTANCE, NO_SIZE, problem_of
from orchestrator.ports import Clock

T = TypeVar("T")

READ_DEADLINE_S = 2.0  # a reading takes milliseconds; a sampler that runs every second must go on
OPEN_DEADLINE_S = 20.0  # without persistence mode the driver wakes every GPU up, seconds each
REOPEN_AFTER_S = 1.0  # doubles with every vain attempt
REOPEN_AFTER_S_MAX = 60.0  # opening the driver takes its global lock
LIST_AFTER_S = 30.0  # MIG instances come and go while the driver is open
PROCESS_LIST_TRIES = 4  # the binding leaves room for twice as many: growing past that is rare

# These say that the device or the session is broken, whatever was asked. Anything else, said of
# temperature, utilization or processes, leaves only that one unknown.
_BROKEN = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
_UNAVAILABLE = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    }
)
# Chips whose GPU has no memory of its own. NVML has no word for that on every driver.
_INTEGRATED_NAMES = re.compile(r"\b(GB10|Orin|Thor|Xavier|Tegra|nvgpu)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    problem: str
    state: DeviceState = DeviceState.UNREADABLE
    curable: bool = True  # whether opening the driver again might help


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A device with the driver's handles, which are good until the driver is closed."""

    device: Device
    handle: object
    parent: object  # of a MIG instance; of a whole GPU the handle itself
    trouble: _Trouble | None = None


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
    """What one opening of the driver found."""

    listed_s: float
    listed: dict[DeviceId, _Listed] = field(default_factory=dict)
    unlisted: list[_Trouble] = field(default_factory=list)  # of GPUs that did not tell their name


class Nvml:
    """Blocking, and not for two threads at once; only `known` may be looked at from another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: _Session | None = None
        self._trouble = _Trouble(problem=NO_GPU)  # why there is no session
        self._backoff = _Backoff()
        self._devices: dict[DeviceId, Device] = {}
        self.known: tuple[Device, ...] = ()

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
        if self._session is None and self._backoff.due_s is None:
            self._reopen(now_s)  # the first time
        elif self._backoff.due(now_s):
            self._reopen(now_s)
        elif self._session is not None and now_s - self._session.listed_s >= LIST_AFTER_S:
            self._list_again(now_s)
        if self._session is None:
            return self.all_with(self._trouble)
        outcomes = tuple(self._outcomes(self._session, wants_processes=wants_processes))
        self._mind(outcomes, now_s)
        return tuple(
            outcome if isinstance(outcome, Reading) else self._troubled(device, outcome)
            for device, outcome in outcomes
        )

    def all_with(self, trouble: _Trouble) -> tuple[Reading, ...]:
        return tuple(self._troubled(device, trouble) for device in self.known or (_unnamed(0),))

    def close(self) -> None:
        if self._session is not None:
            self._shut()

    def _reopen(self, now_s: float) -> None:
        self._backoff.failed(now_s)  # until a reading shows that all is well
        if self._session is not None:
            self._shut()
        try:
            pynvml.nvmlInit()
            self._session = _Session(listed_s=now_s)
            self._list(self._session)
        except pynvml.NVMLError as error:
            self._fail(error)

    def _list_again(self, now_s: float) -> None:
        session = _Session(listed_s=now_s)
        try:
            self._list(session)
        except pynvml.NVMLError as error:
            self._fail(error)
            self._backoff.failed(now_s)
        else:
            self._session = session

    def _fail(self, error: pynvml.NVMLError) -> None:
        self._trouble = _trouble(error)
        if self._session is not None:
            self._shut()
        if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
            _forget_library()

    def _shut(self) -> None:
        self._session = None
        _or_else(pynvml.nvmlShutdown, None, broken=frozenset())

    def _list(self, session: _Session) -> None:
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                for listed in _listed_at(index):
                    session.listed[listed.device.id] = listed
            except pynvml.NVMLError as error:
                session.unlisted.append(_trouble(error))
        self._devices.update({key: listed.device for key, listed in session.listed.items()})
        self.known = tuple(self._devices.values())

    def _outcomes(
        self, session: _Session, *, wants_processes: bool
    ) -> Iterator[tuple[Device, Reading | _Trouble]]:
        unlisted = iter(session.unlisted)
        for device in self.known:
            listed = session.listed.get(device.id)
            if listed is None:
                lost = _Trouble(problem=GONE, state=DeviceState.LOST)
                yield device, next(unlisted, lost)
            else:
                yield device, self._read_one(listed, wants_processes=wants_processes)
        for index, trouble in enumerate(unlisted):
            yield _unnamed(index), trouble
        if not self.known and not session.unlisted:
            yield _unnamed(0), _Trouble(problem=NO_GPU)

    def _mind(self, outcomes: Iterable[tuple[Device, Reading | _Trouble]], now_s: float) -> None:
        """Plan the next opening if one might help."""
        if not any(isinstance(outcome, _Trouble) and outcome.curable for _, outcome in outcomes):
            self._backoff.reset()
        elif self._backoff.due_s is None:
            self._backoff.failed(now_s)

    def _read_one(self, listed: _Listed, *, wants_processes: bool) -> Reading | _Trouble:
        if listed.trouble is not None:
            return listed.trouble
        try:
            held = _bytes_of(listed)
            if isinstance(held, _Trouble):
                return held
            return Reading(
                device=listed.device,
                read_s=self._clock(),
                state=DeviceState.OK,
                total_bytes=held.total,
                free_bytes=held.available,
                utilization_percent=_or_else(lambda: _utilization(listed.handle), None),
                temperature_c=_or_else(lambda: _temperature(listed.parent), None),
                processes=_processes(listed.handle) if wants_processes else None,
            )
        except pynvml.NVMLError as error:
            return _trouble(error)

    def _troubled(self, device: Device, trouble: _Trouble) -> Reading:
        return Reading(
            device=device, read_s=self._clock(), state=trouble.state, problem=trouble.problem
        )


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
            return self._nvml.all_with(_Trouble(problem=HANGS))

    async def close(self) -> None:
        # A driver that hangs cannot be closed, only left.
        with suppress(TimeoutError):
            await self._thread.ask(self._nvml.close, self._deadline_s)
        self._thread.end()


# --- one question to the driver each -----------------------------------------------------------


def _trouble(error: pynvml.NVMLError) -> _Trouble:
    lost = error.value == pynvml.NVML_ERROR_GPU_IS_LOST
    return _Trouble(
        problem=problem_of(error.value, str(error)),
        state=DeviceState.LOST if lost else DeviceState.UNREADABLE,
    )


def _or_else(function: Callable[[], T], otherwise: T, broken: frozenset[int] = _BROKEN) -> T:
    """What the driver says, or `otherwise` if it does not tell. Raise NVMLError if it is broken."""
    try:
        return function()
    except pynvml.NVMLError as error:
        if error.value in broken:
            raise
        return otherwise


def _listed_at(index: int) -> Iterator[_Listed]:
    """The GPU, or its MIG instances: memory outside of them cannot be had."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    off = (pynvml.NVML_DEVICE_MIG_DISABLE, pynvml.NVML_DEVICE_MIG_DISABLE)
    mode, _ = _or_else(lambda: pynvml.nvmlDeviceGetMigMode(handle), off)
    if mode != pynvml.NVML_DEVICE_MIG_ENABLE:
        kind = DeviceKind.UNIFIED if _is_unified(handle) else DeviceKind.GPU
        yield _Listed(device=_device(handle, kind), handle=handle, parent=handle)
        return
    instances = tuple(_mig_handles(handle))
    for instance in instances:
        yield _Listed(device=_device(instance, DeviceKind.GPU), handle=instance, parent=handle)
    if not instances:
        trouble = _Trouble(problem=NO_INSTANCE, curable=False)
        device = _device(handle, DeviceKind.GPU)
        yield _Listed(device=device, handle=handle, parent=handle, trouble=trouble)


def _mig_handles(parent: object) -> Iterator[object]:
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(parent)):
        try:
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, index)
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_NOT_FOUND:  # a slot without an instance
                raise


def _device(handle: object, kind: DeviceKind) -> Device:
    uuid = DeviceId(pynvml.nvmlDeviceGetUUID(handle))
    return Device(id=uuid, name=pynvml.nvmlDeviceGetName(handle), kind=kind)


def _unnamed(index: int) -> Device:
    """For a GPU that exists or should, but never told its UUID."""
    return Device(id=DeviceId(f"nvml-{index}"), name="NVIDIA GPU", kind=DeviceKind.GPU)


def _is_unified(handle: object) -> bool:
    """Whether the GPU lives in the host's RAM: it has no memory to tell of, and is integrated.

    A discrete card that does not tell of its memory is broken, and host RAM is no answer.
    """
    memory = _or_else(lambda: _memory(handle), None)
    if memory is not None and memory.total > 0:
        return False
    if _INTEGRATED_NAMES.search(pynvml.nvmlDeviceGetName(handle)):
        return True
    bus = _or_else(lambda: pynvml.nvmlDeviceGetBusType(handle), pynvml.NVML_BUS_TYPE_UNKNOWN)
    if bus == pynvml.NVML_BUS_TYPE_FPCI:  # the bus inside a system on a chip
        return True
    # It uses the processor's page tables and is no NUMA node, as a GPU with memory would be.
    none = pynvml.NVML_DEVICE_ADDRESSING_MODE_NONE
    mode = _or_else(lambda: pynvml.nvmlDeviceGetAddressingMode(handle), none)
    has_node = _or_else(lambda: pynvml.nvmlDeviceGetNumaNodeId(handle) >= 0, False)
    return bool(mode == pynvml.NVML_DEVICE_ADDRESSING_MODE_ATS and not has_node)


def _bytes_of(listed: _Listed) -> HostBytes | _Trouble:
    if listed.device.kind is DeviceKind.UNIFIED:
        try:
            return host_bytes()
        except (OSError, ValueError) as error:
            return _Trouble(problem=f"{NO_SIZE} ({error})", curable=False)
    memory = _memory(listed.handle)
    if memory is None or not 0 <= memory.available <= memory.total or memory.total == 0:
        return _Trouble(problem=NO_SIZE, curable=False)
    return memory


def _memory(handle: object) -> HostBytes | None:
    """Total and free; None if this device does not tell.

    Version 1 counts what the driver keeps for itself as used, version 2 apart; both mean the same
    by `free`, which is what is budgeted on. Old drivers have only version 1.
    """
    for version in (pynvml.nvmlMemory_v2, None):
        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version)
        except pynvml.NVMLError as error:
            if error.value not in _UNAVAILABLE:
                raise
        else:
            return HostBytes(total=int(memory.total), available=int(memory.free))
    return None


def _utilization(handle: object) -> float | None:
    return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def _temperature(handle: object) -> float | None:
    """The newer question is not known to older drivers, the older one will go with CUDA 14."""
    try:
        return float(pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError as error:
        if error.value not in _UNAVAILABLE:
            raise
    return float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))


def _processes(handle: object) -> tuple[ProcessUse, ...] | None:
    """Who holds how much; None if the driver does not tell.

    A process that computes and draws stands in both lists with the same figure.
    """
    computing = _or_else(
        lambda: _process_list(
            handle,
            pynvml.nvmlDeviceGetComputeRunningProcesses_v3,
            pynvml.nvmlDeviceGetComputeRunningProcesses_v2,
        ),
        None,
    )
    if computing is None:
        return None
    drawing = _or_else(
        lambda: _process_list(
            handle,
            pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3,
            pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2,
        ),
        {},
    )
    sizes = {**drawing, **computing}
    uses = tuple(ProcessUse(pid=p, used_bytes=n) for p, n in sorted(sizes.items()) if n is not None)
    # Where the driver lists processes but no sizes (WDDM), it does not tell.
    return None if sizes and not uses else uses


def _process_list(
    handle: object, *versions: Callable[[object], list[object]]
) -> dict[int, int | None]:
    newest, older = versions
    try:
        return _patient_list(handle, newest)
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
    return _patient_list(handle, older)


def _patient_list(
    handle: object, function: Callable[[object], list[object]]
) -> dict[int, int | None]:
    """Processes that start between the binding's two calls make the list too long for it."""
    for tries_left in reversed(range(PROCESS_LIST_TRIES)):
        try:
            return {process.pid: process.usedGpuMemory for process in function(handle)}
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_INSUFFICIENT_SIZE or tries_left == 0:
                raise
    raise AssertionError("the last try returns or raises")


def _forget_library() -> None:
    """Let the next opening load the library anew.

    After an upgrade the old library stays mapped and can never talk to the new kernel module; the
    loader hands the old one out again as long as anybody holds it.
    """
    if pynvml.nvmlLib is not None:
        _ctypes.dlclose(pynvml.nvmlLib._handle)
        pynvml.nvmlLib = None
        pynvml._nvmlGetFunctionPointer_cache.clear()
