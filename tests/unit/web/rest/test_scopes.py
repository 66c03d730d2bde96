from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from orchestrator.access.keys.record import IMPLIED, KeyScope
from orchestrator.web.rest.scopes import RULES, UnruledRoute, check, rule_for
from tests.unit.web.keyed import Doors, bearer, closed_doors
from tests.unit.web.office import APP, filled, routes_of

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
        ("GET", "/"),
        ("GET", "/dashboard/{asset}"),
        ("POST", "/session"),
    }
