"""Devices and their bytes, as answers show them. Pure, as `shaping`."""

from collections.abc import Iterable

from orchestrator.core.values.snapshot import DeviceAccount
from orchestrator.core.values.vram import DeviceId, DeviceKind, DeviceState, to_mb
from orchestrator.web.wire import shapes
from orchestrator.web.wire.instants import instant


def mb(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else to_mb(size_bytes)


def counted_accounts(accounts: Iterable[DeviceAccount]) -> tuple[DeviceAccount, ...]:
    """The devices whose bytes are VRAM; on a machine without a GPU, its RAM takes their place."""
    everything = tuple(accounts)
    gpus = tuple(a for a in everything if a.reading.device.kind is not DeviceKind.HOST)
    return gpus or everything


def host_devices(accounts: Iterable[DeviceAccount]) -> frozenset[DeviceId]:
    """Devices whose share of a model is not VRAM."""
    everything = tuple(accounts)
    counted = counted_accounts(everything)
    return frozenset(a.reading.device.id for a in everything if a not in counted)


def figures(accounts: Iterable[DeviceAccount]) -> shapes.Figures:
    """Sums over the devices that can be read; null where none can."""
    readable = [account for account in accounts if account.reading.state is DeviceState.OK]
    total = _sum(mb(account.reading.total_bytes) for account in readable)
    free = _sum(mb(account.reading.free_bytes) for account in readable)
    use = [
        a.reading.utilization_percent for a in readable if a.reading.utilization_percent is not None
    ]
    return {
        "total_mb": total,
        "used_mb": None if total is None or free is None else total - free,
        "free_mb": free,
        "available_mb": _sum(mb(account.available_bytes) for account in readable),
        "foreign_mb": _sum(mb(account.foreign_bytes) for account in readable),
        "headroom_mb": sum(to_mb(account.headroom_bytes) for account in readable),
        "utilization_percent": round(sum(use) / len(use), 1) if use else None,
        "memory_used_percent": None if not total or free is None else _percent(total - free, total),
    }


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1)


def _sum(sizes: Iterable[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def device(account: DeviceAccount) -> shapes.DeviceShape:
    reading = account.reading
    return {
        "id": reading.device.id,
        "name": reading.device.name,
        "kind": reading.device.kind,
        "state": reading.state,
        "problem": reading.problem,
        "read_at": instant(reading.read_s),
        "temperature_c": reading.temperature_c,
        "charged_mb": to_mb(account.charged_bytes),
        **figures([account]),
        "headroom_mb": to_mb(account.headroom_bytes),
    }
