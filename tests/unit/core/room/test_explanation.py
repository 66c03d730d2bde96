"""Why there is no plan: the numbers, and who is in the way."""

from dataclasses import replace

from orchestrator.core.room.explanation import for_free_room_only
from orchestrator.core.room.planner import plan
from orchestrator.core.room.quota import Quota
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceKind, GiB
from tests.factories import ask, gpu, ledger, resident, spec

HOST = gpu("host", gib=9, kind=DeviceKind.HOST)


def test_a_pin_bars_the_way_for_good():
    account = ledger(gpu(gib=24), resident("pinned", gib=20))
    refusal = plan(ask(spec("new", gib=8), due=True, pinned=["pinned"]), account)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.NO_ROOM
    assert refusal.lasting
    assert [blocker.model for blocker in refusal.blockers] == ["pinned"]


def test_what_is_in_use_bars_the_way_for_now():
    account = ledger(gpu(gib=24), resident("busy", gib=20, leases=1))
    refusal = plan(ask(spec("new", gib=8)), account)
    assert isinstance(refusal, Refusal)
    assert not refusal.lasting


def test_where_nobody_knows_when_there_is_room_the_advice_is_a_turn_of_the_house():
    account = ledger(gpu(gib=24), resident("busy", gib=20, leases=1))
    refusal = plan(ask(spec("new", gib=8), min_residency_s=30.0), account)
    assert (refusal.possible_s, refusal.retry_after_s) == (None, 30.0)


def test_foreign_bytes_are_not_forever():
    account = ledger(gpu(gib=24, used_gib=20))
    refusal = plan(ask(spec("new", gib=8)), account)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.NO_ROOM
    assert refusal.foreign_bytes == 20 * GiB


def test_where_the_host_is_short_the_refusal_is_about_the_host():
    account = ledger(gpu(gib=8), HOST)
    refusal = plan(ask(spec("new", gib=7, host_gib=10)), account)
    assert refusal.code is RefusalCode.DOES_NOT_FIT
    assert "needs 10240 MB of host's RAM beside its GPU" in refusal.detail
    assert "the most that can be had there is 9216 MB" in refusal.detail
    assert (refusal.needed_bytes, refusal.available_bytes) == (10 * GiB, 9 * GiB)
    assert (refusal.room_bytes, refusal.host_room_bytes) == (8 * GiB, 9 * GiB)
    assert refusal.short_beside == "host"


def test_where_the_gpu_is_short_the_refusal_is_about_the_gpu():
    refusal = plan(ask(spec("new", gib=9, host_gib=10)), ledger(gpu(gib=8), HOST))
    assert "needs 9216 MB; the most that can be had on an empty device is 8192 MB" in refusal.detail
    assert (refusal.host_room_bytes, refusal.short_beside) == (9 * GiB, None)


def test_where_the_host_is_full_for_now_whoever_fills_it_is_in_the_way():
    busy = resident("busy", gib=5, on="host", leases=1)
    refusal = plan(ask(spec("new", gib=7, host_gib=6)), ledger(gpu(gib=8), HOST, busy))
    assert refusal.code is RefusalCode.NO_ROOM
    assert (
        "needs 6144 MB of host's RAM beside its GPU and 4096 MB can be used now" in refusal.detail
    )
    assert [each.model for each in refusal.blockers] == ["busy"]
    assert (refusal.short_beside, refusal.host_room_bytes) == ("host", 4 * GiB)


def test_on_the_host_itself_there_is_nothing_beside():
    refusal = plan(ask(spec("new", gib=7, host_gib=6)), ledger(HOST))
    assert "needs 13312 MB; the most" in refusal.detail
    assert (refusal.host_room_bytes, refusal.short_beside) == (None, None)


def test_the_largest_of_several_devices_is_named():
    account = ledger(gpu("g0", gib=8), gpu("g1", gib=24), gpu("g2", gib=16))
    refusal = plan(ask(spec("new", gib=30)), account)
    assert "the most that can be had on an empty device is 24576 MB" in refusal.detail
    assert refusal.room_bytes == 24 * GiB


def test_a_quota_that_is_left_is_not_why_there_is_no_room():
    account = ledger(gpu(gib=24), resident("busy", gib=20, leases=1))
    asked = replace(ask(spec("new", gib=8)), quota=Quota(10 * GiB, {}))
    assert plan(asked, account).code is RefusalCode.NO_ROOM
    spent = replace(asked, quota=Quota(10 * GiB, {ModelName("mine"): 3 * GiB}))
    assert plan(spent, account).code is RefusalCode.OVER_QUOTA


def test_what_bars_the_way_for_good_is_said_as_it_is_to_those_for_whom_nobody_leaves():
    account = ledger(gpu(gib=24), resident("pinned", gib=20))
    refusal = plan(ask(spec("new", gib=8), due=True, pinned=["pinned"]), account)
    assert refusal.lasting
    assert for_free_room_only(refusal) is refusal
