"""What is believed of a model before its next load: predicted, measured, or raised after a failure.

All sizes are of the memory that the layers lie in. On a host they are never believed to be less
than was predicted: a mapped file counts there as far as it has been touched, and it is not known
whether a life was used as much as the next one will be.
"""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.measurements import Measurement, Raised, learned_bytes, p95_bytes
from orchestrator.core.values.vram import DeviceKind


def after_loads(
    prediction: Footprint, measured: Sequence[Measurement], kind: DeviceKind
) -> Footprint:
    """What was measured replaces what was predicted; nothing that was not measured does."""
    if not measured:
        return prediction
    needed_bytes = learned_bytes(measured)
    if kind is not DeviceKind.GPU:
        if needed_bytes <= prediction.layer_bytes(kind):
            return prediction
        return Footprint(device_bytes=needed_bytes, provenance=Provenance.MEASURED)
    beside_bytes = max(load.host_bytes for load in measured)
    return Footprint(
        device_bytes=needed_bytes,
        host_bytes=max(beside_bytes, prediction.host_bytes),
        provenance=Provenance.MEASURED,
    )


def after_other_settings(
    prediction: Footprint, of_others: Sequence[Measurement], kind: DeviceKind
) -> Footprint:
    """What was measured of the same files under other settings, for settings that never ran.

    An estimate is corrected by the residual of the others, which was one guess against the
    measurement. A declaration was made for one of them at best: it is believed as far as it is
    not less than they took.
    """
    if not of_others:
        return prediction
    if prediction.provenance is Provenance.ESTIMATED:
        residual_bytes = p95_bytes([load.residual_bytes for load in of_others])
        if kind is not DeviceKind.GPU:
            residual_bytes = max(residual_bytes, 0)
        return prediction.grown(residual_bytes)
    more_bytes = learned_bytes(of_others) - prediction.layer_bytes(kind)
    if prediction.provenance is not Provenance.DECLARED or more_bytes <= 0:
        return prediction
    return replace(prediction.grown(more_bytes), provenance=Provenance.ESTIMATED)


def after_failures(
    believed: Footprint, raised: Raised | None, prediction: Footprint, kind: DeviceKind
) -> Footprint:
    """At least what an out-of-memory has raised it to. Another prediction than then ends that."""
    if raised is None or raised.predicted_bytes != prediction.layer_bytes(kind):
        return believed
    more_bytes = raised.least_bytes - believed.layer_bytes(kind)
    return believed.raised(more_bytes, in_use=raised.in_use)


def most_raised(known: Raised | None, newest: Raised) -> Raised:
    if known is None or known.predicted_bytes != newest.predicted_bytes:
        return newest
    return replace(
        newest,
        least_bytes=max(known.least_bytes, newest.least_bytes),
        in_use=known.in_use or newest.in_use,
    )
