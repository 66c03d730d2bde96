"""What of a device's bytes belongs to a model that has just come up: seen, worked out, or believed.

Where the driver tells who holds what, that is the answer. Where it does not, the device's change
since the load began may be, if no other resident moved there meanwhile. A stranger may have, and
is not seen: the change is believed where it is what was expected, or what the load before it
seemed to take. Otherwise it is said that nothing was measured, and it is kept in mind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.core.life.state import Baseline, State
from orchestrator.core.room.placement import layer_devices
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.measurements import Measurement, agree, near
from orchestrator.core.values.messages import Loaded
from orchestrator.core.values.residents import Placement, Resident, ResidentState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.core.values.vram import DeviceId, DeviceKind, MiB, to_mb

# A change of the device outside this part of what was promised is not the model's, or only in part.
PLAUSIBLE_FRACTION = (0.5, 1.5)
# What of an estimate can be wrong. Headers are read to within 1 % of the engine's own plan; beside
# that the estimate holds 600 MiB for CUDA's context, which is known to take 300 to 700.
ESTIMATE_FRACTION = 0.02
CONTEXT_BYTES_LESS = 300 * MiB
CONTEXT_BYTES_MORE = 100 * MiB
# A server that computes on the GPU takes nearly all of what it was promised; one that found no
# GPU takes nothing, or the few MiB that asking the driver costs.
FALLBACK_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class Attribution:
    """What to charge, what to believe of this life, and what was learned, if anything was."""

    charge: Placement
    footprint: Footprint
    layers: tuple[DeviceId, ...]  # where the layers are
    measurement: Measurement | None = None
    sighting: Measurement | None = None  # what it seems to have taken: no measurement yet
    doubt: str = ""


def baseline(state: State, loading: Resident) -> Baseline:
    ledger = state.ledger
    readings = ((device, ledger.reading(device)) for device in loading.placement.devices)
    used = {device: reading.used_bytes for device, reading in readings}
    known = {device: size for device, size in used.items() if size is not None}
    return Baseline(
        ledger.version,
        known,
        free_bytes={device: ledger.physically_free(device, loading) for device in known},
        foreign_bytes={device: ledger.foreign_bytes(device) for device in known},
    )


def watch(state: State) -> None:
    """Per reading, while a model loads: the most that its devices had in use, and the growth of
    foreign bytes where the driver tells them from the model's own.
    """
    for instance, began in list(state.baselines.items()):
        resident = state.by_instance(instance)
        if resident is None:
            continue
        highest, taken = dict(began.highest_bytes), dict(began.taken_bytes)
        for device in began.used_bytes:
            used_bytes = state.ledger.reading(device).used_bytes
            highest[device] = max(highest.get(device, 0), used_bytes or 0)
            if state.ledger.held_bytes(resident, device) is not None:
                grown_bytes = state.ledger.foreign_bytes(device) - began.foreign_bytes[device]
                taken[device] = max(grown_bytes, 0)
        state.baselines[instance] = replace(began, highest_bytes=highest, taken_bytes=taken)


def attribute(state: State, resident: Resident, event: Loaded) -> Attribution:
    """What a load took, and how sure that is."""
    told, placement = event.measured or {}, resident.placement
    believed, layers = resident.spec.footprint, layer_devices(placement, state.ledger)
    settled, peaks = _by_change(state, resident)
    settled, peaks = {**settled, **told}, {**peaks, **told, **(event.peak or {})}
    if not all(device in settled for device in layers):
        is_told = any(_is_gpu(state, device) for device in layers)
        doubt = "; this load was not measured" if is_told else ""
        return Attribution(_charge(state, resident, told), believed, layers, doubt=doubt)
    measured = Measurement(
        predicted_bytes=(resident.spec.predicted or believed).layer_bytes(_kind(state, layers[0])),
        settled_bytes=len(layers) * max(settled[on] for on in layers),
        peak_bytes=len(layers) * max(max(settled[on], peaks.get(on, 0)) for on in layers),
        host_bytes=sum(settled.get(on, 0) for on in placement.devices if on not in layers),
    )
    promised_bytes = sum(placement.on(device) for device in layers)
    charge = _charge(state, resident, settled)
    if all(device in told for device in layers) or _expected(
        resident.spec, measured, promised_bytes, devices=len(layers)
    ):
        footprint = believed
        if _outweighs(measured, believed, promised_bytes, on_gpu=_is_gpu(state, layers[0])):
            footprint = _seen(measured, charge, layers, Provenance.MEASURED)
        return Attribution(charge, footprint, layers, measurement=measured)
    guess = resident.spec.predicted or believed
    if believed.provenance is not Provenance.MEASURED and guess.provenance is Provenance.DECLARED:
        return Attribution(
            charge,
            _seen(measured, charge, layers, Provenance.UNCERTAIN),
            layers,
            sighting=measured,
            doubt=": the driver does not tell whose bytes they are; "
            f"{to_mb(promised_bytes)} MB were promised",
        )
    charge = _charge(state, resident, told)
    return Attribution(
        charge,
        believed,
        layers,
        sighting=measured,
        doubt="; this load was not measured for certain",
    )


def _outweighs(
    measured: Measurement, believed: Footprint, promised_bytes: int, *, on_gpu: bool
) -> bool:
    """Whether what was seen is what to go by for this life.

    Not on the host, where a file that is mapped counts as far as it has been touched: what it
    was promised may still come. Nor where more was needed once while it served.
    """
    return (on_gpu and not believed.raised_in_use) or measured.peak_bytes > promised_bytes


def _seen(
    measured: Measurement,
    charge: Placement,
    layers: tuple[DeviceId, ...],
    provenance: Provenance,
) -> Footprint:
    """Spread evenly again, it must do for the device that held most."""
    beside = sum(share for device, share in charge.shares if device not in layers)
    return Footprint(device_bytes=measured.peak_bytes, host_bytes=beside, provenance=provenance)


def _expected(spec: ModelSpec, found: Measurement, promised_bytes: int, *, devices: int) -> bool:
    """Whether a change of the devices may be taken for the model's own bytes."""
    if spec.sighted is not None and agree(found, spec.sighted):
        return True
    if spec.footprint.provenance is Provenance.MEASURED:
        return near(found.peak_bytes, promised_bytes)
    guess = spec.predicted or spec.footprint
    if not spec.footprint.provenance is guess.provenance is Provenance.ESTIMATED:
        return False
    slack_bytes = int(promised_bytes * ESTIMATE_FRACTION)
    least_bytes = promised_bytes - slack_bytes - devices * CONTEXT_BYTES_LESS
    most_bytes = promised_bytes + slack_bytes + devices * CONTEXT_BYTES_MORE
    return least_bytes <= found.settled_bytes <= found.peak_bytes <= most_bytes


def _by_change(
    state: State, resident: Resident
) -> tuple[Mapping[DeviceId, int], Mapping[DeviceId, int]]:
    """What GPUs hold more than before the load, and held more at most; where only a stranger can
    have had a part in it, and not one too large to be overlooked.

    What is more than its promise fits beside what the others are charged. If it does not, one of
    them holds less than its charge, and a stranger has that room: it is foreign, not the model's.
    """
    before = state.baselines.get(resident.instance)
    taken: dict[DeviceId, int] = {}
    highest: dict[DeviceId, int] = {}
    if before is None:
        return taken, highest
    for device, used_bytes in before.used_bytes.items():
        now_bytes = state.ledger.reading(device).used_bytes
        if not _is_gpu(state, device) or now_bytes is None:
            continue
        change, share = now_bytes - used_bytes, resident.placement.on(device)
        least, most = (fraction * share for fraction in PLAUSIBLE_FRACTION)
        most = min(most, max(share, _left_beside(state, resident, device)))
        if least <= change <= most and state.ledger.alone_since(resident, device, before.version):
            taken[device] = change
            highest[device] = before.highest_bytes.get(device, 0) - used_bytes
    return taken, highest


def _left_beside(state: State, resident: Resident, device: DeviceId) -> int:
    """What of the device none of the others is charged for; what is only reserved is on no device
    yet.
    """
    others = (
        other.placement.on(device)
        for other in state.ledger.on(device)
        if other.instance != resident.instance and other.state is not ResidentState.RESERVED
    )
    return (state.ledger.reading(device).total_bytes or 0) - sum(others)


def _charge(state: State, resident: Resident, seen: Mapping[DeviceId, int]) -> Placement:
    """Host RAM is touched lazily: there nothing ever takes less than it was promised. Nor does
    what ran out of memory while it served: it is not then that it is measured.
    """
    lazy = resident.spec.footprint.raised_in_use
    shares = []
    for device, share in resident.placement.shares:
        held = seen.get(device, share)
        keeps = lazy or not _is_gpu(state, device)
        shares.append((device, max(held, share) if keeps else held))
    return Placement(tuple(shares))


def _kind(state: State, device: DeviceId) -> DeviceKind:
    return state.ledger.reading(device).device.kind


def _is_gpu(state: State, device: DeviceId) -> bool:
    return _kind(state, device) is DeviceKind.GPU


def silent_fallback(state: State, resident: Resident, event: Loaded) -> Decide | None:
    """Said of a server that answers but took no VRAM: it computes on the processor, slowly."""
    if resident.endpoint is not None:
        return None  # adopted while it loaded: what it held by then is not told from foreign bytes
    if resident.spec.serving.gpu_layers == 0:
        return None  # as the operator wants it
    shares = [share for share in resident.placement.shares if _is_gpu(state, share[0])]
    if not all(state.ledger.readable(device) for device, _ in shares):
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
