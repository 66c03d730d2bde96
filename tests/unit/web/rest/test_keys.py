from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.access.keys.record import KeyScope
from orchestrator.config.sections import ServerSettings
from orchestrator.web.gate import COOKIE
from tests.unit.web.keyed import Doors, bearer, closed_doors


@pytest.fixture
def doors(office) -> Iterator[Doors]:
    with closed_doors(office) as doors:
        yield doors


@pytest.fixture
def boss(doors):
    return doors.make(KeyScope.ADMIN, models=("a",), max_priority=5)


def asked(doors, method, path, new=None, *, said=None, **more):
    headers = {**(said or {}), **(bearer(new) if new else {})}
    return doors.office.asked(method, path, headers=headers, **more)


def test_first_key_is_made_by_who_reaches_the_open_daemon_and_closes_it(doors):
    made = asked(doors, "POST", "/keys", json={"name": "first", "scopes": ["admin"]})
    assert made.status_code == 201
    assert made.json()["key"].startswith(f"vo_{made.json()['id']}_")
    assert asked(doors, "GET", "/keys").status_code == 401


def test_key_is_shown_once(doors, boss):
    made = asked(doors, "POST", "/keys", boss, json={"name": "n8n", "scopes": ["load"]}).json()
    listed = asked(doors, "GET", "/keys", boss)
    assert made["key"] not in listed.text
    assert "digest" not in listed.text
    names = {one["id"]: (one["name"], one["status"]) for one in listed.json()["keys"]}
    assert names[made["id"]] == ("n8n", "valid")


def test_sub_key_never_exceeds_its_creator(doors, boss):
    wish = {"name": "more", "scopes": ["load"], "max_priority": 6, "models": ["*"]}
    answer = asked(doors, "POST", "/keys", boss, json=wish)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.json()["beyond"] == ["models", "max_priority"]
    made = asked(doors, "POST", "/keys", boss, json={"name": "less", "scopes": ["load"]}).json()
    assert (made["models"], made["limits"]["max_priority"]) == (["a"], 5)


def test_mistake_in_a_wish_is_422_with_its_place(doors, boss):
    wish = {"name": "n8n", "scopes": ["root"], "expires": "soon"}
    answer = asked(doors, "POST", "/keys", boss, json=wish)
    assert answer.status_code == 422


def test_whoami_says_what_a_key_may_do(doors):
    new = doors.make(KeyScope.LOAD, models=("a",), vram_mb=100)
    said = asked(doors, "GET", "/auth/whoami", new).json()
    assert (said["id"], said["name"], said["models"]) == (new.record.id, "test", ["a"])
    assert said["scopes"] == ["load", "read", "use"]
    assert said["limits"]["vram_mb"] == 100


def test_rotated_key_has_both_secrets_for_the_grace(doors, boss):
    made = asked(doors, "POST", f"/keys/{boss.record.id}/rotate", boss, json={"grace": "1h"})
    new = {"Authorization": f"Bearer {made.json()['key']}"}
    assert made.json()["id"] == boss.record.id
    for headers in (bearer(boss), new):
        assert doors.office.asked("GET", "/keys", headers=headers).status_code == 200
    doors.office.pass_s(3600)
    answer = doors.office.asked("GET", "/keys", headers=bearer(boss))
    assert (answer.status_code, answer.json()["code"]) == (401, "key_expired")
    assert doors.office.asked("GET", "/keys", headers=new).status_code == 200


def test_key_of_another_cannot_be_rotated_only_revoked(doors, boss):
    other = doors.make(KeyScope.ADMIN)
    path = f"/keys/{other.record.id}"
    assert asked(doors, "POST", f"{path}/rotate", boss, json={}).json()["code"] == "forbidden"
    assert asked(doors, "DELETE", path, boss).json() == {"revoked": [other.record.id]}
    assert asked(doors, "DELETE", path, boss).status_code == 404
    assert asked(doors, "GET", "/keys", other).status_code == 401


def log_in(doors, new):
    answer = doors.office.asked("POST", "/session", json={"key": new.secret})
    assert answer.status_code == 204
    return answer.headers["set-cookie"]


def test_session_stands_for_its_key(doors, boss):
    said = log_in(doors, boss)
    for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert part in said
    assert boss.secret not in said
    cookie = {"Cookie": said.partition(";")[0]}
    assert doors.office.asked("GET", "/auth/whoami", headers=cookie).json()["id"] == boss.record.id
    assert doors.office.asked("DELETE", "/session", headers=cookie).status_code == 204
    assert doors.office.asked("GET", "/auth/whoami", headers=cookie).status_code == 401


def test_revocation_ends_sessions(doors, boss):
    cookie = {"Cookie": "other=1; " + log_in(doors, boss).partition(";")[0]}
    assert doors.office.asked("GET", "/keys", headers=cookie).status_code == 200
    doors.office.run(doors.keys.revoke(boss.record.id))
    assert doors.office.asked("GET", "/keys", headers=cookie).status_code == 401


def test_session_ends_after_twelve_hours(doors, boss):
    cookie = {"Cookie": log_in(doors, boss).partition(";")[0]}
    doors.office.pass_s(12 * 3600)
    assert doors.office.asked("GET", "/keys", headers=cookie).status_code == 401


@pytest.mark.parametrize("key", ["vo_nothing1_" + "x" * 43, "x"])
def test_no_session_without_a_key(doors, boss, key):
    answer = doors.office.asked("POST", "/session", json={"key": key})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert COOKIE not in answer.headers.get("set-cookie", "")
    assert key not in answer.text


def test_page_of_another_site_cannot_use_a_session(doors, boss):
    cookie = log_in(doors, boss).partition(";")[0]
    headers = {"Cookie": cookie, "Origin": "https://evil.example"}
    wish = {"name": "evil", "scopes": ["admin"]}
    answer = doors.office.asked("POST", "/keys", headers=headers, json=wish)
    assert (answer.status_code, answer.json()["code"]) == (403, "bad_origin")


def test_file_that_cannot_be_written_is_503_and_changes_nothing(doors, boss, tmp_path):
    path = tmp_path / "keys.sqlite"
    path.write_bytes(b"damaged" * 1000)
    answer = asked(doors, "POST", "/keys", boss, json={"name": "x", "scopes": ["read"]})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert asked(doors, "GET", "/keys", boss).status_code == 200


@pytest.mark.parametrize("origin", ["http://localhost", "https://gpu.example"])
def test_cookie_of_a_page_that_came_by_tls_goes_back_by_tls_alone(doors, origin):
    new = doors.make(KeyScope.READ)
    server = ServerSettings(allowed_origins=("https://gpu.example",))
    doors.office.config = replace(doors.office.config, server=server)
    doors.office.run(doors.office.desk.reload())
    answer = asked(doors, "POST", "/session", json={"key": new.secret}, said={"Origin": origin})
    assert answer.status_code == 204
    assert ("secure" in answer.headers["set-cookie"].lower()) is origin.startswith("https")
