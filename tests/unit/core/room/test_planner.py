"""Where a model goes and who leaves for it, as questions and answers."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.room.eviction import least_regretted
from orchestrator.core.room.explanation import explain
from orchestrator.core.room.planner import (
    Fits,
    Plan,
    find,
    fits,
    out_of_reach,
    plan,
    possible,
)
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import Fallback
from orchestrator.core.values.vram import DeviceKind, GiB
from tests.factories import ask, gpu, ledger, resident, spec, unreadable


def check(wanted, account, **asked):
    """The one place that knows the planner's signature."""
    outcome = plan(ask(wanted, **asked), account)
    if isinstance(outcome, Refusal):
        return outcome.code
    return list(outcome.placement.devices), [each.name for each in outcome.evict]


def test_plan_evicts_nobody_when_there_is_room():
    account = ledger(gpu(gib=24), resident("old", gib=16))
    assert check(spec("new", gib=8), account) == (["g0"], [])


def test_plan_evicts_the_least_recently_used():
    account = ledger(gpu(gib=24), resident("a", gib=12, used_s=5), resident("b", gib=12, used_s=9))
    assert check(spec("new", gib=8), account) == (["g0"], ["a"])


def test_plan_evicts_the_lowest_priority_before_the_oldest():
    account = ledger(
        gpu(gib=24),
        resident("old", gib=12, used_s=1, priority=5),
        resident("young", gib=12, used_s=8, priority=1),
    )
    assert check(spec("new", gib=8), account) == (["g0"], ["young"])


def test_plan_prefers_an_empty_device_to_an_eviction():
    account = ledger(gpu("g0", gib=24), gpu("g1", gib=24), resident("a", gib=24, on="g0"))
    assert check(spec("new", gib=20), account) == (["g1"], [])


def test_victims_are_on_the_device_that_is_short():
    account = ledger(
        gpu("g0", gib=24),
        gpu("g1", gib=8),
        resident("a", gib=20, on="g0", used_s=900),
        resident("b", gib=8, on="g1", used_s=1),
    )
    assert check(spec("new", gib=20), account) == (["g0"], ["a"])


def test_one_large_idle_resident_spares_the_five_small_ones():
    smalls = [resident(f"s{i}", gib=2, used_s=500) for i in range(5)]
    account = ledger(gpu(gib=24), resident("large", gib=12, used_s=500), *smalls)
    assert check(spec("new", gib=12), account, policy=least_regretted) == (["g0"], ["large"])


def test_regret_weighs_the_reload_time():
    account = ledger(
        gpu(gib=24),
        resident("slow", gib=12, used_s=100, load_s=60),
        resident("quick", gib=12, used_s=200, load_s=1),
    )
    assert check(spec("new", gib=8), account, policy=least_regretted) == (["g0"], ["quick"])


@pytest.mark.parametrize(
    "in_the_way",
    [
        resident("busy", gib=20, leases=1),
        resident("starting", gib=20, state=ResidentState.LOADING),
        resident("stuck", gib=20, state=ResidentState.STUCK),
        resident("leaving", gib=20, state=ResidentState.RELEASING),
    ],
    ids=lambda each: each.name,
)
def test_plan_never_evicts_what_is_in_use_or_unsettled(in_the_way):
    account = ledger(gpu(gib=24), in_the_way)
    assert check(spec("new", gib=8), account) is RefusalCode.NO_ROOM


def test_use_that_does_not_pass_through_us_protects_too():
    account = ledger(gpu(gib=24), replace(resident("direct", gib=20), busy=True))
    assert check(spec("new", gib=8), account) is RefusalCode.NO_ROOM


def test_a_due_wish_drains_what_is_in_use():
    account = ledger(gpu(gib=24), resident("busy", gib=20, leases=1))
    found = plan(ask(spec("new", gib=8), due=True), account)
    assert isinstance(found, Plan)
    assert found.drains


def test_a_higher_priority_drains_at_once():
    account = ledger(gpu(gib=24), resident("busy", gib=20, leases=1, priority=5))
    found = plan(ask(spec("new", gib=8), priority=6), account)
    assert isinstance(found, Plan)
    assert found.drains


def test_idle_victims_are_preferred_to_those_in_use():
    account = ledger(
        gpu(gib=24),
        resident("busy", gib=12, leases=1, priority=1, used_s=1),
        resident("idle", gib=12, used_s=999),
    )
    assert check(spec("new", gib=8), account, due=True) == (["g0"], ["idle"])


def test_a_lower_priority_never_moves_a_higher_one_that_was_used_lately():
    account = ledger(gpu(gib=24), resident("vip", gib=20, priority=9, used_s=900))
    assert check(spec("new", gib=8), account, now_s=1000.0) is RefusalCode.NO_ROOM
    assert check(spec("new", gib=8), account, now_s=1300.0) == (["g0"], ["vip"])


def test_a_newcomer_keeps_its_place_against_equals_only():
    account = ledger(gpu(gib=24), resident("newcomer", gib=20, settled_until_s=1005))
    assert check(spec("new", gib=8), account, due=True) is RefusalCode.NO_ROOM
    assert check(spec("new", gib=8), account, priority=6) == (["g0"], ["newcomer"])


def test_plan_tells_never_from_not_now():
    assert check(spec("huge", gib=25), ledger(gpu(gib=24))) is RefusalCode.DOES_NOT_FIT


def test_nothing_is_planned_on_a_device_that_cannot_be_read():
    account = ledger(unreadable("g0"))
    assert check(spec("new", gib=8), account) is RefusalCode.DEVICE_UNREADABLE


def test_the_readable_device_is_used_when_another_is_lost():
    account = ledger(unreadable("g0", lost=True), gpu("g1", gib=24))
    assert check(spec("new", gib=8), account) == (["g1"], [])


def test_a_model_spans_devices_only_when_it_says_so():
    account = ledger(gpu("g0", gib=24), gpu("g1", gib=24))
    assert check(spec("wide", gib=40), account) is RefusalCode.DOES_NOT_FIT
    assert check(spec("wide", gib=40, span=2), account) == (["g0", "g1"], [])


def test_one_device_is_better_than_two():
    account = ledger(gpu("g0", gib=24), gpu("g1", gib=24))
    assert check(spec("wide", gib=20, span=2), account) == (["g0"], [])


def test_host_ram_is_budgeted_beside_vram():
    account = ledger(gpu("g0", gib=24), gpu("host", gib=16, kind=DeviceKind.HOST))
    assert check(spec("a", gib=8, host_gib=4), account) == (["g0", "host"], [])
    assert check(spec("b", gib=8, host_gib=20), account) is RefusalCode.DOES_NOT_FIT


def test_the_host_alone_carries_everything():
    account = ledger(gpu("host", gib=16, kind=DeviceKind.HOST))
    found = plan(ask(spec("a", gib=8, host_gib=4)), account)
    assert isinstance(found, Plan)
    assert found.placement.total_bytes == 12 * GiB


def test_headroom_is_never_planned_on():
    account = ledger(gpu(gib=24), headroom_gib=1)
    assert check(spec("new", gib=23.5), account) is RefusalCode.DOES_NOT_FIT
    assert check(spec("new", gib=23), account) == (["g0"], [])


def test_a_model_does_not_leave_for_itself():
    account = ledger(gpu(gib=24), resident("a", gib=20))
    assert check(spec("a", gib=22), account) is RefusalCode.NO_ROOM


MODELS = {"qwen3-vl": 17, "whisperx": 6, "ovi": 22, "wan2.1": 28}


def test_seed_budget_table():
    """The four rows that the field knows by heart, on a card of 32 GB."""
    card = gpu(gib=32)
    qwen = resident("qwen3-vl", gib=17)
    whisper = resident("whisperx", gib=6)
    free = {
        "qwen3-vl alone": ledger(card, qwen).free_bytes(card.device.id),
        "with whisperx": ledger(card, qwen, whisper).free_bytes(card.device.id),
        "wan2.1 alone": ledger(card, resident("wan2.1", gib=28)).free_bytes(card.device.id),
    }
    assert {what: left // GiB for what, left in free.items()} == {
        "qwen3-vl alone": 15,
        "with whisperx": 9,
        "wan2.1 alone": 4,
    }
    account = ledger(card, replace(qwen, last_used_s=1), replace(whisper, last_used_s=900))
    assert check(spec("ovi", gib=22), account) == (["g0"], ["qwen3-vl"])


# --- properties --------------------------------------------------------------------------------

STATES = [ResidentState.READY] * 6 + [
    ResidentState.LOADING,
    ResidentState.DRAINING,
    ResidentState.RELEASING,
]


@st.composite
def situations(draw):
    """A machine with residents on it, and a wish."""
    cards = [gpu(f"g{i}", gib=draw(st.integers(8, 32))) for i in range(draw(st.integers(1, 3)))]
    residents = []
    for index in range(draw(st.integers(0, 9))):
        card = draw(st.sampled_from(cards))
        residents.append(
            resident(
                f"m{index}",
                gib=draw(st.integers(1, 9)),
                on=card.device.id,
                state=draw(st.sampled_from(STATES)),
                used_s=draw(st.integers(0, 999)),
                priority=draw(st.integers(3, 7)),
                leases=draw(st.sampled_from([0, 0, 1])),
                load_s=draw(st.integers(1, 60)),
            )
        )
    # What does not fit on its card cannot be there.
    kept, held = [], dict.fromkeys((card.device.id for card in cards), 0)
    for each in residents:
        device, share = each.placement.shares[0]
        total = next(card.total_bytes for card in cards if card.device.id == device)
        if held[device] + share <= total:
            held[device] += share
            kept.append(each)
    wanted = spec("new", gib=draw(st.integers(1, 36)), span=draw(st.integers(1, 2)), load_s=5)
    asked = ask(
        wanted,
        due=draw(st.booleans()),
        priority=draw(st.integers(3, 7)),
        pinned=[each.name for each in kept if draw(st.integers(0, 9)) == 0],
        policy=least_regretted,
    )
    return cards, kept, asked


@given(situations())
@settings(max_examples=300, deadline=None)
def test_a_plan_keeps_its_promises(situation):
    cards, residents, asked = situation
    account = ledger(*cards, *residents)
    found = find(asked, account)
    assert found == find(asked, ledger(*cards, *residents)), "the same ledger gives the same plan"
    if found is None:
        return
    assert not out_of_reach(asked, account), "the quick no is never wrong"
    for victim in found.evict:
        assert victim.state is ResidentState.READY
        assert victim.name not in asked.pinned
        assert not victim.in_use or found.drains
        assert asked.urgency.priority >= victim.priority or not victim.in_use

    def overdrawn(without):
        return [
            device
            for device, share in found.placement.shares
            if share
            > account.free_bytes(device)
            + sum(each.placement.on(device) for each in found.evict if each is not without)
        ]

    assert not overdrawn(None), "never over budget on any device"
    for victim in found.evict:
        assert overdrawn(victim), f"{victim.name} need not have left"


@given(situations())
@settings(max_examples=200, deadline=None)
def test_does_not_fit_is_independent_of_residents(situation):
    cards, residents, asked = situation
    crowded = plan(asked, ledger(*cards, *residents))
    empty = plan(asked, ledger(*cards))
    never = isinstance(empty, Refusal) and empty.code is RefusalCode.DOES_NOT_FIT
    assert never == (isinstance(crowded, Refusal) and crowded.code is RefusalCode.DOES_NOT_FIT)


@given(situations())
@settings(max_examples=200, deadline=None)
def test_every_refusal_can_be_said(situation):
    cards, residents, asked = situation
    account = ledger(*cards, *residents)
    if find(asked, account) is None:
        refusal = explain(asked, account)
        assert refusal.detail.endswith(".")
        assert refusal.remedy


# --- host RAM beside the GPU -------------------------------------------------------------------


# --- with less ---------------------------------------------------------------------------------


def lesser(gib):
    wanted = spec("new", gib=gib)
    return Fallback(serving=wanted.serving, footprint=wanted.footprint, given_up=(f"to {gib} GB",))


def test_what_never_fits_is_asked_for_with_the_first_less_that_does():
    laddered = replace(spec("new", gib=20), fallbacks=(lesser(12), lesser(7), lesser(6)))
    account = ledger(gpu(gib=8))
    asked = possible(ask(laddered), account)
    assert asked.spec.given_up == ("to 7 GB",)
    assert isinstance(plan(asked, account), Plan)


def test_nothing_is_given_up_where_it_fits_or_only_has_to_wait_or_nothing_helps():
    laddered = replace(spec("new", gib=7), fallbacks=(lesser(6),))
    assert possible(ask(laddered), ledger(gpu(gib=8))).spec == laddered
    busy = resident("busy", gib=5, leases=1)
    assert possible(ask(laddered), ledger(gpu(gib=8), busy)).spec == laddered
    hopeless = replace(spec("new", gib=20), fallbacks=(lesser(12),))
    assert possible(ask(hopeless), ledger(gpu(gib=8))).spec == hopeless


def test_whether_it_fits_is_told_by_sizes_alone():
    account = ledger(gpu(gib=24), resident("old", gib=16, leases=1))
    sizes = {8: Fits.NOW, 20: Fits.AFTER_EVICTIONS, 30: Fits.NEVER}
    assert {gib: fits(spec("new", gib=gib), account) for gib in sizes} == sizes
    assert fits(spec("old", gib=16), account) is Fits.NOW, "it is there"
    assert fits(replace(spec("new", gib=8), footprint=UNKNOWN), account) is None
    assert fits(spec("new", gib=8), ledger(unreadable())) is None
