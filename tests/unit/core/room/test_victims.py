"""The least regretted set, held against every subset."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.room.victims import EXACT_CANDIDATES_MAX, Candidate, least_regretted_set
from orchestrator.core.values.vram import DeviceId, GiB
from tests.factories import resident

G0, G1 = DeviceId("g0"), DeviceId("g1")


@st.composite
def choices(draw, most=EXACT_CANDIDATES_MAX):
    candidates = [
        Candidate(
            resident(f"m{index}", gib=1, priority=draw(st.integers(1, 3))),
            draw(st.integers(1, 100)) / 10,
            {G0: draw(st.integers(0, 8)) * GiB, G1: draw(st.integers(0, 8)) * GiB},
        )
        for index in range(draw(st.integers(0, most)))
    ]
    shortage = {G0: draw(st.integers(1, 20)) * GiB}
    if draw(st.booleans()):
        shortage[G1] = draw(st.integers(1, 20)) * GiB
    return candidates, shortage


def covers(chosen, shortage):
    return all(sum(each.frees[d] for each in chosen) >= lack for d, lack in shortage.items())


def price(chosen):
    return max(each.resident.priority for each in chosen), sum(each.regret for each in chosen)


@given(choices())
@settings(max_examples=300, deadline=None)
def test_up_to_a_dozen_candidates_the_answer_is_exact(choice):
    candidates, shortage = choice
    chosen = least_regretted_set(candidates, shortage)
    every = (
        [
            subset
            for size in range(1, len(candidates) + 1)
            for subset in combinations(candidates, size)
            if covers(subset, shortage)
        ]
        if len(candidates) <= 8
        else None
    )
    if chosen is None:
        assert not covers(candidates, shortage)
        return
    assert covers(chosen, shortage)
    if every is not None:
        best = min(price(subset) for subset in every)
        assert price(chosen)[0] == best[0]
        assert abs(price(chosen)[1] - best[1]) < 1e-9


@given(choices(most=30))
@settings(max_examples=200, deadline=None)
def test_nobody_leaves_who_is_not_needed(choice):
    candidates, shortage = choice
    chosen = least_regretted_set(candidates, shortage)
    if chosen is None:
        assert not covers(candidates, shortage)
        return
    for each in chosen:
        assert not covers([other for other in chosen if other is not each], shortage)


def test_a_byte_too_few_is_not_enough():
    less = Candidate(resident("less", gib=1), 0.1, {G0: GiB - 1})
    enough = Candidate(resident("enough", gib=1), 5.0, {G0: GiB})
    assert least_regretted_set([less, enough], {G0: GiB}) == (enough,)
