import asyncio

import pytest

from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.vram import MiB
from tests.unit.web.desk import FakeDesk, asked, leave_after_asking

ROOM = {"vram_mb": "8192", "owner": "comfyui", "ttl_seconds": 600}


@pytest.fixture
def desk():
    return FakeDesk()


def test_room_is_leased_renewed_listed_and_given_back(desk):
    answer = asked(desk, "POST", "/vram/leases", json=ROOM)
    assert answer.status_code == 201
    lease = answer.json()
    assert lease == {
        "lease_id": "lease-2",
        "vram_mb": 8192,
        "device": "fake-0",
        "owner": "comfyui",
        "expires_at": "2026-01-15T10:40:00.000Z",
        "evicted": [],
    }
    assert answer.headers["Location"] == "/vram/leases/lease-2"

    (listed,) = asked(desk, "GET", "/vram/leases").json()["leases"]
    assert (listed["lease_id"], listed["vram_mb"]) == ("lease-2", 8192)

    renewed = asked(desk, "PUT", "/vram/leases/lease-2", json={"ttl_seconds": 1200})
    assert renewed.json()["expires_at"] == "2026-01-15T10:50:00.000Z"

    assert asked(desk, "DELETE", "/vram/leases/lease-2").status_code == 204
    assert asked(desk, "DELETE", "/vram/leases/lease-2").status_code == 204
    assert asked(desk, "GET", "/vram/leases").json() == {"leases": []}


@pytest.mark.parametrize(
    "change",
    [
        {"vram_mb": 0},
        {"vram_mb": -5},
        {"vram_mb": 1 << 40},
        {"vram_mb": True},
        {"ttl_seconds": None},
        {"ttl_seconds": 1e9},
        {"owner": None},
        {"device": ""},
    ],
)
def test_room_that_makes_no_sense(desk, change):
    assert asked(desk, "POST", "/vram/leases", json=ROOM | change).status_code == 422


def test_room_that_never_fits(desk):
    desk.refusal = Refusal(
        code=RefusalCode.DOES_NOT_FIT, detail="Too big.", needed_bytes=99 * MiB, available_bytes=0
    )
    answer = asked(desk, "POST", "/vram/leases", json=ROOM)
    assert (answer.status_code, answer.json()["needed_mb"]) == (507, 99)


def test_ended_lease_cannot_be_renewed(desk):
    answer = asked(desk, "PUT", "/vram/leases/gone", json={"ttl_seconds": 5})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_lease_of_a_model_is_its_owners(desk):
    asked(desk, "POST", "/models/load", json={"model": "a", "owner": "w", "lease_seconds": 60})
    (lease,) = asked(desk, "GET", "/leases").json()["leases"]
    assert (lease["model"], lease["owner"], lease["kind"]) == ("a", "w", "owner")
    path = f"/leases/{lease['lease_id']}"
    renewed = asked(desk, "PUT", path, json={"lease_seconds": "120"})
    assert renewed.json()["expires_at"] == "2026-01-15T10:32:00.000Z"
    assert asked(desk, "DELETE", path).status_code == 204
    assert desk.leases == {}


def test_room_for_a_caller_that_has_left_is_not_leased(desk):
    """The caller goes while its wish waits: the wish is withdrawn, nothing stays leased."""
    desk.slow = asyncio.Event()
    body = b'{"vram_mb": 1, "owner": "x", "ttl_seconds": 60}'
    asyncio.run(leave_after_asking(desk, "/vram/leases", body))
    assert desk.leases == {}
