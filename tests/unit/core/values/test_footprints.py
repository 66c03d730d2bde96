"""What a model needs, and how it is known."""

from dataclasses import replace

from orchestrator.core.values.footprints import Footprint, Provenance


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


def test_what_was_raised_after_a_failure_is_no_longer_what_it_was():
    measured = Footprint(device_bytes=8, host_only_bytes=9, provenance=Provenance.MEASURED)
    once = measured.raised(2)
    assert (once.device_bytes, once.host_only_bytes, once.raised_bytes) == (10, 11, 2)
    assert (once.provenance, once.raised_in_use) == (Provenance.RAISED, False)
    again = once.raised(3, in_use=True)
    assert (again.device_bytes, again.raised_bytes, again.raised_in_use) == (13, 5, True)
    assert again.raised(1).raised_in_use, "what it once needed to serve it needs to serve"
    assert measured.raised(0) is measured


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
