"""What loads were seen to take, beside what had been predicted: the ground of the next promise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MEASUREMENTS_MAX = 20  # of one model under one set of settings: older ones are of an older world
P95 = 0.95
DRIFT_FRACTION = 0.05  # beyond this of what was believed, something about the model has changed
DRIFT_BYTES_MIN = 128 << 20  # allocators round, and drivers keep pools: smaller changes are theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One life of a model, on the devices that its layers lie on."""

    predicted_bytes: int
    settled_bytes: int  # once it answered
    peak_bytes: int  # at most, while it loaded and served
    host_bytes: int = 0  # beside the devices

    @property
    def residual_bytes(self) -> int:
        """What the prediction did not know of; below zero where it was too careful."""
        return self.peak_bytes - self.predicted_bytes


def with_newest(measured: Sequence[Measurement], newest: Measurement) -> tuple[Measurement, ...]:
    return (*measured, newest)[-MEASUREMENTS_MAX:]


def p95_bytes(sizes: Sequence[int]) -> int:
    """Nineteen loads of twenty stay within it; of fewer, all of them."""
    assert sizes, "of nothing there is no percentile"
    ranked = sorted(sizes)
    return ranked[math.ceil(P95 * len(ranked)) - 1]


def learned_bytes(measured: Sequence[Measurement]) -> int:
    """The next reservation: the prediction and the learned residual, which is what was measured."""
    return p95_bytes([each.peak_bytes for each in measured])


def corrected_bytes(prediction_bytes: int, of_others: Sequence[Measurement]) -> int:
    """A prediction for settings that never ran, with the residual of those that did."""
    return max(prediction_bytes + p95_bytes([each.residual_bytes for each in of_others]), 0)


def drift_bytes(measured: Sequence[Measurement], newest: Measurement) -> int:
    """How far the newest residual is from those before; 0 while it is near enough."""
    if not measured:
        return 0
    usual = p95_bytes([each.residual_bytes for each in measured])
    distance = newest.residual_bytes - usual
    near = max(DRIFT_BYTES_MIN, int(newest.predicted_bytes * DRIFT_FRACTION))
    return distance if abs(distance) > near else 0
