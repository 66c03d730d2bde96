"""Networks of which every server has one for itself: who leaves for one, and what is said."""

from dataclasses import replace

import pytest

from orchestrator.core.room.instants import possible_at
from orchestrator.core.room.networks import holders, lack
from orchestrator.core.room.planner import Plan, find, plan
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ServiceName
from tests.factories import ask, gpu, ledger, resident, spec

TWO = {ServiceName("rehearsal"): frozenset({"n1", "n2"})}


def wish(gib=1, networks=TWO, evicts=True, **more):
    asked = ask(spec("new", gib=gib), **more)
    return replace(asked, networks=networks, evicts=evicts)


def of_another_service(there):
    return replace(there, spec=replace(there.spec, service=ServiceName("annex")))


def test_a_resident_holds_one_until_it_is_gone_and_others_take_none():
    a, b = resident("a", gib=1), resident("b", gib=1, state=ResidentState.RESERVED)
    gone = resident("gone", gib=1, state=ResidentState.RELEASING)
    account = ledger(gpu(gib=24), a, b, gone, of_another_service(resident("c", gib=1)))
    assert {each.name for each in holders(spec("new", gib=1), account, TWO)} == {"a", "b"}
    assert lack(spec("new", gib=1), account, TWO) == 1
    assert lack(spec("a", gib=1), account, TWO) == 0, "it has one already"
    assert lack(spec("new", gib=1), account, {}) == 0


def test_services_that_name_the_same_ones_share_them():
    shared = {**TWO, ServiceName("annex"): TWO[ServiceName("rehearsal")]}
    account = ledger(gpu(gib=24), resident("a", gib=1), of_another_service(resident("b", gib=1)))
    assert (lack(spec("new", gib=1), account, TWO), lack(spec("new", gib=1), account, shared)) == (
        0,
        1,
    )


def test_the_least_regretted_holder_leaves_though_there_is_room():
    old, young = resident("old", gib=1, used_s=10), resident("young", gib=1, used_s=900)
    other = of_another_service(resident("other", gib=1, used_s=0))
    account = ledger(gpu(gib=24), old, young, other)
    found = find(wish(), account)
    assert found is not None
    assert [each.name for each in found.evict] == ["old"]
    assert find(wish(networks={}), account).evict == ()
    assert find(wish(evicts=False), account) is None


def test_one_that_gives_up_both_is_better_than_two():
    """Bytes are short as well: of another service's model alone no network comes free."""
    other = of_another_service(resident("other", gib=20, used_s=0))
    account = ledger(
        gpu(gib=24), other, resident("a", gib=2, used_s=100), resident("b", gib=2, used_s=200)
    )
    found = find(wish(gib=2), account)
    assert [each.name for each in found.evict] == ["a"]
    found = find(wish(gib=10), account)
    assert [each.name for each in found.evict] == ["a", "other"]


def test_nobody_leaves_for_a_load_that_cannot_work_and_the_way_out_is_named():
    busy = [resident(name, gib=1, leases=1) for name in ("a", "b")]
    idle = of_another_service(resident("idle", gib=22))
    refused = plan(wish(gib=1), ledger(gpu(gib=24), *busy, idle))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.lasting) == (RefusalCode.NO_ROOM, False)
    assert refused.detail == (
        "new needs a network of its own, and each of the 2 of service rehearsal has a model in it; "
        "in the way: a (it is in use), b (it is in use). Nothing was evicted."
    )
    assert "services.rehearsal.networks" in refused.remedy
    assert [each.model for each in refused.blockers] == ["a", "b"]


def test_where_all_are_pinned_no_waiting_helps():
    there = [resident(name, gib=1) for name in ("a", "b")]
    refused = plan(wish(pinned=["a", "b"]), ledger(gpu(gib=24), *there))
    assert isinstance(refused, Refusal)
    assert refused.lasting
    assert isinstance(plan(wish(pinned=["a"]), ledger(gpu(gib=24), *there)), Plan)


@pytest.mark.parametrize("settles", [None, 1030.0])
def test_it_is_known_when_one_comes_free(settles):
    there = [
        resident("a", gib=1, settled_until_s=settles or 1060.0),
        resident("b", gib=1, settled_until_s=1060.0),
    ]
    account = ledger(gpu(gib=24), *there)
    assert possible_at(wish(), account).known_s == (settles or 1060.0)
    refused = plan(wish(), account)
    assert isinstance(refused, Refusal)
    assert refused.possible_s == (settles or 1060.0)
