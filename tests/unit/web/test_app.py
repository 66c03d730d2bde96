"""The application as a whole, against its own document."""

import asyncio
import logging

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.web.app import create_app
from orchestrator.web.rest.compat import INSTEAD
from tests.unit.web.desk import APP, FakeDesk, asked, client_of, filled, routes_of

EXAMPLES_MAX = 15  # per operation; more find nothing new and cost seconds
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", create_app(FakeDesk()))


@SCHEMA.exclude(path_regex="/events$|/models/sse$").parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_finds_a_crash_or_an_undocumented_answer(case):
    case.call_and_validate(
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
        headers={"Host": "localhost"},
    )


def test_no_2xx_body_has_an_error_key():
    async def everything():
        async with client_of(FakeDesk()) as client:
            posted = [
                await client.post("/models/load", json={"model": "a"}),
                await client.post("/models/plan", json={"model": "a"}),
                await client.get("/models/status"),
                await client.get("/models"),
                await client.get("/models/a"),
                await client.get("/operations/op-1"),
                await client.post("/models/unload", json={"model": "a"}),
            ]
            return [each.json() for each in posted if each.is_success]

    bodies = asyncio.run(everything())
    assert len(bodies) == 7
    assert not [body for body in bodies if "error" in body]


@pytest.mark.parametrize("path", ["/models/", "/health/", "//models"])
def test_nobody_is_sent_elsewhere(path):
    assert asked(FakeDesk(), "GET", path).status_code == 404


def test_answers_are_not_logged(caplog):
    with caplog.at_level(logging.INFO, "orchestrator"):
        asked(FakeDesk(), "GET", "/models/zzz")
    assert caplog.records == []


def methods_by_path():
    """What the routing table says, without the GETs that only refuse."""
    table = {}
    for method, path in routes_of(APP):
        if method != "GET" or path not in INSTEAD:
            table.setdefault(path, set()).add(method)
    return sorted(table.items())


@pytest.mark.parametrize(("path", "methods"), methods_by_path())
def test_a_wrong_method_is_told_all_that_the_path_takes(path, methods):
    answer = asked(FakeDesk(), "PATCH", filled(path))
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert set(answer.headers["Allow"].split(", ")) == methods
    assert answer.json()["remedy"] == f"Use {answer.headers['Allow']} {filled(path)}."
