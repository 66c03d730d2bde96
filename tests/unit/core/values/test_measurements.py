"""What is promised after some loads have been seen."""

from dataclasses import replace

import pytest

from orchestrator.core.values.measurements import (
    DRIFT_BYTES_MIN,
    MEASUREMENTS_MAX,
    Measurement,
    agree,
    drift_bytes,
    learned_bytes,
    near,
    p95_bytes,
    with_newest,
)
from orchestrator.core.values.vram import GiB, MiB


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


@pytest.mark.parametrize(
    ("one_mb", "other_mb", "same"),
    [(2000, 2050, True), (2000, 2100, False), (100, 130, True), (100, 140, False)],
)
def test_figures_are_the_same_but_for_a_few_percent_or_some_pools(one_mb, other_mb, same):
    assert near(one_mb * MiB, other_mb * MiB) is near(other_mb * MiB, one_mb * MiB) is same


def test_loads_agree_where_they_came_to_rest_and_where_they_were_highest():
    one = measured(8 * GiB)
    assert agree(one, replace(one, settled_bytes=8 * GiB + MiB))
    assert not agree(one, replace(one, settled_bytes=7 * GiB))
    assert not agree(one, replace(one, peak_bytes=9 * GiB))


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


def test_what_is_noise_grows_with_the_model():
    large = Measurement(
        predicted_bytes=100 * GiB, settled_bytes=100 * GiB, peak_bytes=100 * GiB, host_bytes=0
    )
    grown = replace(large, peak_bytes=101 * GiB)
    assert drift_bytes([large], grown) == 0
    assert drift_bytes([large], replace(large, peak_bytes=106 * GiB)) == 6 * GiB
