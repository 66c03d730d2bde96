"""Where a spec could go at all, whatever is there now."""

from collections.abc import Iterator
from itertools import combinations, islice

from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.residents import Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.core.values.vram import DeviceId, DeviceKind, Reading

# Ways to spread one model over several devices grow with the binomial; beyond this many, those
# that start with the emptiest devices are the ones worth looking at.
SPREADS_MAX = 64


def answers_to(reading: Reading, wanted: str) -> bool:
    device = reading.device
    return wanted in (device.id, device.name, device.kind)


def bytes_on(spec: ModelSpec, ledger: Ledger, device: DeviceId) -> int:
    """What the spec takes of that device if it goes nowhere else but to the host beside it."""
    return spec.footprint.layer_bytes(ledger.reading(device).device.kind)


def layer_devices(placement: Placement, ledger: Ledger) -> tuple[DeviceId, ...]:
    """The GPUs of a placement; without any, the memory that everything lies in."""
    gpus = (on for on in placement.devices if ledger.reading(on).device.kind is DeviceKind.GPU)
    return tuple(gpus) or placement.devices[:1]


def least_bytes(spec: ModelSpec, ledger: Ledger, devices: list[DeviceId]) -> int:
    """What it takes where it takes least."""
    sizes = (bytes_on(spec, ledger, device) for device in devices)
    return min(sizes, default=spec.footprint.device_bytes)


def usable_devices(spec: ModelSpec, ledger: Ledger) -> list[DeviceId]:
    """The devices the spec may use, readable or not; host RAM only where asked for or alone.

    A model without layers on a GPU goes to the host. Where no device accounts for the host's RAM it
    goes to a GPU and is charged what it takes there: its server opens the GPU that it is given.
    """
    if spec.devices:
        return [
            device
            for device in ledger.devices
            if any(answers_to(ledger.reading(device), wanted) for wanted in spec.devices)
        ]
    hosts: list[DeviceId] = []
    accelerators: list[DeviceId] = []
    for device in ledger.devices:
        is_host = ledger.reading(device).device.kind is DeviceKind.HOST
        (hosts if is_host else accelerators).append(device)
    if spec.serving.gpu_layers == 0 and hosts:
        return hosts
    return accelerators or hosts


def placements(spec: ModelSpec, ledger: Ledger, devices: list[DeviceId]) -> Iterator[Placement]:
    """Every placement on readable devices that would fit if they were empty (R1).

    One device is better than two, so wider spreads come later.
    """
    host = host_beside(ledger) if spec.footprint.host_bytes else None
    readable = [device for device in devices if ledger.readable(device)]
    for width in range(1, min(spec.span, len(readable)) + 1):
        roomiest_first = (
            readable
            if width == 1
            else sorted(readable, key=lambda device: (-ledger.free_bytes(device), device))
        )
        for chosen in islice(
            combinations(roomiest_first, width), SPREADS_MAX if width > 1 else None
        ):
            placement = _spread(spec, ledger, chosen, host)
            if all(share <= ledger.limit_bytes(device) for device, share in placement.shares):
                yield placement


def _spread(
    spec: ModelSpec, ledger: Ledger, chosen: tuple[DeviceId, ...], host: DeviceId | None
) -> Placement:
    if len(chosen) == 1 and ledger.reading(chosen[0]).device.kind is not DeviceKind.GPU:
        return Placement(((chosen[0], bytes_on(spec, ledger, chosen[0])),))
    share = -(-spec.footprint.spread_bytes(len(chosen)) // len(chosen))
    shares = tuple((device, share) for device in chosen)
    if host is not None and host not in chosen:
        shares += ((host, spec.footprint.host_bytes),)
    return Placement(shares)


def host_beside(ledger: Ledger) -> DeviceId | None:
    """Where a model on a GPU keeps what stays in host RAM; None if no device accounts for it."""
    return next(
        (
            device
            for device in ledger.devices
            if ledger.reading(device).device.kind is DeviceKind.HOST and ledger.readable(device)
        ),
        None,
    )
