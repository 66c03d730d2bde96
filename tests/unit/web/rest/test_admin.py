from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.core.values.failures import Silence
from orchestrator.core.values.specs import FakeBehaviour
from orchestrator.core.values.vram import DeviceId, DeviceState, MiB
from orchestrator.runtimes.unshared import Unshared
from orchestrator.web.app import create_app
from orchestrator.web.wire.instants import instant
from tests.unit.web.office import Office, routes_of
from tests.unit.web.samples import spec

SILENCE = Silence(who="Docker", for_s=7.0, problem="Docker is silent.")
SAID = "Docker has not answered for 7 s; nothing is started there."


def test_health_is_the_contracts(office):
    answer = office.asked("GET", "/health")
    assert answer.json() == {"status": "healthy", "service": "model-orchestrator"}


@pytest.mark.parametrize("path", ["/api/health", "/healthz"])
def test_health_answers_under_its_usual_names(office, path):
    assert office.asked("GET", path).json() == office.asked("GET", "/health").json()


def test_readiness_answers_under_its_usual_name(office):
    """Also where it is not ready: whoever asks by that name looks at the status alone."""
    assert office.asked("GET", "/readyz").status_code == 200
    office.world.set_fault(DeviceId("fake-0"), DeviceState.LOST, "No device can be read.")
    office.run(office.conductor.sensors.sample())
    short, long = office.asked("GET", "/readyz"), office.asked("GET", "/health/ready")
    assert (short.status_code, short.json()["reasons"]) == (503, long.json()["reasons"])


def test_ready_says_what_is_amiss_where_it_works_all_the_same(office):
    assert office.asked("GET", "/health/ready").json() == {"status": "ready", "reasons": []}
    (known,) = office.conductor.drivers.values()
    office.conductor.drivers["elsewhere"] = replace(known, runtime=Unshared())
    office.world.silence = SILENCE
    office.pass_s(2)
    answer = office.asked("GET", "/health/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (200, [SAID])


def test_ready_says_why_not(tmp_path):
    with Office(tmp_path, problems=lambda: ("The registry's disk is full.",)) as office:
        office.world.set_fault(DeviceId("fake-0"), DeviceState.LOST, "No device can be read.")
        office.world.silence = SILENCE
        office.pass_s(2)
        office.run(office.conductor.sensors.sample())
        answer = office.asked("GET", "/health/ready")
    reasons = ["The registry's disk is full.", "fake-0: No device can be read.", SAID]
    assert (answer.status_code, answer.json()["reasons"]) == (503, reasons)
    assert answer.headers["Retry-After"] == "5"


def test_reload_tells_what_changed(office):
    nothing = office.asked("POST", "/admin/reload")
    file = office.config.path
    changed_at = datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.exists() else None
    assert nothing.json() == {
        "success": True,
        "changed": [],
        "restart_needed": [],
        "file": str(file),
        "file_changed_at": changed_at and instant(changed_at.timestamp()),
    }
    office.config = replace(office.config, catalogue={"a": spec("a", mb=7000)})
    answer = office.asked("POST", "/admin/reload")
    assert answer.json()["changed"] == ["models.a", "models.b"]


def test_reload_of_a_file_with_mistakes_names_them_all(office):
    office.mistakes = tuple(f"config.yaml:{line}: wrong" for line in range(1, 6))
    answer = office.asked("POST", "/admin/reload")
    assert answer.status_code == 422
    assert len(answer.json()["mistakes"]) == 5


def test_the_daemon_says_what_it_runs_by(office):
    told = office.asked("GET", "/admin/daemon").json()
    config = office.desk.config
    assert told == {
        "config": str(config.path),
        "state_dir": str(config.state_dir),
        "folders": [],
        "services": {name: entry.engine for name, entry in config.services.items()},
        "service": config.home,
    }


def test_operation_tells_how_far_it_is(tmp_path):
    slow = replace(spec("a", load_s=4.0), fake=FakeBehaviour(load_s=4.0))
    with Office(tmp_path, models=(slow,)) as office:
        begun = office.asked("POST", "/models/load", json={"model": "a", "wait": False}).json()
        office.pass_s(1.5)
        told = office.asked("GET", begun["status_url"]).json()
        assert told == {
            "operation_id": begun["operation_id"],
            "kind": "load",
            "model": "a",
            "status": "loading",
            "created_at": "2026-01-15T10:30:00.000Z",
            "finished_at": None,
            "code": None,
            "detail": "",
            "eta_seconds": 2.5,
        }
        office.pass_s(4)
        finished = office.asked("GET", begun["status_url"]).json()
    assert (finished["status"], finished["eta_seconds"]) == ("succeeded", None)
    assert finished["finished_at"] > "2026-01-15T10:30:03.9"


def test_operation_that_nobody_knows(office):
    answer = office.asked("GET", "/operations/op-9")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_devices_are_listed(office):
    (device,) = office.asked("GET", "/devices").json()["devices"]
    assert (device["id"], device["total_mb"], device["read_at"]) == (
        "fake-0",
        32768,
        "2026-01-15T10:30:00.000Z",
    )


OK, LOST, UNREADABLE = DeviceState.OK, DeviceState.LOST, DeviceState.UNREADABLE


@pytest.mark.parametrize(
    ("bodies", "foreign_mb", "state"),
    [
        ([{"foreign_mb": "4096"}], 4096, OK),
        ([{"fault": "lost"}], None, LOST),
        ([{"fault": "lost"}, {"foreign_mb": 1}], None, LOST),
        ([{"foreign_mb": 1}, {"fault": "lost"}, {"fault": None}], 1, OK),
        ([{"foreign_mb": 0, "fault": "unreadable"}], None, UNREADABLE),
        ([{"foreign_mb": 5}, {"foreign_mb": None}, {}], 5, OK),
    ],
)
def test_fake_device_is_told_what_was_sent_and_no_more(
    changeable, devices, bodies, foreign_mb, state
):
    for body in bodies:
        assert changeable.asked("PUT", "/devices/fake-0/fake", json=body).status_code == 200
    (reading,) = changeable.run(devices.read(None))
    held_bytes = None if foreign_mb is None else foreign_mb * MiB
    assert (reading.used_bytes, reading.state) == (held_bytes, state)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/devices/fake-9/fake", {"foreign_mb": 1}, 404),
        ("/devices/fake-0/fake", {"foreign_mb": 99_999}, 422),
        ("/devices/fake-0/fake", {"foreign_mb": -1}, 422),
        ("/devices/fake-0/fake", {"fault": "broken"}, 422),
        ("/devices/fake-0/fake", {"fold": 1}, 422),
    ],
)
def test_fake_device_that_cannot_be_so(changeable, path, body, status):
    assert changeable.asked("PUT", path, json=body).status_code == status


def test_real_devices_cannot_be_told_anything(office):
    assert office.desk.fake_devices is None
    paths = {path for _, path in routes_of(create_app(office.desk))}
    assert "/devices/{device_id}/fake" not in paths
