"""What may be sent, and that a client made from the document refuses what the daemon refuses."""

import copy

import jsonschema_rs
import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.core.values.vram import MiB
from orchestrator.orders import (
    WAIT_S_DEFAULT,
    EstimateOrder,
    FakeDeviceOrder,
    LoadOrder,
    RenewOrder,
    RoomOrder,
    UnloadOrder,
    example_of,
)

ORDERS = (LoadOrder, UnloadOrder, RoomOrder, RenewOrder, EstimateOrder, FakeDeviceOrder)
ADAPTERS = {order: TypeAdapter(order) for order in ORDERS}
SCHEMAS = {order: adapter.json_schema() for order, adapter in ADAPTERS.items()}


def taken(order, body):
    return ADAPTERS[order].validate_python(copy.deepcopy(body))


def is_taken(order, body):
    try:
        taken(order, body)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        (True, WAIT_S_DEFAULT),
        (False, 0),
        ("true", WAIT_S_DEFAULT),
        ("False ", 0),
        (None, WAIT_S_DEFAULT),
        (30, 30),
        ("30", 30),
        (2.5, 2.5),
        (0, 0),
    ],
)
def test_wait_is_a_claim_or_seconds(wait, seconds):
    assert taken(LoadOrder, {"model": "a", "wait": wait}).wait_s == seconds


@pytest.mark.parametrize("wait", [-1, "soon", "nan", float("inf"), 3601, [], {}])
def test_wait_that_makes_no_sense(wait):
    assert not is_taken(LoadOrder, {"model": "a", "wait": wait})


@pytest.mark.parametrize("order", [LoadOrder, UnloadOrder])
def test_null_means_not_given(order):
    nothing = dict.fromkeys(SCHEMAS[order]["properties"]) | {"model": "a"}
    assert taken(order, nothing) == order(model="a")


@pytest.mark.parametrize("flag", [True, False, 0, 1, None, 2, [], {}])
def test_a_flag_is_what_the_document_says(flag):
    """Expressions of workflows make 0 and 1 of false and true."""
    body = {"model": "a", "force": flag}
    assert is_taken(UnloadOrder, body) == (flag in (True, False, None))
    assert jsonschema_rs.is_valid(SCHEMAS[UnloadOrder], body) == is_taken(UnloadOrder, body)


def test_room_is_counted_in_bytes_inside():
    order = taken(RoomOrder, {"vram_mb": "5", "owner": "x", "ttl_seconds": "60"})
    assert (order.vram_bytes, order.lease_s) == (5 * MiB, 60.0)


def test_renewal_takes_both_names_of_its_field_and_one_of_them():
    seconds = [taken(RenewOrder, {name: 5}).lease_s for name in ("ttl_seconds", "lease_seconds")]
    assert seconds == [5, 5]
    assert not is_taken(RenewOrder, {"ttl_seconds": 5, "lease_seconds": 5})


def test_an_order_of_code_keeps_the_rules_between_fields():
    with pytest.raises(ValueError, match="not both"):
        UnloadOrder(model="a", owner="x", lease="y")
    with pytest.raises(ValueError, match="one of them"):
        EstimateOrder()


def test_a_fault_that_is_not_mentioned_is_not_touched():
    assert taken(FakeDeviceOrder, {"foreign_mb": 1}) == {"foreign_mb": 1}
    assert taken(FakeDeviceOrder, {"fault": None}) == {"fault": None}


# --- the document ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_the_example_can_be_sent(order):
    taken(order, example_of(order))
    jsonschema_rs.validate(SCHEMAS[order], example_of(order))


def bounds(schema):
    """The numbers just inside and just outside of what one field may be, by its schema."""
    for kind in schema.get("anyOf", [schema]):
        step = 1 if kind.get("type") == "integer" else 0.5
        if "minimum" in kind:
            yield kind["minimum"], kind["minimum"] - step
        if "exclusiveMinimum" in kind:
            yield kind["exclusiveMinimum"] + step, kind["exclusiveMinimum"]
        if "maximum" in kind:
            yield kind["maximum"], kind["maximum"] + step
        if "maxLength" in kind:
            yield "x" * kind["maxLength"], "x" * 5000
        if "minLength" in kind:
            yield "x", ""
        if "anyOf" in kind:
            yield from bounds(kind)


BOUNDED = [
    (order, name, inside, outside)
    for order, schema in SCHEMAS.items()
    for name, field in schema["properties"].items()
    for inside, outside in bounds(field)
]


def test_bounds_are_found():
    named = {name for _, name, _, _ in BOUNDED}
    assert {"model", "wait", "priority", "gpu_layers", "ttl_seconds", "vram_mb", "file"} <= named
    assert len(BOUNDED) > 40


@pytest.mark.parametrize(("order", "name", "inside", "outside"), BOUNDED)
def test_the_document_and_the_daemon_have_the_same_bounds(order, name, inside, outside):
    least = {LoadOrder: {"model": "a"}, UnloadOrder: {"model": "a"}, RoomOrder: example_of(order)}
    if order is EstimateOrder and name != "file":
        least[order] = {"model": "a"}
    for value, good in ((inside, True), (outside, False)):
        body = {**least.get(order, {}), name: value}
        assert is_taken(order, body) == good, body
        assert jsonschema_rs.is_valid(SCHEMAS[order], body) == good, body


BODIES = [
    (EstimateOrder, {}, False),
    (EstimateOrder, {"model": "a", "file": "b"}, False),
    (EstimateOrder, {"model": None, "file": "b"}, True),
    (EstimateOrder, {"model": None, "file": None}, False),
    (UnloadOrder, {"model": "a", "owner": "x", "lease_id": "y"}, False),
    (UnloadOrder, {"model": "a", "owner": "x", "lease_id": None}, True),
    (UnloadOrder, {"model": "a", "owner": "x"}, True),
    (RenewOrder, {}, False),
    (RenewOrder, {"lease_seconds": 5}, True),
    (RenewOrder, {"lease_seconds": 5, "ttl_seconds": 5}, False),
    (LoadOrder, {"model": "a", "gpu_layers": "all"}, True),
    (LoadOrder, {"model": "a", "gpu_layers": "most"}, False),
    (LoadOrder, {"model": "a", "priority": True}, False),
    (LoadOrder, {"model": "a", "cache_type": "q9"}, False),
    (LoadOrder, {"model": "a", "wait_s": 5}, False),
    (LoadOrder, {}, False),
    (FakeDeviceOrder, {"fault": "broken"}, False),
    (FakeDeviceOrder, {"fold": 1}, False),
]


@pytest.mark.parametrize(("order", "body", "good"), BODIES)
def test_the_document_and_the_daemon_have_the_same_rules(order, body, good):
    assert is_taken(order, body) == good
    assert jsonschema_rs.is_valid(SCHEMAS[order], body) == good


@pytest.mark.parametrize("name", ["a b", "org/a", "-a", "", "x" * 129])
def test_the_document_says_what_no_model_is_called(name):
    """The daemon knows no such model, and tells the nearest name in place of the rule."""
    assert not jsonschema_rs.is_valid(SCHEMAS[LoadOrder], {"model": name})


@pytest.mark.parametrize("order", [LoadOrder, EstimateOrder])
@pytest.mark.parametrize("service", ["", " ", None])
def test_empty_service_is_as_if_it_were_not_there(order, service):
    """A workflow's expression that finds nothing makes an empty text."""
    assert taken(order, {"model": "a", "service": service}) == taken(order, {"model": "a"})


def test_empty_owner_of_an_unload_is_a_mistake():
    """As if it were not there, it would end everybody's hold."""
    assert not is_taken(UnloadOrder, {"model": "a", "owner": ""})
