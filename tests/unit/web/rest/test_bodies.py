import pytest
from pydantic import ValidationError

from orchestrator.core.values.vram import MiB
from orchestrator.orders import WAIT_S_DEFAULT
from orchestrator.web.rest.bodies import FakeBody, LoadBody, RenewBody, RoomBody, UnloadBody


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
    assert LoadBody(model="a", wait=wait).wait == seconds


@pytest.mark.parametrize("wait", [-1, "soon", "nan", float("inf"), 3601, [], {}])
def test_wait_that_makes_no_sense(wait):
    with pytest.raises(ValidationError):
        LoadBody(model="a", wait=wait)


def test_null_means_not_given():
    nothing = dict.fromkeys(set(LoadBody.model_fields) - {"model"})
    assert LoadBody(model="a", **nothing).order() == LoadBody(model="a").order()
    assert UnloadBody(model="a", force=None, wait=None) == UnloadBody(model="a")


def test_room_is_counted_in_bytes_inside():
    order = RoomBody(vram_mb="5", owner="x", ttl_seconds="60").order()
    assert (order.vram_bytes, order.lease_s) == (5 * MiB, 60.0)


def test_renewal_takes_both_names_of_its_field():
    assert RenewBody(lease_seconds=5) == RenewBody(ttl_seconds=5)


def test_fault_that_is_not_mentioned_is_not_touched():
    assert FakeBody(foreign_mb=1).changes() == {"foreign_bytes": MiB}
    assert FakeBody(fault=None).changes() == {"fault": None}
    assert FakeBody().changes() == {}
