"""What is promised after some loads have been seen."""

import pytest

from orchestrator.core.measurements import (
    DRIFT_BYTES_MIN,
    MEASUREMENTS_MAX,
    Measurement,
    corrected_bytes,
    drift_bytes,
    learned_bytes,
    p95_bytes,
    with_newest,
)
from orchestrator.core.vram import GiB


def measured(peak_bytes, predicted_bytes=8 * GiB):
    return Measurement(
        predicted_bytes=predicted_bytes, settled_bytes=peak_bytes, peak_bytes=peak_bytes
    )


@pytest.mark.parametrize(
    ("sizes", "p95"), [([5], 5), ([1, 9, 3], 9), (range(1, 21), 19), (range(1, 41), 38)]
)
def test_p95_forgives_one_of_twenty_and_of_fewer_none(sizes, p95):
    assert p95_bytes(list(sizes)) == p95


def test_what_was_measured_is_promised_next_also_when_it_was_less():
    assert learned_bytes([measured(7 * GiB), measured(6 * GiB)]) == 7 * GiB


def test_other_settings_are_promised_their_prediction_and_the_residual():
    assert corrected_bytes(20 * GiB, [measured(9 * GiB), measured(7 * GiB)]) == 21 * GiB
    assert corrected_bytes(20 * GiB, [measured(7 * GiB)]) == 19 * GiB
    assert corrected_bytes(0, [measured(7 * GiB)]) == 0


def test_only_the_last_measurements_are_kept():
    kept = ()
    for size in range(MEASUREMENTS_MAX + 3):
        kept = with_newest(kept, measured(size))
    assert [each.peak_bytes for each in kept] == list(range(3, MEASUREMENTS_MAX + 3))


@pytest.mark.parametrize(
    ("before", "newest", "distance"),
    [
        ([], 12 * GiB, 0),
        ([8 * GiB], 8 * GiB + DRIFT_BYTES_MIN, 0),
        ([8 * GiB, 7 * GiB], 9 * GiB, GiB),
        ([8 * GiB], 7 * GiB, -GiB),
    ],
)
def test_a_residual_that_drifts_is_told_from_noise(before, newest, distance):
    assert drift_bytes([measured(each) for each in before], measured(newest)) == distance
