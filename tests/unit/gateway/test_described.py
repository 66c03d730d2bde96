"""The OpenAPI document shows every path that is a model's."""

import json

import pytest

from orchestrator.gateway.described import SUMMARIES, TAGS, calls, described
from orchestrator.gateway.ollama import paths as ollama
from orchestrator.gateway.paths import Protocol, Task, find


@pytest.mark.parametrize(("method", "path", "call"), list(calls()))
def test_what_is_shown_is_answered(method, path, call):
    real = (
        path.replace("{response_id}", "resp_1")
        .replace("{conversation}", "c")
        .format(model="a", path="health")
    )
    found = find(method.upper(), real) or ollama.find(method.upper(), real, [])
    assert found is not None
    assert found.call == call


def test_what_is_answered_is_shown():
    shown = {(method.upper(), path) for path, methods in described().items() for method in methods}
    assert {(method, path) for method, path in ollama.CALLS if method != "HEAD"} <= shown
    assert ("POST", "/v1/chat/completions") in shown


def test_operations_are_told_apart():
    operations = [one for methods in described().values() for one in methods.values()]
    ids = [one["operationId"] for one in operations]
    assert len(set(ids)) == len(ids)
    assert {tag for one in operations for tag in one["tags"]} == set(TAGS.values())


def test_every_task_and_protocol_has_words():
    assert set(SUMMARIES) == set(Task)
    assert set(TAGS) == set(Protocol)


def test_a_chat_can_be_tried_from_the_page():
    chat = described()["/v1/chat/completions"]["post"]
    example = chat["requestBody"]["content"]["application/json"]["example"]
    assert json.loads(json.dumps(example))["messages"]
    assert {"X-Priority", "X-Owner"} <= {each["name"] for each in chat["parameters"]}
