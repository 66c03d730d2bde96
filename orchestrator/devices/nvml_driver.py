"""Questions to the NVIDIA driver, all of them blocking. The only module that knows `pynvml`.

A return code becomes a sentence here, once (`Trouble`); no other module sees an NVML error.
"""

import _ctypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pynvml

from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, ProcessUse
from orchestrator.devices.host import HostBytes, host_bytes
from orchestrator.devices.nvml_problems import NO_GPU, NO_INSTANCE, NO_SIZE, problem_of

T = TypeVar("T")

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
class Trouble:
    """Why a device, or all of them, cannot be read."""

    problem: str
    state: DeviceState = DeviceState.UNREADABLE
    curable: bool = True  # whether opening the driver again might help
    library_is_old: bool = False  # and the library must be loaded anew for that
    installed: bool = True  # False: this machine has no driver at all


class DriverFailed(Exception):
    """The driver as a whole does not work."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.problem)
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A device with the driver's handles, which are good until the driver is closed."""

    device: Device
    handle: object
    parent: object  # of a MIG instance; of a whole GPU the handle itself
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFigures:
    total_bytes: int
    free_bytes: int
    utilization_percent: float | None
    temperature_c: float | None
    processes: tuple[ProcessUse, ...] | None


class _ListedProcess(Protocol):
    pid: int
    usedGpuMemory: int | None  # noqa: N815 - the binding's name


def open_driver() -> None:
    """Raise DriverFailed if it does not work."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise DriverFailed(_trouble(error)) from error


def close_driver() -> None:
    """Handles are void from here. A driver that fails even at this is closed as well."""
    _or_else(pynvml.nvmlShutdown, None, broken=frozenset())


def forget_library() -> None:
    """Let the next opening load the library anew.

    After an upgrade the old library stays mapped and can never talk to the new kernel module; the
    loader hands the old one out again as long as it is open.
    """
    if pynvml.nvmlLib is not None:
        _ctypes.dlclose(pynvml.nvmlLib._handle)  # noqa: SLF001 - ctypes has no public way
        pynvml.nvmlLib = None
        pynvml._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001 - it points into the library


def list_devices() -> Iterator[Listed | Trouble]:
    """Every device, or what is wrong with a GPU that does not even tell its name.

    Raise DriverFailed if the driver lists nothing at all.
    """
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        raise DriverFailed(_trouble(error)) from error
    for index in range(count):
        try:
            yield from _listed_at(index)
        except pynvml.NVMLError as error:
            yield _trouble(error)


def driver_in_words() -> str:
    """Its version and how many devices it lists. Raise DriverFailed, also if one is in trouble."""
    open_driver()
    try:
        listed = list(list_devices())
        if not listed:
            raise DriverFailed(Trouble(problem=NO_GPU))
        for device in listed:
            trouble = device if isinstance(device, Trouble) else device.trouble
            if trouble is not None:
                raise DriverFailed(trouble)
        version = _or_else(pynvml.nvmlSystemGetDriverVersion, "?", broken=frozenset())
        return f"{version}, {len(listed)} GPU{'' if len(listed) == 1 else 's'}"
    finally:
        close_driver()


def read_device(listed: Listed, *, wants_processes: bool) -> DriverFigures | Trouble:
    if listed.trouble is not None:
        return listed.trouble
    try:
        held = _bytes_of(listed)
        if isinstance(held, Trouble):
            return held
        return DriverFigures(
            total_bytes=held.total,
            free_bytes=held.available,
            utilization_percent=_or_else(lambda: _utilization(listed.handle), None),
            temperature_c=_or_else(lambda: _temperature(listed.parent), None),
            processes=_processes(listed.handle) if wants_processes else None,
        )
    except pynvml.NVMLError as error:
        return _trouble(error)


def _trouble(error: pynvml.NVMLError) -> Trouble:
    lost = error.value == pynvml.NVML_ERROR_GPU_IS_LOST
    return Trouble(
        problem=problem_of(error.value, str(error)),
        state=DeviceState.LOST if lost else DeviceState.UNREADABLE,
        library_is_old=error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        installed=error.value != pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    )


def _or_else(function: Callable[[], T], otherwise: T, broken: frozenset[int] = _BROKEN) -> T:
    """What the driver says, or `otherwise` if it does not tell. Raise NVMLError if it is broken."""
    try:
        return function()
    except pynvml.NVMLError as error:
        if error.value in broken:
            raise
        return otherwise


def _listed_at(index: int) -> Iterator[Listed]:
    """The GPU, or its MIG instances: memory outside of them cannot be had."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    off = (pynvml.NVML_DEVICE_MIG_DISABLE, pynvml.NVML_DEVICE_MIG_DISABLE)
    mode, _ = _or_else(lambda: pynvml.nvmlDeviceGetMigMode(handle), off)
    if mode != pynvml.NVML_DEVICE_MIG_ENABLE:
        kind = DeviceKind.UNIFIED if _is_unified(handle) else DeviceKind.GPU
        yield Listed(device=_device(handle, kind), handle=handle, parent=handle)
        return
    instances = tuple(_mig_handles(handle))
    for instance in instances:
        yield Listed(device=_device(instance, DeviceKind.GPU), handle=instance, parent=handle)
    if not instances:
        trouble = Trouble(problem=NO_INSTANCE, curable=False)
        device = _device(handle, DeviceKind.GPU)
        yield Listed(device=device, handle=handle, parent=handle, trouble=trouble)


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


def _bytes_of(listed: Listed) -> HostBytes | Trouble:
    if listed.device.kind is DeviceKind.UNIFIED:
        try:
            return host_bytes()
        except (OSError, ValueError) as error:
            return Trouble(problem=f"{NO_SIZE} ({error})", curable=False)
    memory = _memory(listed.handle)
    if memory is None or not 0 <= memory.available <= memory.total or memory.total == 0:
        return Trouble(problem=NO_SIZE, curable=False)
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
    """The bytes of every process; None if the driver does not tell.

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
    nothing: dict[int, int | None] = {}
    drawing = _or_else(
        lambda: _process_list(
            handle,
            pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3,
            pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2,
        ),
        nothing,
    )
    sizes = {**drawing, **computing}
    uses = tuple(ProcessUse(pid=p, used_bytes=n) for p, n in sorted(sizes.items()) if n is not None)
    # Where the driver lists processes but no sizes (WDDM), it does not tell.
    return None if sizes and not uses else uses


def _process_list(
    handle: object, *versions: Callable[[object], list[_ListedProcess]]
) -> dict[int, int | None]:
    newest, older = versions
    try:
        return _patient_list(handle, newest)
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
    return _patient_list(handle, older)


def _patient_list(
    handle: object, function: Callable[[object], list[_ListedProcess]]
) -> dict[int, int | None]:
    """Processes that start between the binding's two calls make the list too long for it."""
    for tries_left in reversed(range(PROCESS_LIST_TRIES)):
        try:
            return {process.pid: process.usedGpuMemory for process in function(handle)}
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_INSUFFICIENT_SIZE or tries_left == 0:
                raise
    raise AssertionError("the last try returns or raises")
