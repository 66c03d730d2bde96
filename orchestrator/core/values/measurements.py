"""What loads were seen to take, beside what had been predicted: the ground of the next promise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MEASUREMENTS_MAX = 20  # of one model under one set of settings: older ones are of an older world
P95 = 0.95
DRIFT_FRACTION = 0.05  # beyond this of what was believed, something about the model has changed
DRIFT_BYTES_MIN = 128 << 20  # allocators round, and drivers keep pools: smaller changes are theirs
# Two loads of one model differ by some pages of a driver's pools; a stranger who comes or goes
# beside each of them by just the same is not to be expected.
AGREEMENT_FRACTION = 0.03
AGREEMENT_BYTES_MIN = 32 << 20


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """After an out-of-memory: it needs at least so much, whatever loads are seen to take."""

    least_bytes: int  # of the memory that the layers lie in
    predicted_bytes: int  # then; where something else is predicted or declared now, it is void
    in_use: bool = False  # while it served


def near(one_bytes: int, other_bytes: int) -> bool:
    """Whether two figures are the same but for what a driver's pools make of it."""
    slack_bytes = max(AGREEMENT_BYTES_MIN, int(max(one_bytes, other_bytes) * AGREEMENT_FRACTION))
    return abs(one_bytes - other_bytes) <= slack_bytes


def agree(one: Measurement, other: Measurement) -> bool:
    return near(one.settled_bytes, other.settled_bytes) and near(one.peak_bytes, other.peak_bytes)


def with_newest(measured: Sequence[Measurement], newest: Measurement) -> tuple[Measurement, ...]:
    return (*measured, newest)[-MEASUREMENTS_MAX:]


def p95_bytes(sizes: Sequence[int]) -> int:
    """Nineteen loads of twenty stay within it; of fewer, all of them."""
    assert sizes, "of nothing there is no percentile"
    ranked = sorted(sizes)
    return ranked[math.ceil(P95 * len(ranked)) - 1]


def learned_bytes(measured: Sequence[Measurement]) -> int:
    """The next reservation: the prediction and the learned residual, which is what was measured."""
    return p95_bytes([load.peak_bytes for load in measured])


def drift_bytes(measured: Sequence[Measurement], newest: Measurement) -> int:
    """How far the newest residual is from those before; 0 while it is near enough."""
    if not measured:
        return 0
    usual = p95_bytes([load.residual_bytes for load in measured])
    distance = newest.residual_bytes - usual
    near = max(DRIFT_BYTES_MIN, int(newest.predicted_bytes * DRIFT_FRACTION))
    return distance if abs(distance) > near else 0
