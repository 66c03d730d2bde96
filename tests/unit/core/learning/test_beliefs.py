"""What is promised before the next load."""

import pytest

from orchestrator.core.learning.beliefs import (
    after_failures,
    after_loads,
    after_other_settings,
    most_raised,
)
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.measurements import Measurement, Raised
from orchestrator.core.values.vram import DeviceKind, GiB

DECLARED = Footprint(device_bytes=8 * GiB)
ESTIMATED = Footprint(
    device_bytes=8 * GiB, host_only_bytes=7 * GiB, provenance=Provenance.ESTIMATED
)
GPU, HOST = DeviceKind.GPU, DeviceKind.HOST


def took(peak_gib, *, predicted_gib=8, host_gib=0):
    peak = peak_gib * GiB
    return Measurement(
        predicted_bytes=predicted_gib * GiB,
        settled_bytes=peak,
        peak_bytes=peak,
        host_bytes=host_gib * GiB,
    )


def test_what_was_measured_is_believed_also_where_it_was_less():
    known = after_loads(DECLARED, [took(6), took(5, host_gib=1)], GPU)
    assert known == Footprint(device_bytes=6 * GiB, host_bytes=GiB, provenance=Provenance.MEASURED)
    assert after_loads(DECLARED, [], GPU) is DECLARED


def test_host_ram_is_believed_beyond_the_prediction_and_never_below_it():
    assert after_loads(ESTIMATED, [took(5)], HOST) is ESTIMATED
    more = after_loads(ESTIMATED, [took(9)], HOST)
    assert (more.without_gpu_bytes, more.provenance) == (9 * GiB, Provenance.MEASURED)
    beside = Footprint(device_bytes=8 * GiB, host_bytes=2 * GiB)
    assert after_loads(beside, [took(6, host_gib=1)], GPU).host_bytes == 2 * GiB


@pytest.mark.parametrize(
    ("peaks", "kind", "gib"), [([9, 7], GPU, 9), ([7], GPU, 7), ([], GPU, 8), ([7], HOST, 8)]
)
def test_an_estimate_is_corrected_by_what_others_residuals_were(peaks, kind, gib):
    found = after_other_settings(ESTIMATED, [took(peak) for peak in peaks], kind)
    assert (found.device_bytes, found.provenance) == (gib * GiB, Provenance.ESTIMATED)


@pytest.mark.parametrize(
    ("peaks", "gib", "provenance"),
    [([9, 10], 10, Provenance.ESTIMATED), ([7], 8, Provenance.DECLARED)],
)
def test_a_declaration_is_believed_unless_less_than_others_took(peaks, gib, provenance):
    found = after_other_settings(DECLARED, [took(peak) for peak in peaks], GPU)
    assert (found.device_bytes, found.provenance) == (gib * GiB, provenance)


def raised(least_gib, *, predicted_gib=8, in_use=False):
    return Raised(least_bytes=least_gib * GiB, predicted_bytes=predicted_gib * GiB, in_use=in_use)


def test_a_failure_is_not_forgotten_because_a_load_went_well():
    measured = after_loads(DECLARED, [took(6)], GPU)
    found = after_failures(measured, raised(10, in_use=True), DECLARED, GPU)
    assert (found.device_bytes, found.provenance) == (10 * GiB, Provenance.RAISED)
    assert (found.raised_bytes, found.raised_in_use) == (4 * GiB, True)


def test_what_was_measured_beyond_a_guess_is_measured():
    measured = after_loads(DECLARED, [took(11)], GPU)
    assert after_failures(measured, raised(10), DECLARED, GPU) is measured
    assert after_failures(measured, None, DECLARED, GPU) is measured


def test_another_word_of_the_operators_ends_a_guess():
    again = Footprint(device_bytes=9 * GiB)
    assert after_failures(again, raised(12), again, GPU) is again


def test_on_a_host_a_guess_is_of_what_is_taken_there():
    found = after_failures(ESTIMATED, raised(9, predicted_gib=7), ESTIMATED, HOST)
    assert found.without_gpu_bytes == 9 * GiB


def test_of_guesses_on_one_prediction_the_highest_counts():
    assert most_raised(None, raised(9)) == raised(9)
    assert most_raised(raised(10, in_use=True), raised(9)) == raised(10, in_use=True)
    assert most_raised(raised(10, predicted_gib=6), raised(9)) == raised(9)
