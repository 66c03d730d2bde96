"""The account of VRAM: whose bytes are whose, what is left, what is owed."""

from dataclasses import replace

import pytest

from orchestrator.core.room.ledger import SLACK_BYTES_MIN, Ledger
from orchestrator.core.values.residents import InstanceId, Placement, ResidentState
from orchestrator.core.values.specs import ModelName, room_spec
from orchestrator.core.values.vram import DeviceId, GiB, MiB
from tests.factories import gpu, ledger, resident, unreadable

G0, G1 = DeviceId("g0"), DeviceId("g1")
S = ResidentState


def account(*residents, used_gib, held=None, gib=24, **limits):
    """A card that reads `used_gib`, with those residents on it; `held` is what is seen of them."""
    book = Ledger(**limits)
    for each in residents:
        book.put(each)
    seen = {InstanceId(f"{name}-1"): {G0: int(g * GiB)} for name, g in (held or {}).items()}
    book.observe([gpu(gib=gib, used_gib=used_gib)], seen)
    return book


def in_gib(size_bytes):
    return size_bytes / GiB


# --- foreign bytes -----------------------------------------------------------------------------


def test_everything_used_is_foreign_where_nothing_of_ours_runs():
    assert in_gib(account(used_gib=3).foreign_bytes(G0)) == 3


def test_a_device_whose_size_nobody_knows_offers_nothing():
    book = Ledger(headroom_bytes=0, budget_bytes=None)
    book.observe([replace(gpu(gib=24), total_bytes=None)], {})
    assert book.limit_bytes(G0) == 0
    assert not book.foreign_matters(G0)
    assert book.free_bytes(G0) == 0


def test_others_bytes_matter_where_they_take_what_may_be_used():
    narrow = 20 * GiB
    assert account(used_gib=3, headroom_bytes=GiB).foreign_matters(G0)
    assert account(used_gib=4, headroom_bytes=GiB, budget_bytes=narrow).foreign_matters(G0)
    assert not account(used_gib=3, headroom_bytes=GiB, budget_bytes=narrow).foreign_matters(G0)


def test_a_resident_that_cannot_be_seen_is_believed_to_hold_its_charge():
    assert in_gib(account(resident("a", gib=8), used_gib=11).foreign_bytes(G0)) == 3


def test_a_resident_that_is_seen_holds_what_is_seen():
    book = account(resident("a", gib=8), used_gib=11, held={"a": 6})
    assert in_gib(book.foreign_bytes(G0)) == 5


def test_a_resident_that_holds_more_than_its_charge_is_charged_with_that():
    book = account(resident("a", gib=8), used_gib=11, held={"a": 10})
    assert in_gib(book.foreign_bytes(G0)) == 1
    assert in_gib(book.charged_bytes(G0)) == 10
    assert in_gib(book.free_bytes(G0)) == 24 - 1 - 10


def test_a_promise_holds_nothing_yet_but_is_charged():
    book = account(resident("a", gib=8, state=S.RESERVED), used_gib=3)
    assert in_gib(book.foreign_bytes(G0)) == 3
    assert in_gib(book.free_bytes(G0)) == 24 - 3 - 8


@pytest.mark.parametrize("state", [S.LOADING, S.UNLOADING, S.RELEASING, S.STUCK])
@pytest.mark.parametrize("used_gib", [2, 5, 8, 10])
def test_foreign_bytes_stand_still_while_a_resident_comes_or_goes_unseen(state, used_gib):
    """Any of the used bytes may be its own: only what it cannot explain is foreign."""
    book = account(used_gib=2)
    book.put(resident("a", gib=8, state=state))
    book.observe([gpu(gib=24, used_gib=used_gib)], {})
    assert in_gib(book.foreign_bytes(G0)) == 2


@pytest.mark.parametrize("state", [S.LOADING, S.RELEASING])
def test_bytes_that_nobody_of_ours_can_hold_are_foreign_at_once(state):
    book = account(used_gib=2)
    book.put(resident("a", gib=8, state=state))
    book.observe([gpu(gib=24, used_gib=15)], {})
    assert in_gib(book.foreign_bytes(G0)) == 7


def test_foreign_bytes_never_exceed_what_is_used():
    book = account(used_gib=5)
    book.put(resident("a", gib=8, state=S.LOADING))
    book.observe([gpu(gib=24, used_gib=1)], {})
    assert in_gib(book.foreign_bytes(G0)) == 1


def test_a_load_that_is_seen_is_told_from_a_neighbour_that_grows():
    book = account(used_gib=2)
    book.put(resident("a", gib=8, state=S.LOADING))
    book.observe([gpu(gib=24, used_gib=9)], {InstanceId("a-1"): {G0: 3 * GiB}})
    assert in_gib(book.foreign_bytes(G0)) == 6


def test_what_fills_a_leased_room_is_its_holders_not_a_strangers():
    room = replace(resident("lease-7", gib=8), spec=room_spec(ModelName("lease-7"), 8 * GiB, "", 5))
    book = account(used_gib=2)
    book.put(room)
    book.observe([gpu(gib=24, used_gib=10)], {})
    assert in_gib(book.foreign_bytes(G0)) == 2
    assert in_gib(book.free_bytes(G0)) == 24 - 2 - 8


def test_settling_looks_again_once_a_resident_has_come_to_rest():
    book = account(used_gib=2)
    book.put(resident("a", gib=8, state=S.LOADING))
    book.observe([gpu(gib=24, used_gib=7)], {})
    book.put(replace(resident("a", gib=4), placement=Placement(((G0, 4 * GiB),))))
    book.settle(G0)
    assert in_gib(book.foreign_bytes(G0)) == 3


def test_what_was_taken_for_foreign_before_a_restart_is_decided_afresh():
    book = account(used_gib=8)
    assert in_gib(book.foreign_bytes(G0)) == 8
    book.put(resident("a", gib=8, state=S.UNLOADING))
    book.unsettle(G0)
    book.observe([gpu(gib=24, used_gib=8)], {InstanceId("a-1"): {G0: 8 * GiB}})
    assert in_gib(book.foreign_bytes(G0)) == 0


def test_a_device_that_stops_answering_keeps_its_last_figure_and_shows_none():
    book = account(used_gib=3)
    book.observe([unreadable()], {})
    assert in_gib(book.foreign_bytes(G0)) == 3
    (shown,) = book.accounts()
    assert (shown.foreign_bytes, shown.available_bytes) == (None, None)
    assert book.available_bytes(G0) == 0


# --- limits ------------------------------------------------------------------------------------


def test_a_budget_bounds_what_is_ours_whatever_is_free():
    book = account(resident("a", gib=8), used_gib=8, budget_bytes=12 * GiB)
    assert in_gib(book.limit_bytes(G0)) == 12
    assert in_gib(book.free_bytes(G0)) == 4


@pytest.mark.parametrize("name", ["g0", "card g0"])
def test_a_budget_is_of_one_device_by_id_or_name(name):
    book = Ledger(budget_bytes={name: 4 * GiB})
    book.observe([gpu("g0", gib=24), gpu("g1", gib=24)], {})
    assert [in_gib(book.limit_bytes(each)) for each in (G0, G1)] == [4, 24]


def test_new_rules_hold_at_once():
    book = account(used_gib=0)
    assert in_gib(book.free_bytes(G0)) == 24
    book.rule(headroom_bytes=GiB, budget_bytes=None)
    assert in_gib(book.free_bytes(G0)) == 23


def test_overdrawn_is_below_zero_and_nothing_is_available():
    book = account(resident("a", gib=20, state=S.RESERVED), used_gib=10)
    assert in_gib(book.free_bytes(G0)) == -6
    assert book.available_bytes(G0) == 0


def test_what_might_yield_is_what_the_ready_hold():
    book = ledger(
        gpu(gib=48),
        resident("idle", gib=4),
        resident("used", gib=6, leases=1, priority=3),
        resident("dear", gib=7, leases=1, priority=8),
        resident("coming", gib=9, state=S.LOADING),
    )
    assert in_gib(book.yieldable_bytes(G0)) == 17
    assert in_gib(book.yieldable_bytes(G0, below_priority=8)) == 10
    assert in_gib(book.yieldable_bytes(G0, below_priority=3)) == 4


def test_a_resident_that_moved_is_charged_where_it_is():
    book = Ledger()
    book.observe([gpu("g0", gib=24), gpu("g1", gib=24)], {})
    before = resident("a", gib=8, on="g0")
    book.put(before)
    book.put(replace(before, placement=Placement(((G1, 8 * GiB),))))
    assert [in_gib(book.charged_bytes(each)) for each in (G0, G1)] == [0, 8]
    book.drop(before.name)
    assert [in_gib(book.charged_bytes(each)) for each in (G0, G1)] == [0, 0]


def test_every_change_shows_in_the_version():
    book = Ledger()
    versions = [book.version]
    for change in (
        lambda: book.observe([gpu(gib=24)], {}),
        lambda: book.put(resident("a", gib=1)),
        book.touch,
        lambda: book.rule(headroom_bytes=0, budget_bytes=None),
        lambda: book.drop(ModelName("a")),
    ):
        change()
        versions.append(book.version)
    assert versions == sorted(set(versions))


# --- the gate before a start -------------------------------------------------------------------


def test_a_start_needs_the_bytes_to_be_there_now():
    newcomer = resident("new", gib=16, state=S.RESERVED)
    assert account(newcomer, used_gib=8).has_now(newcomer)
    assert not account(newcomer, used_gib=8.01).has_now(newcomer)


def test_headroom_may_be_used_by_a_surprise():
    newcomer = resident("new", gib=16, state=S.RESERVED)
    assert account(newcomer, used_gib=8, headroom_bytes=GiB).has_now(newcomer)


@pytest.mark.parametrize(
    ("seen_gib", "used_gib", "there"),
    [(None, 4, True), (None, 5, False), (3, 7, True), (3, 7.5, False), (8, 12, True)],
)
def test_what_another_load_is_still_to_take_is_not_there(seen_gib, used_gib, there):
    """Both fit beside 4 GB of others, exactly, however far the load has come."""
    newcomer = resident("new", gib=12, state=S.RESERVED)
    loading = resident("a", gib=8, state=S.LOADING)
    held = {} if seen_gib is None else {"a": seen_gib}
    book = account(newcomer, loading, used_gib=used_gib, held=held)
    assert book.has_now(newcomer) is there


def test_nothing_is_there_on_a_device_that_cannot_be_read():
    newcomer = resident("new", gib=1, state=S.RESERVED)
    assert not ledger(unreadable(), newcomer).has_now(newcomer)


# --- what is owed ------------------------------------------------------------------------------


@pytest.mark.parametrize(("back_gib", "owed_gib"), [(0, 8), (5, 3), (8, 0)])
def test_a_device_owes_the_bytes_of_the_dead_until_they_are_back(back_gib, owed_gib):
    book = account(resident("a", gib=8), resident("b", gib=4), used_gib=14)
    gone = resident("a", gib=8, state=S.RELEASING)
    book.put(gone)
    book.observe([gpu(gib=24, used_gib=14 - back_gib)], {})
    assert in_gib(book.owed_bytes(gone)) == owed_gib


def test_the_drivers_rounding_is_not_a_debt():
    gone = resident("a", gib=1, state=S.RELEASING)
    book = account(used_gib=0)
    book.put(gone)
    book.observe([gpu(gib=24, used_gib=SLACK_BYTES_MIN / GiB)], {})
    assert book.owed_bytes(gone) == 0
    book.observe([gpu(gib=24, used_gib=(SLACK_BYTES_MIN + MiB) / GiB)], {})
    assert book.owed_bytes(gone) == SLACK_BYTES_MIN + MiB


def test_a_debt_is_never_more_than_what_was_lent():
    gone = resident("a", gib=2, state=S.RELEASING)
    book = account(used_gib=0)
    book.put(gone)
    book.put(resident("b", gib=9, state=S.LOADING))
    book.observe([gpu(gib=24, used_gib=9)], {})
    assert in_gib(book.owed_bytes(gone)) == 2


def test_a_device_that_cannot_be_read_owes_nothing():
    gone = resident("a", gib=8, state=S.RELEASING)
    assert ledger(unreadable(), gone).owed_bytes(gone) == 0


@pytest.mark.parametrize(("moves", "alone"), [(("a",), True), (("b",), False), (("b", "a"), False)])
def test_a_resident_is_alone_where_no_other_has_moved_since(moves, alone):
    """Also where it moved itself after the other one."""
    there = {name: resident(name, gib=4, state=S.LOADING) for name in "ab"}
    book = account(*there.values(), used_gib=8)
    for each in there.values():
        book.put(each.become(S.READY, 1.0))
    version = book.version
    for name in moves:
        book.put(there[name])
        book.put(there[name].become(S.READY, 2.0))
    mine = book.resident(ModelName("a"))
    assert mine is not None
    assert book.alone_since(mine, G0, version) is alone


def test_a_load_that_is_being_stopped_may_still_take_its_bytes():
    """Its process goes on until its stop has come about: what it lacks yet is not given away."""
    stopping = resident("old", gib=10, state=ResidentState.UNLOADING)
    new = resident("new", gib=16, state=ResidentState.RESERVED)
    assert not account(stopping, new, used_gib=2).has_now(new)
    was_ready = replace(stopping, ready_s=1.0)
    assert account(was_ready, new, used_gib=2).has_now(new)


@pytest.mark.parametrize(
    ("used_gib", "could"), [(0, True), (4, True), (4.5, False)], ids=["free", "just", "taken"]
)
def test_what_a_device_could_have_once_others_have_left(used_gib, could):
    """Of 24 GiB the one that leaves holds 16; what is used beside it is others'."""
    old, new = resident("old", gib=16), resident("new", gib=20, state=ResidentState.RESERVED)
    account = ledger(gpu(gib=24, used_gib=used_gib), old, new)
    assert account.could_have(new.placement, [old]) is could
    assert not account.could_have(new.placement, [])
