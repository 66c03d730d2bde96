from collections.abc import Iterator

import pytest

from orchestrator.access.keys.record import KeyScope
from orchestrator.web.gate import COOKIE
from tests.unit.web.keyed import Doors, bearer, closed_doors
from tests.unit.web.office import GATE


@pytest.fixture
def doors(office) -> Iterator[Doors]:
    with closed_doors(office) as doors:
        yield doors


def code(answer):
    return answer.status_code, answer.json().get("code")


def test_without_keys_everybody_may_do_everything(doors):
    assert doors.office.asked("GET", "/models").status_code == 200
    assert doors.office.asked("GET", "/auth/whoami").json()["id"] is None


@pytest.mark.parametrize(
    "said",
    [
        bearer,
        lambda new: {"Authorization": f"bearer  {new.secret} "},
        lambda new: {"X-Api-Key": new.secret},
    ],
)
def test_key_is_known_by_either_header(doors, said):
    new = doors.make(KeyScope.READ)
    answer = doors.office.asked("GET", "/auth/whoami", headers=said(new))
    assert answer.json()["id"] == new.record.id


@pytest.mark.parametrize(
    "said",
    [
        [],
        [("Authorization", "Bearer vo_nothing1_" + "x" * 43)],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Basic {}")],
        [("Authorization", "{}")],
        [("X-Api-Key", "")],
        [("Cookie", COOKIE + "={}")],
        [("Authorization", "Bearer {}"), ("Authorization", "Bearer other")],
        [("Authorization", "Bearer other"), ("X-Api-Key", "{}")],
    ],
)
def test_what_is_no_key_is_401_and_says_how(doors, said):
    new = doors.make(KeyScope.ADMIN)
    headers = [(name, value.replace("{}", new.secret)) for name, value in said]
    for path in ("/models", "/no/such/path", "/docs", "/metrics", "/events", "/models/sse"):
        answer = doors.office.asked("GET", path, headers=headers)
        assert code(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_health_and_the_shell_of_the_dashboard_are_public(doors):
    doors.make(KeyScope.READ)
    for path in ("/health", "/", "/dashboard/app.js"):
        assert doors.office.asked("GET", path).status_code in (200, 404)


def test_revoked_key_is_refused_by_the_next_request(doors):
    new = doors.make(KeyScope.READ)
    assert doors.office.asked("GET", "/models", headers=bearer(new)).status_code == 200
    doors.office.run(doors.keys.revoke(new.record.id))
    assert code(doors.office.asked("GET", "/models", headers=bearer(new))) == (401, "unauthorized")
    assert code(doors.office.asked("GET", "/models")) == (401, "unauthorized")


def test_61st_request_is_429_with_retry_after(doors):
    new = doors.make(KeyScope.READ, requests_per_minute=60)
    for _ in range(60):
        assert doors.office.asked("GET", "/devices", headers=bearer(new)).status_code == 200
    answer = doors.office.asked("GET", "/devices", headers=bearer(new))
    assert code(answer) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1


def test_polling_status_is_free(doors):
    new = doors.make(KeyScope.READ, requests_per_minute=1)
    for _ in range(3):
        for path in ("/models/status", "/health/ready", "/metrics", "/running", "/auth/whoami"):
            assert doors.office.asked("GET", path, headers=bearer(new)).status_code == 200
    assert doors.office.asked("GET", "/devices", headers=bearer(new)).status_code == 200


def test_key_of_another_network_is_refused(doors):
    new = doors.make(KeyScope.READ, networks=("192.0.2.0/24",))
    answer = doors.office.asked("GET", "/models", headers=bearer(new))
    assert code(answer) == (403, "wrong_network")


def test_gate_without_keys_is_the_one_of_other_tests():
    assert GATE.keys is None
