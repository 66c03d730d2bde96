"""The application as a whole, against its own document."""

import logging

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.web.rest.compat import INSTEAD
from orchestrator.web.rest.docs import document
from tests.unit.web.office import APP, URL, filled, routes_of

EXAMPLES_MAX = 15  # per operation; more find nothing new and cost seconds
SCHEMA = schemathesis.openapi.from_dict(document(APP))


@SCHEMA.exclude(path_regex="/events$|/models/sse$").parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_finds_a_crash_or_an_undocumented_answer(case, changeable):
    sent = case.as_transport_kwargs(base_url=URL, headers={"Host": "localhost"})
    request = requests.Request(**sent).prepare()
    answer = changeable.asked(
        request.method, request.url, content=request.body, headers=request.headers
    )
    assert answer.status_code != 500
    case.validate_response(
        answer,
        checks=[
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )


def test_no_2xx_body_has_an_error_key(office):
    loaded = office.asked("POST", "/models/load", json={"model": "a"})
    begun = office.asked("POST", "/models/load", json={"model": "b", "wait": False}).json()
    answers = [
        loaded,
        office.asked("POST", "/models/plan", json={"model": "a"}),
        office.asked("GET", "/models/status"),
        office.asked("GET", "/models"),
        office.asked("GET", "/models/a"),
        office.asked("GET", begun["status_url"]),
        office.asked("POST", "/models/unload", json={"model": "a"}),
    ]
    bodies = [answer.json() for answer in answers if answer.is_success]
    assert len(bodies) == len(answers)
    assert not [body for body in bodies if "error" in body]


@pytest.mark.parametrize("path", ["/models/", "/health/", "/%2Fmodels"])
def test_nobody_is_sent_elsewhere(office, path):
    assert office.asked("GET", path).status_code == 404


def test_answers_are_not_logged(office, caplog):
    with caplog.at_level(logging.INFO, "orchestrator"):
        office.asked("GET", "/models/zzz")
    assert caplog.records == []


def methods_by_path():
    """What the routing table says, without the GETs that only refuse."""
    table = {}
    for method, path in routes_of(APP):
        if method != "GET" or path not in INSTEAD:
            table.setdefault(path, set()).add(method)
    return sorted(table.items())


@pytest.mark.parametrize(("path", "methods"), methods_by_path())
def test_a_wrong_method_is_told_all_that_the_path_takes(office, path, methods):
    answer = office.asked("PATCH", filled(path))
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert set(answer.headers["Allow"].split(", ")) == methods
    assert answer.json()["remedy"] == f"Use {answer.headers['Allow']} {filled(path)}."
