"""What went wrong is said as its client understands it."""

import json

import pytest

from orchestrator.gateway.ollama.paths import find as find_ollama
from orchestrator.gateway.paths import find
from orchestrator.gateway.protocols import body_of, comment, event_of
from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode

FULL = ErrorAnswer(
    code=WebCode.SERVER_FAILED, detail="It ended.", remedy="Ask again.", members={"needed_mb": 5}
)


def call(path):
    return find("POST", path).call


def data(event):
    (line,) = [line for line in event.splitlines() if line.startswith(b"data: ")]
    return json.loads(line.removeprefix(b"data: "))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize"])
def test_openai_clients_find_an_error_object(path):
    body = body_of(FULL, call(path), path)
    assert body["error"]["message"] == "It ended. Ask again."
    assert (body["code"], body["needed_mb"]) == ("server_failed", 5)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (WebCode.SERVER_FAILED, "api_error"),
        (WebCode.INVALID, "invalid_request_error"),
        (WebCode.NOT_FOUND, "not_found_error"),
        (WebCode.NOT_READY, "overloaded_error"),
        (WebCode.TOO_LARGE, "request_too_large"),
    ],
)
def test_anthropics_clients_find_a_type(code, kind):
    body = body_of(ErrorAnswer(code=code, detail="x."), call("/v1/messages"), "/v1/messages")
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert body["error"]["message"] == "x."


def test_a_stream_ends_with_an_event():
    event = event_of(FULL, call("/v1/chat/completions"), "/x")
    assert event.startswith(b"\n\ndata: ")
    assert data(event)["error"]["code"] == "server_failed"
    event = event_of(FULL, call("/v1/messages"), "/x")
    assert b"event: error\n" in event
    assert data(event)["error"]["type"] == "api_error"
    event = event_of(FULL, call("/v1/responses"), "/x")
    assert data(event) == {
        "type": "error",
        "code": "server_failed",
        "message": "It ended. Ask again.",
        "param": None,
        "sequence_number": 0,
    }


def test_a_comment_is_one_line_that_readers_skip():
    assert comment("a\nwaits\r\n\nfor b") == b": a waits for b\n\n"
    assert len(comment("x" * 10_000)) < 300


def test_ollamas_clients_find_a_sentence_and_a_stream_ends_with_its_line():
    found = find_ollama("POST", "/api/chat", ())
    assert body_of(FULL, found.call, found.path) == {
        "error": "It ended. Ask again.",
        "code": "server_failed",
    }
    line = event_of(FULL, found.call, found.path)
    assert line.endswith(b"}\n")
    assert json.loads(line)["error"] == "It ended. Ask again."
