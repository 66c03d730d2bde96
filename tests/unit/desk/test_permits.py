from dataclasses import replace

import pytest

from orchestrator.access.caller import Caller, Via
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.keys.table import VramShare
from orchestrator.access.rights import EVERYTHING, Forbidden, Rights
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import MiB
from orchestrator.desk import permits
from orchestrator.orders import LoadOrder, RoomOrder, UnloadOrder
from tests.factories import lease, resident, spec
from tests.unit.access.keys.samples import key

MINE, OTHERS = "abcd1234", "other123"


def rights(*scopes, **more):
    return Rights(caller=Caller(key=MINE, via=Via.HTTP), key=key(*scopes, **more))


LOADER = rights(KeyScope.LOAD, max_priority=5, max_lease_s=60.0, vram_mb=10)
LEASER = rights(KeyScope.LOAD, KeyScope.LEASE, max_lease_s=60.0)


def code(act, *said):
    try:
        act(*said)
    except Forbidden as error:
        return str(error.why.code)
    return None


def test_models_of_others_are_not_there():
    specs = {ModelName(name): spec(name, gib=1) for name in ("a", "b")}
    assert permits.visible(specs, EVERYTHING) is specs
    assert list(permits.visible(specs, rights(models=("b",)))) == ["b"]


def test_quota_and_ceiling_are_the_keys():
    shares = (VramShare(10, frozenset({MINE})), VramShare(20, frozenset({MINE, "maker123"})))
    bounds = permits.bounds(replace(LOADER, shares=shares))
    assert bounds == (KeyBound(10 * MiB, shares[0].keys), KeyBound(20 * MiB, shares[1].keys))
    assert permits.bounds(EVERYTHING) == ()
    assert permits.priority(3, 10, LOADER) == 3
    assert permits.priority(None, 10, LOADER) == 5
    assert permits.priority(None, 10, EVERYTHING) == 10


@pytest.mark.parametrize(
    ("who", "order", "said"),
    [
        (LOADER, {}, None),
        (LOADER, {"priority": 6}, "priority_too_high"),
        (LOADER, {"pin": True}, "forbidden"),
        (LOADER, {"owner": "me"}, "forbidden"),
        (LEASER, {"owner": "me"}, "lease_too_long"),
        (LEASER, {"owner": "me", "lease_s": 60.0}, None),
        (EVERYTHING, {"owner": "me", "pin": True, "priority": 100}, None),
    ],
)
def test_load_asks_for_what_it_takes(who, order, said):
    assert code(permits.may_load, LoadOrder(model="a", **order), 300.0, who) == said


def test_room_is_bounded_as_a_lease_is():
    order = RoomOrder(vram_mb=1, owner="me", lease_s=61.0)
    assert code(permits.may_lease_room, order, LEASER) == "lease_too_long"


@pytest.mark.parametrize(
    ("brought", "leased", "order", "said"),
    [
        (MINE, (), {}, None),
        (OTHERS, (), {}, "forbidden"),
        (None, (), {}, "forbidden"),
        (MINE, (), {"force": True}, "forbidden"),
        (OTHERS, (MINE,), {"owner": "me"}, None),
        (OTHERS, (OTHERS,), {"owner": "me"}, "forbidden"),
        (OTHERS, (MINE, OTHERS), {"owner": "me"}, "forbidden"),
        (MINE, (OTHERS,), {"lease": "lease-0"}, "forbidden"),
        (MINE, (MINE,), {"lease": "lease-0"}, None),
    ],
)
def test_what_others_loaded_or_leased_is_theirs(brought, leased, order, said):
    there = replace(resident("a", gib=1), key=brought)
    leases = [
        replace(lease(there, n), owner="me", id=f"lease-{n}", key=key)
        for n, key in enumerate(leased)
    ]
    wanted = UnloadOrder(model="a", **order)
    assert code(permits.may_unload, wanted, there, leases, LOADER) == said
    assert code(permits.may_unload, wanted, there, leases, rights(KeyScope.ADMIN)) is None
    assert code(permits.may_unload, wanted, there, leases, EVERYTHING) is None


def test_what_concerns_no_model_is_heard_by_admins():
    assert permits.may_hear(None, rights(KeyScope.ADMIN))
    assert not permits.may_hear(None, LOADER)
    assert permits.may_hear("a", LOADER)
    assert not permits.may_hear("b", rights(models=("a",)))
