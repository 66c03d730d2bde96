"""What of a device's bytes belongs to a model that has just come up: seen, worked out, or believed.

Where the driver tells who holds what, that is the answer. Where it does not, the device's change
since the load began is, if nobody else of ours moved there meanwhile and the figure is plausible.
Otherwise what was believed before stands, and it is said that nothing was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.core.footprints import Footprint, Provenance
from orchestrator.core.measurements import Measurement
from orchestrator.core.messages import Decide, DecisionKind, Loaded
from orchestrator.core.placement import layer_devices, where_layers_are
from orchestrator.core.residents import Placement, Resident
from orchestrator.core.state import Baseline, State
from orchestrator.core.vram import DeviceId, DeviceKind, to_mb

# A change of the device outside this part of what was promised is somebody else's, or in part.
PLAUSIBLE_FRACTION = (0.5, 1.5)
# A server that computes on the GPU takes nearly all of what it was promised; one that found no
# GPU takes nothing, or the few MiB that asking the driver costs.
FALLBACK_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class Attribution:
    """What to charge, what to believe from now on, and what was learned, if anything was."""

    charge: Placement
    footprint: Footprint
    layers: tuple[DeviceId, ...]  # where the layers are
    measurement: Measurement | None = None
    doubt: str = ""


def baseline(state: State, loading: Resident) -> Baseline:
    readings = ((device, state.ledger.reading(device)) for device in loading.placement.devices)
    used = {device: reading.used_bytes for device, reading in readings}
    return Baseline(
        state.ledger.version, {device: size for device, size in used.items() if size is not None}
    )


def attribute(state: State, resident: Resident, event: Loaded) -> Attribution:
    """What a load took. Host RAM is touched lazily: there it never takes less than promised."""
    settled = {**_by_change(state, resident), **(event.measured or {})}
    shares = tuple(
        (device, _charge(state, device, share, settled.get(device)))
        for device, share in resident.placement.shares
    )
    charge, believed = Placement(shares), resident.spec.footprint
    layers = layer_devices(resident.placement, state.ledger)
    if not all(device in settled for device in layers):
        told = any(_is_gpu(state, device) for device in layers)
        return Attribution(charge, believed, layers, doubt=", not measured" if told else "")
    peak = Placement(
        tuple(
            (device, max(share, _highest(state, resident, event, device)))
            for device, share in shares
        )
    )
    footprint = _as_footprint(peak, layers, believed)
    if not _is_gpu(state, layers[0]) and charge == resident.placement:
        footprint = believed  # within its promise, of which the rest may still be touched
    kind = state.ledger.reading(layers[0]).device.kind
    measured = Measurement(
        predicted_bytes=where_layers_are(resident.spec.predicted or believed, kind),
        settled_bytes=len(layers) * max(charge.on(device) for device in layers),
        peak_bytes=where_layers_are(footprint, kind),
        host_bytes=sum(share for device, share in charge.shares if device not in layers),
    )
    return Attribution(charge, footprint, layers, measured)


def _highest(state: State, resident: Resident, event: Loaded, device: DeviceId) -> int:
    """The most that it held there, as far as anybody knows.

    One that had just run out of memory needed more than it was promised then, if only for a
    moment between two readings: what sufficed is what it is known to need.
    """
    seen = (event.peak or {}).get(device, 0)
    return max(seen, resident.placement.on(device)) if resident.name in state.retried else seen


def _as_footprint(peak: Placement, layers: tuple[DeviceId, ...], believed: Footprint) -> Footprint:
    """Spread evenly again, it must do for the device that held most."""
    together = len(layers) * max(peak.on(device) for device in layers)
    beside = sum(share for device, share in peak.shares if device not in layers)
    return replace(
        believed,
        device_bytes=together,
        host_bytes=beside,
        further_device_bytes=0,
        host_only_bytes=None,
        provenance=Provenance.MEASURED,
    )


def _by_change(state: State, resident: Resident) -> Mapping[DeviceId, int]:
    """What GPUs with silent drivers hold more than before; only what can be nobody else's."""
    before = state.baselines.get(resident.instance)
    if before is None:
        return {}
    taken = {}
    for device, used_bytes in before.used_bytes.items():
        now_bytes = state.ledger.reading(device).used_bytes
        if not _is_gpu(state, device) or now_bytes is None:
            continue
        change, share = now_bytes - used_bytes, resident.placement.on(device)
        least, most = (fraction * share for fraction in PLAUSIBLE_FRACTION)
        if least <= change <= most and state.ledger.alone_since(resident, device, before.version):
            taken[device] = change
    return taken


def _charge(state: State, device: DeviceId, share: int, seen: int | None) -> int:
    if seen is None:
        return share
    return seen if _is_gpu(state, device) else max(seen, share)


def _is_gpu(state: State, device: DeviceId) -> bool:
    return state.ledger.reading(device).device.kind is DeviceKind.GPU


def silent_fallback(state: State, resident: Resident, event: Loaded) -> Decide | None:
    """Said of a server that answers but took no VRAM: it computes on the processor, slowly."""
    if resident.endpoint is not None:
        return None  # adopted while it loaded: what it held by then is not told from foreign bytes
    if resident.spec.serving.gpu_layers == 0:
        return None  # as the operator wants it
    shares = [each for each in resident.placement.shares if _is_gpu(state, each[0])]
    if not shares or not all(state.ledger.readable(device) for device, _ in shares):
        return None
    held = event.measured or {}
    taken = [held.get(on, state.ledger.unexplained_bytes(on, resident)) for on, _ in shares]
    if sum(taken) >= FALLBACK_FRACTION * sum(share for _, share in shares):
        return None
    return Decide(
        kind=DecisionKind.FAIL,
        model=resident.name,
        text=f"{resident.name} answers, but took no VRAM of the "
        f"{to_mb(sum(share for _, share in shares))} MB that it was given: it computes on the "
        "processor.",
        why="no VRAM taken",
        remedy="Its log says why it did not use the GPU: a driver it does not find, a build "
        "without GPU support, or settings that offload no layer.",
    )
