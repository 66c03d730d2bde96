import asyncio
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from orchestrator.access.keys.record import IMPLIED, KeyScope
from orchestrator.web.rest.scopes import RULES, UnruledRoute, check, rule_for
from tests.unit.web.keyed import Doors, bearer, closed_doors
from tests.unit.web.office import APP, URL, app_of, filled, routes_of

TURNED_AWAY = ("unauthorized", "forbidden")
ROUTES = routes_of(APP)
STREAMS = {"/models/sse"}  # without an end


@pytest.fixture
def doors(office) -> Iterator[Doors]:
    with closed_doors(office) as doors:
        yield doors


def refusal_of(answer):
    is_error = answer.status_code in (401, 403)
    return answer.json()["code"] if is_error else None


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_scope_matrix(doors, method, path):
    """Every route by every scope: what lacks the scope is refused with its name, what has it is not
    refused for that; without a key only what is public answers.
    """
    rule = RULES[method, path]
    keys = {scope: doors.make(scope) for scope in KeyScope}
    body = {} if method == "GET" else {"json": {}}
    answer = doors.office.asked(method, filled(path), **body)
    assert refusal_of(answer) == (None if rule.public else "unauthorized")
    for scope, new in keys.items():
        enough = rule.scope is None or rule.scope in IMPLIED[scope]
        if path in STREAMS and enough:
            continue
        before = doors.office.state()
        answer = doors.office.asked(method, filled(path), headers=bearer(new), **body)
        if enough:
            assert refusal_of(answer) not in TURNED_AWAY, scope
        else:
            assert refusal_of(answer) == "forbidden", scope
            assert answer.json()["scope"] == rule.scope
            assert doors.office.state() == before


def test_route_without_a_rule_makes_no_application():
    router = APIRouter()

    @router.get("/new")
    async def new() -> None: ...

    table = [route for route in router.routes if isinstance(route, APIRoute)]
    with pytest.raises(UnruledRoute, match="/new"):
        check(table)
    with pytest.raises(KeyError):
        rule_for("GET", "/new", table)


def test_no_rule_is_left_of_a_route_that_is_gone():
    assert set(RULES) == set(ROUTES)


def test_only_health_the_shell_and_the_login_are_public():
    public = {way for way, rule in RULES.items() if rule.public}
    assert public == {
        ("GET", "/health"),
        ("GET", "/healthz"),
        ("GET", "/api/health"),
        ("GET", "/"),
        ("GET", "/dashboard/{asset}"),
        ("POST", "/session"),
    }


# --- what a key sees and touches of what others have ---------------------------------------------

LOAD, LEASE = KeyScope.LOAD, KeyScope.LEASE


@pytest.fixture
def asked(doors):
    def ask(new, method, path, **more):
        return doors.office.asked(method, path, headers=bearer(new), **more)

    return ask


def load(asked, new, model, **more):
    return asked(new, "POST", "/models/load", json={"model": model, **more})


def test_key_sees_only_its_models(doors, asked):
    boss, narrow = doors.make(KeyScope.ADMIN), doors.make(LOAD, models=("b",))
    load(asked, boss, "a")
    load(asked, boss, "b")
    for path in ("/models", "/v1/models"):
        assert [one["id"] for one in asked(narrow, "GET", path).json()["data"]] == ["b"]
    assert list(asked(narrow, "GET", "/models/status").json()["loaded_models"]) == ["b"]
    assert [one["model"] for one in asked(narrow, "GET", "/running").json()["running"]] == ["b"]
    events = asked(narrow, "GET", "/events").json()["events"]
    assert {event["model"] for event in events} == {"b"}
    for method, path, body in (
        ("GET", "/models/a", None),
        ("POST", "/models/load", {"model": "a"}),
        ("POST", "/models/plan", {"model": "a"}),
        ("POST", "/models/estimate", {"model": "a"}),
        ("POST", "/models/unload", {"model": "a"}),
    ):
        answer = asked(narrow, method, path, **({} if body is None else {"json": body}))
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model"), path


def test_key_touches_only_what_it_has_loaded(doors, asked):
    boss, mine = doors.make(KeyScope.ADMIN), doors.make(LOAD)
    load(asked, boss, "a")
    load(asked, mine, "b")
    refused = asked(mine, "POST", "/models/unload", json={"model": "a"})
    assert (refused.status_code, refused.json()["scope"]) == (403, "admin")
    said = asked(mine, "POST", "/api/models/unload").json()
    assert (said["unloaded"], [one["code"] for one in said["kept"]]) == (["b"], ["forbidden"])
    forced = asked(mine, "POST", "/models/unload", json={"model": "b", "force": True})
    assert forced.json()["code"] == "forbidden"


def test_key_sees_only_its_leases_and_operations(doors, asked):
    mine, other = doors.make(LOAD, LEASE), doors.make(LOAD, LEASE)
    boss = doors.make(KeyScope.ADMIN)
    load(asked, mine, "a", owner="me")
    ids = [one["lease_id"] for one in asked(mine, "GET", "/leases").json()["leases"]]
    assert len(ids) == 1
    assert asked(other, "GET", "/leases").json()["leases"] == []
    assert len(asked(boss, "GET", "/leases").json()["leases"]) == 1
    renew = {"lease_seconds": 60}
    assert asked(other, "PUT", f"/leases/{ids[0]}", json=renew).status_code == 404
    assert asked(other, "DELETE", f"/leases/{ids[0]}").status_code == 204
    assert asked(mine, "PUT", f"/leases/{ids[0]}", json=renew).status_code == 200
    begun = load(asked, mine, "b", wait=False).json()
    for new, status in ((mine, 200), (other, 404), (boss, 200)):
        assert asked(new, "GET", begun["status_url"]).status_code == status


def test_priority_pin_and_lease_beyond_a_key_are_refused(doors, asked):
    mine = doors.make(LOAD, max_priority=5)
    for more, code in (
        ({"priority": 6}, "priority_too_high"),
        ({"pin": True}, "forbidden"),
        ({"owner": "me"}, "forbidden"),
    ):
        for path in ("/models/load", "/models/plan"):
            answer = asked(mine, "POST", path, json={"model": "a", **more})
            assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert doors.office.loaded() == {}


def test_dry_run_and_act_agree_on_the_quota(doors, asked):
    mine = doors.make(LOAD, vram_mb=1)
    plan = asked(mine, "POST", "/models/plan", json={"model": "a"}).json()
    act = load(asked, mine, "a")
    assert plan["fits"] is False
    assert (act.status_code, act.json()["code"]) == (403, "over_quota")
    assert plan["refusal"]["code"] == "over_quota"
    assert doors.office.loaded() == {}


def test_keys_that_were_made_with_one_share_its_vram(doors, asked):
    """Many keys make no more room: in the plan as in the act."""
    boss = doors.make(KeyScope.ADMIN)
    load(asked, boss, "a")
    taken_mb = asked(boss, "GET", "/models/status").json()["loaded_models"]["a"]["vram_mb"]
    asked(boss, "POST", "/models/unload", json={"model": "a"})
    maker = doors.make(KeyScope.ADMIN, vram_mb=taken_mb)
    wish = {"name": "sub", "scopes": ["load"]}
    one, other = (asked(maker, "POST", "/keys", json=wish).json()["key"] for _ in range(2))

    def ask(key, path, model):
        headers = {"Authorization": f"Bearer {key}"}
        return doors.office.asked("POST", path, headers=headers, json={"model": model})

    assert ask(one, "/models/load", "a").status_code == 200
    assert ask(other, "/models/plan", "b").json()["refusal"]["code"] == "over_quota"
    refused = ask(other, "/models/load", "b")
    assert (refused.status_code, refused.json()["code"]) == (403, "over_quota")
    assert "keys that share its quota" in refused.json()["detail"]
    assert asked(maker, "POST", "/models/load", json={"model": "b"}).status_code == 403
    assert ask(other, "/models/load", "a").status_code == 200, "what is there costs nothing"


def test_callers_of_one_key_that_wait_are_bounded(doors, asked):
    mine = doors.make(LOAD, max_waiting=1)
    order = {"model": "a", "wait": 60}

    async def two():
        transport = httpx.ASGITransport(app_of(doors.office.desk))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            post = partial(client.post, "/models/load", json=order, headers=bearer(mine))
            return await asyncio.gather(post(), post())

    codes = sorted(answer.status_code for answer in doors.office.run(two()))
    assert codes == [200, 429]
    assert load(asked, mine, "a").status_code == 200
