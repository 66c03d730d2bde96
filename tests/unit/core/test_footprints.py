"""What to reserve after a model has run out of memory."""

from dataclasses import replace

import pytest

from orchestrator.core.footprints import (
    OOM_GROWTH_BYTES_MIN,
    Footprint,
    Provenance,
    lacking_bytes,
)
from orchestrator.core.vram import GiB, MiB


@pytest.mark.parametrize(
    ("had_bytes", "missing_bytes", "grows_by"),
    [
        (8 * GiB, 700 * MiB, 700 * MiB),  # the log said how much
        (8 * GiB, None, 2 * GiB),
        (8 * GiB, 0, 2 * GiB),
        (512 * MiB, None, OOM_GROWTH_BYTES_MIN),
    ],
)
def test_growth_after_out_of_memory(had_bytes, missing_bytes, grows_by):
    before = Footprint(device_bytes=had_bytes, host_bytes=5 * MiB, provenance=Provenance.MEASURED)
    assert before.grown(lacking_bytes(before.device_bytes, missing_bytes)) == Footprint(
        device_bytes=had_bytes + grows_by, host_bytes=5 * MiB, provenance=Provenance.MEASURED
    )


def test_total_is_both_parts():
    assert Footprint(device_bytes=3, host_bytes=4).total_bytes == 7


def test_without_a_gpu_it_takes_what_is_known_of_that_or_all_of_both():
    assert Footprint(device_bytes=3, host_bytes=4).without_gpu_bytes == 7
    assert Footprint(device_bytes=3, host_bytes=4, host_only_bytes=5).without_gpu_bytes == 5


def test_every_further_device_costs_its_own():
    wide = Footprint(device_bytes=100, further_device_bytes=10)
    assert [wide.spread_bytes(count) for count in (1, 2, 3)] == [100, 110, 120]


def test_what_grows_grows_wherever_the_layers_lie_and_never_falls_below_nothing():
    one = Footprint(device_bytes=3, host_bytes=4, host_only_bytes=5)
    more = one.grown(2)
    assert (more.device_bytes, more.host_bytes, more.host_only_bytes) == (5, 4, 7)
    assert one.grown(-9).device_bytes == 0


BASE = Footprint(device_bytes=100, host_bytes=10, host_only_bytes=90)
LESS = Footprint(device_bytes=60, host_bytes=12, host_only_bytes=50)


def test_what_is_believed_moves_by_what_is_foretold_and_not_below_nothing():
    believed = Footprint(device_bytes=130, host_bytes=10, host_only_bytes=95)
    assert believed.moved(BASE, LESS) == Footprint(
        device_bytes=90, host_bytes=12, host_only_bytes=55
    )
    small = Footprint(device_bytes=30, host_bytes=0)
    assert small.moved(BASE, LESS) == Footprint(device_bytes=0, host_bytes=2)


def test_the_larger_of_two_is_larger_in_every_respect():
    assert BASE.at_least(LESS) == replace(BASE, host_bytes=12)
    plain = Footprint(device_bytes=50, host_bytes=70)
    assert plain.at_least(LESS) == Footprint(device_bytes=60, host_bytes=70, host_only_bytes=120)


def test_what_saves_in_one_place_may_cost_nowhere():
    assert LESS.saves_on(BASE)
    assert not BASE.saves_on(BASE)
    assert not BASE.saves_on(LESS)
    assert not Footprint(device_bytes=60, host_only_bytes=91).saves_on(BASE)
