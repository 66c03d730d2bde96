import json
import re

import pytest

from orchestrator.web.rest.docs import document
from tests.unit.web.office import APP, routes_of

DOCUMENT = document(APP)
OPERATIONS = [
    (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_route_explains_itself_with_examples(method, path, operation):
    assert operation["summary"]
    for status, answer in operation["responses"].items():
        for kind, content in answer.get("content", {}).items():
            assert "example" in content, (status, kind)
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        named = DOCUMENT["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2])
        assert (named or schema)["examples"]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_errors_of_every_route_are_documented(method, path, operation):
    expected = {"421"} if method == "get" else {"403", "413", "415", "421", "422"}
    assert expected <= set(operation["responses"])


def test_document_shows_every_route_that_is_meant_to_be_used():
    shown = {(method.upper(), path) for method, path, _ in OPERATIONS}
    hidden = {(method, path.replace(":path", "")) for method, path in routes_of(APP)} - shown
    assert hidden == {
        ("GET", "/openapi.json"),
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/docs/{asset}"),
        ("GET", "/dashboard/{asset}"),
        ("GET", "/unload"),
        ("GET", "/models/load"),
        ("GET", "/models/unload"),
        ("GET", "/models/plan"),
        ("GET", "/models/estimate"),
    }


def test_bounds_are_told_in_the_words_of_json_schema():
    assert not re.findall(r'"(?:ge|gt|le|lt)":', json.dumps(DOCUMENT))
    vram_mb = DOCUMENT["components"]["schemas"]["RoomOrder"]["properties"]["vram_mb"]
    assert (vram_mb["minimum"], vram_mb["maximum"]) == (1, 1 << 30)


def test_document_is_served(office):
    assert office.asked("GET", "/openapi.json").json() == DOCUMENT


def test_page_and_its_assets_are_local(office):
    page = office.asked("GET", "/docs")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    ours = [link for link in links if link.startswith("/docs/")]
    assert sorted(ours) == ["/docs/docs.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"]
    assert set(links) - set(ours) == {"data:,", "/openapi.json"}
    assert "https://" not in page.text
    assert "validatorUrl: null" in office.asked("GET", "/docs/docs.js").text
    for link in ours:
        assert office.asked("GET", link).status_code == 200


def test_page_has_nothing_inline_and_lets_nothing_foreign_in(office):
    page = office.asked("GET", "/docs")
    assert not re.search(r"<script[^>]*>[^<]|<style|\bon\w+=|\bstyle=", page.text)
    policy = page.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy


@pytest.mark.parametrize("asset", ["docs.py", "..%2fdocs.py", "x" * 5000])
def test_nothing_else_is_served(office, asset):
    assert office.asked("GET", f"/docs/{asset}").status_code == 404


def test_licence_of_the_assets_is_with_them(office):
    text = office.asked("GET", "/docs/LICENSE.swagger-ui.txt").text
    assert "SmartBear" in text
    assert "Apache License" in text
