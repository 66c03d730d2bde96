import pytest

from orchestrator.orders import LoadOrder, RoomOrder, UnloadOrder
from orchestrator.web.acts import ACTS, find_act, numbers_of, target_of


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", "/models/load", "model.load"),
        ("PUT", "/models/load", "catalogue.put"),
        ("PUT", "/models/a/pin", "model.pin"),
        ("PUT", "/models/a\nb", "catalogue.put"),
        ("DELETE", "/vram/leases/x", "lease.release"),
        ("POST", "/api/models/unload/org/name", "model.unload"),
        ("GET", "/models/a/logs", "log.read"),
    ],
)
def test_a_path_leads_to_its_act(method, path, action):
    kind = find_act(method, path)
    assert kind is not None
    assert kind.action == action


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/a"),
        ("HEAD", "/models/a/logs"),
        ("POST", "/models/plan"),
        ("POST", "/v1/chat/completions"),
        ("PUT", "/models/a/b/pin"),
        ("POST", "/models/load/"),
        ("PATCH", "/models/a"),
    ],
)
def test_others_are_none(method, path):
    assert find_act(method, path) is None


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ({"name": "a", "order": LoadOrder(model="b")}, "a"),
        ({"order": UnloadOrder(model="b")}, "b"),
        ({"order": RoomOrder(vram_mb=1, owner="o", lease_s=1)}, "o"),
        ({"request_id": 7}, "7"),
        ({}, None),
    ],
)
def test_what_is_acted_on_is_named(values, target):
    assert target_of(values) == target


def test_how_much_was_asked():
    assert numbers_of({"order": RoomOrder(vram_mb=9, owner="o", lease_s=2)}) == {
        "vram_mb": 9,
        "lease_s": 2,
    }
    assert numbers_of({}) == {}


@pytest.mark.parametrize(
    ("route", "values", "by_admin"),
    [
        (("POST", "/models/load"), {"order": LoadOrder(model="a")}, False),
        (("POST", "/models/load"), {"order": LoadOrder(model="a", pin=True)}, True),
        (("POST", "/models/unload"), {"order": UnloadOrder(model="a")}, False),
        (("POST", "/models/unload"), {"order": UnloadOrder(model="a", force=True)}, True),
        (("POST", "/admin/reload"), {}, True),
    ],
)
def test_force_and_pin_are_an_admins(route, values, by_admin):
    assert ACTS[route].by_admin(values) is by_admin
