import pytest

from orchestrator.core.values.vram import MiB
from orchestrator.web.app import create_app
from tests.unit.web.desk import GPU, FakeDesk, asked, routes_of


@pytest.fixture
def desk():
    return FakeDesk()


def test_health_is_the_contracts(desk):
    answer = asked(desk, "GET", "/health")
    assert answer.json() == {"status": "healthy", "service": "model-orchestrator"}


def test_ready_says_why_not(desk):
    assert asked(desk, "GET", "/health/ready").json() == {"status": "ready", "reasons": []}
    desk.amiss = ("Docker does not answer.",)
    answer = asked(desk, "GET", "/health/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (200, list(desk.amiss))
    desk.reasons = ("No device can be read.", "The registry's disk is full.")
    answer = asked(desk, "GET", "/health/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (503, list(desk.reasons))
    assert answer.headers["Retry-After"] == "5"


def test_reload_tells_what_changed(desk):
    answer = asked(desk, "POST", "/admin/reload")
    assert answer.json() == {"success": True, "changed": ["models.a"], "restart_needed": []}


def test_reload_of_a_file_with_mistakes_names_them_all(desk):
    desk.reload_mistakes = tuple(f"config.yaml:{line}: wrong" for line in range(1, 6))
    answer = asked(desk, "POST", "/admin/reload")
    assert answer.status_code == 422
    assert len(answer.json()["mistakes"]) == 5


def test_operation_tells_how_far_it_is(desk):
    asked(desk, "POST", "/models/load", json={"model": "a", "wait": False})
    assert asked(desk, "GET", "/operations/op-1").json() == {
        "operation_id": "op-1",
        "kind": "load",
        "model": "a",
        "status": "loading",
        "created_at": "2026-01-15T10:30:00.000Z",
        "finished_at": None,
        "code": None,
        "detail": "",
        "eta_seconds": 2.5,
    }
    asked(desk, "POST", "/models/load", json={"model": "b"})
    finished = asked(desk, "GET", "/operations/op-2").json()
    assert (finished["status"], finished["eta_seconds"]) == ("succeeded", None)


def test_operation_that_nobody_knows(desk):
    answer = asked(desk, "GET", "/operations/op-9")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_devices_are_listed(desk):
    (device,) = asked(desk, "GET", "/devices").json()["devices"]
    assert (device["id"], device["total_mb"], device["read_at"]) == (
        "fake-0",
        32768,
        "2026-01-15T10:30:00.000Z",
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"foreign_mb": "4096"}, (GPU, 4096 * MiB, "untouched")),
        ({"fault": "lost"}, (GPU, None, "lost")),
        ({"fault": None}, (GPU, None, None)),
        ({"foreign_mb": 0, "fault": "unreadable"}, (GPU, 0, "unreadable")),
    ],
)
def test_fake_device_is_told_what_was_sent_and_no_more(desk, body, told):
    assert asked(desk, "PUT", "/devices/fake-0/fake", json=body).status_code == 200
    assert desk.fake_devices.told == [told]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/devices/fake-9/fake", {"foreign_mb": 1}, 404),
        ("/devices/fake-0/fake", {"foreign_mb": 99_999}, 422),
        ("/devices/fake-0/fake", {"foreign_mb": -1}, 422),
        ("/devices/fake-0/fake", {"fault": "broken"}, 422),
    ],
)
def test_fake_device_that_cannot_be_so(desk, path, body, status):
    assert asked(desk, "PUT", path, json=body).status_code == status


def test_real_devices_cannot_be_told_anything(desk):
    desk.fake_devices = None
    assert "/devices/{device_id}/fake" not in {path for _, path in routes_of(create_app(desk))}
