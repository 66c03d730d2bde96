"""Every endpoint that clients expect is a model's, in its own manner; nothing else is."""

import pytest

from orchestrator.gateway.paths import NamedIn, Protocol, Task, find, methods


@pytest.mark.parametrize(
    ("method", "path", "task", "protocol", "named_in"),
    [
        ("POST", "/v1/chat/completions", Task.CHAT, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/v1/completions", Task.COMPLETION, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/v1/responses", Task.RESPONSES, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/v1/responses/input_tokens", Task.TOKENS, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/v1/chat/completions/input_tokens", Task.TOKENS, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/v1/messages", Task.CHAT, Protocol.ANTHROPIC, NamedIn.BODY),
        ("POST", "/v1/messages/count_tokens", Task.TOKENS, Protocol.ANTHROPIC, NamedIn.BODY),
        ("POST", "/v1/embeddings", Task.EMBEDDINGS, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/v1/rerank", Task.RERANK, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/rerank", Task.RERANK, Protocol.LLAMA, NamedIn.BODY),
        ("POST", "/reranking", Task.RERANK, Protocol.LLAMA, NamedIn.BODY),
        ("POST", "/v1/audio/transcriptions", Task.TRANSCRIPTION, Protocol.OPENAI, NamedIn.FORM),
        ("POST", "/v1/audio/speech", Task.SPEECH, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/v1/images/generations", Task.IMAGES, Protocol.OPENAI, NamedIn.BODY),
        ("POST", "/v1/images/edits", Task.IMAGES, Protocol.OPENAI, NamedIn.FORM),
        ("POST", "/tokenize", Task.TOKENS, Protocol.LLAMA, NamedIn.BODY),
        ("POST", "/detokenize", Task.TOKENS, Protocol.LLAMA, NamedIn.BODY),
        ("POST", "/apply-template", Task.TOKENS, Protocol.LLAMA, NamedIn.BODY),
        ("POST", "/infill", Task.COMPLETION, Protocol.LLAMA, NamedIn.BODY),
        ("GET", "/props", Task.INFO, Protocol.LLAMA, NamedIn.QUERY),
        ("GET", "/slots", Task.INFO, Protocol.LLAMA, NamedIn.QUERY),
        ("GET", "/v1/stream", Task.INFO, Protocol.LLAMA, NamedIn.CONVERSATION),
        ("DELETE", "/v1/stream", Task.INFO, Protocol.LLAMA, NamedIn.CONVERSATION),
        ("POST", "/v1/streams/lookup", Task.LOOKUP, Protocol.LLAMA, NamedIn.NOWHERE),
        ("GET", "/v1/realtime", Task.RAW, Protocol.OPENAI, NamedIn.QUERY),
    ],
)
def test_an_endpoint_has_its_manner(method, path, task, protocol, named_in):
    found = find(method, path)
    assert (found.call.task, found.call.protocol, found.call.named_in) == (task, protocol, named_in)
    assert found.path == path


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_upstream_passes_any_method_to_the_path_behind_the_model(method):
    found = find(method, "/upstream/a%3Ab/some/path")
    assert (found.call.task, found.model, found.path) == (Task.RAW, "a:b", "/some/path")
    assert find(method, "/upstream/a/").path == "/"


@pytest.mark.parametrize(
    "rest", ["../b/x", "x/../../b", "..%2fb", "%2e%2e/b", "..", "..%5cb", "..;/b", "./x", "x/.%2E"]
)
@pytest.mark.parametrize("below", ["/upstream/a/", "/v1/stream/", "/v1/responses/"])
def test_no_path_leads_above_a_servers_own(below, rest):
    """Its URL may be one of several below one name, and is asked with the operator's key."""
    assert find("GET", below + rest) is None


def test_dots_in_names_are_no_steps():
    assert find("GET", "/upstream/qwen2.5/a..b/.well-known/x.js").path == "/a..b/.well-known/x.js"


def test_a_path_is_found_as_it_was_sent_and_passed_on_so():
    assert find("POST", "/v1/chat%2Fcompletions").path == "/v1/chat/completions"
    assert find("GET", "/upstream/a/b%2Fc%0d%0a").path == "/b%2Fc%0d%0a"
    assert find("GET", "/v1/stream/a%2Fb").path == "/v1/stream/a%2Fb"
    assert find("GET", "/v1/stream/a%2Fb").id == "a/b"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ],
)
def test_an_answer_is_asked_of_the_model_that_made_it(method, path):
    found = find(method, path)
    assert (found.call.named_in, found.id) == (NamedIn.RESPONSE, "resp_1")


def test_a_conversation_may_stand_in_the_path():
    found = find("GET", "/v1/stream/chat-1%3A%3Aqwen")
    assert (found.call.named_in, found.id) == (NamedIn.CONVERSATION, "chat-1::qwen")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/a"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/models/load"),
        ("GET", "/"),
        ("GET", "/upstream/a"),
        ("GET", "/upstream/"),
        ("GET", "/upstream//x"),
        ("POST", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/"),
        ("POST", "/v1/chat/completions/"),
    ],
)
def test_nothing_else_is_a_models(method, path):
    assert find(method, path) is None


def test_the_methods_of_a_path_are_known():
    assert methods("/v1/stream") == ("GET", "HEAD", "DELETE")
    assert methods("/v1/chat/completions") == ("POST",)
    assert methods("/nothing") == ()
