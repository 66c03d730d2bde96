"""The life of a resident: which states follow which, and what a use leaves behind."""

from dataclasses import replace

import pytest

from orchestrator.core.values.residents import (
    LEAVING,
    SERVING,
    TRANSITIONS,
    USE_SEEN_LATE_S,
    Endpoint,
    Placement,
    ResidentState,
)
from orchestrator.core.values.vram import DeviceId
from tests.factories import resident

S = ResidentState
PAIRS = [(before, after) for before in S for after in S]
G0, G1 = DeviceId("g0"), DeviceId("g1")


def test_every_state_has_its_row():
    assert TRANSITIONS.keys() == set(S)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_only_what_the_table_allows_happens(before, after):
    there = resident("a", gib=1, state=before)
    if after in TRANSITIONS[before]:
        moved = there.become(after, 7.0)
        assert (moved.state, moved.state_since_s) == (after, 7.0)
    else:
        with pytest.raises(AssertionError, match=f"{before} -> {after}"):
            there.become(after, 7.0)


@pytest.mark.parametrize("state", list(S))
def test_every_life_can_end(state):
    """From everywhere there is a way to RELEASING, from where its bytes come back."""
    reached, rim = {state}, {state}
    while rim:
        rim = {after for before in rim for after in TRANSITIONS[before]} - reached
        reached |= rim
    assert S.RELEASING in reached


def test_nobody_comes_back_from_the_dead():
    ways_back = {each for each in LEAVING if TRANSITIONS[each] & (SERVING | {S.LOADING})}
    assert not ways_back
    assert not LEAVING & SERVING


def test_a_placement_adds_up_what_is_on_one_device():
    placement = Placement(((G0, 3), (G1, 4), (G0, 5)))
    assert (placement.on(G0), placement.on(G1), placement.total_bytes) == (8, 4, 12)
    assert placement.on(DeviceId("g2")) == 0


def test_the_mean_gap_follows_the_uses():
    twice = resident("a", gib=1, used_s=0).used(10.0).used(20.0)
    assert (twice.last_used_s, twice.use_gap_s) == (20.0, 10.0)
    assert twice.used(20.0).use_gap_s == pytest.approx(7.0)
    assert twice.used(40.0).use_gap_s == pytest.approx(13.0)


def test_one_use_has_no_gap():
    assert resident("a", gib=1, used_s=0).used(10.0).use_gap_s is None


def test_a_clock_that_stands_still_makes_no_negative_gap():
    assert resident("a", gib=1).used(9.0).used(5.0).use_gap_s == 0.0


@pytest.mark.parametrize(("leases", "busy"), [(0, False), (1, False), (0, True)])
def test_in_use_is_leased_or_busy(leases, busy):
    there = replace(resident("a", gib=1, leases=leases), busy=busy)
    assert there.in_use is bool(leases or busy)


def test_a_use_that_is_leased_counts_once_when_it_is_seen_too():
    used = resident("a", gib=1, leases=1, used_s=0).used(10.0)
    seen = used.seen_in_use(14.0, busy=True, used=True)
    assert (seen.last_used_s, seen.use_gap_s) == (14.0, used.use_gap_s)
    ended = replace(used, lease_count=0, leased_s=14.0)
    late = ended.seen_in_use(14.0 + USE_SEEN_LATE_S / 2, busy=False, used=True)
    assert late.use_gap_s == used.use_gap_s
    another = ended.seen_in_use(14.0 + USE_SEEN_LATE_S, busy=False, used=True)
    assert another.use_gap_s != used.use_gap_s


def test_who_is_told_of_an_endpoint_is_told_where_it_can_be_reached():
    assert Endpoint("http://172.18.0.2:8000").named == "http://172.18.0.2:8000"
    assert Endpoint("http://172.18.0.2:8000", "http://box:8000").named == "http://box:8000"
