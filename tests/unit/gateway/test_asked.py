"""What a request asks for is read from its head and a little of its body."""

import pytest

from orchestrator.gateway.asked import read
from orchestrator.gateway.paths import find
from orchestrator.orders import WAIT_S_MAX
from orchestrator.web.wire.error_answers import Answered

JSON = (b"content-type", b"application/json")


def ask(method="POST", path="/v1/chat/completions", body=b"{}", query=b"", headers=(JSON,)):
    found = find(method, path)
    assert found is not None
    return read(found, method, list(headers), query, body)


def test_the_model_stands_in_the_body():
    asked = ask(body=b'{"messages": [], "model": "a", "stream": true}')
    assert (asked.named, asked.streams, asked.wait_s) == ("a", True, WAIT_S_MAX)


@pytest.mark.parametrize("body", [b"{}", b"", b'{"model": null}', b'{"model": ""}'])
def test_a_model_may_be_left_out(body):
    assert ask(body=body).named is None


@pytest.mark.parametrize(
    "body",
    [b"[1]", b"nonsense", b'{"model": 5}', b'{"model": true}', b'{"model": "%s"}' % (b"x" * 500)],
)
def test_what_cannot_be_understood_is_refused(body):
    with pytest.raises(Answered) as refused:
        ask(body=body)
    assert refused.value.answer.code == "invalid"


def test_the_model_stands_in_a_form():
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\n\x00\xff\r\n"
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--x--\r\n'
    )
    headers = ((b"content-type", b"multipart/form-data; boundary=x"),)
    asked = ask(path="/v1/audio/transcriptions", body=form, headers=headers)
    assert asked.named == "whisper"
    asked = ask(path="/v1/images/edits", body=b'{"model": "sd"}')
    assert asked.named == "sd"


def test_the_model_stands_in_the_query_or_the_path():
    assert ask("GET", "/props", query=b"model=a%3Ab&x=1").named == "a:b"
    asked = ask("GET", "/upstream/qwen/metrics", query=b"x=%201")
    assert (asked.named, asked.target) == ("qwen", "/metrics?x=%201")


def test_an_earlier_answer_says_which_model_is_meant():
    asked = ask(path="/v1/responses", body=b'{"previous_response_id": "resp_1"}')
    assert (asked.named, asked.earlier) == (None, "resp_1")
    assert ask("GET", "/v1/responses/resp_1").earlier == "resp_1"
    assert ask("GET", "/v1/stream", query=b"conv_id=c&from=0").earlier == "c"
    assert ask("GET", "/v1/stream/c").earlier == "c"


def test_secrets_and_words_for_us_are_kept_back():
    headers = (
        JSON,
        (b"authorization", b"Bearer secret"),
        (b"x-api-key", b"secret"),
        (b"cookie", b"secret"),
        (b"x-priority", b"7"),
        (b"connection", b"close"),
        (b"x-stainless-lang", b"python"),
    )
    asked = ask(headers=headers)
    assert asked.headers == [JSON, (b"x-stainless-lang", b"python")]
    assert asked.priority == 7


def test_owner_and_deadline_are_read():
    asked = ask(headers=(JSON, (b"x-owner", b"me"), (b"x-deadline-seconds", b"2.5")))
    assert (asked.owner, asked.wait_s) == ("me", 2.5)


@pytest.mark.parametrize(
    "header",
    [
        (b"x-priority", b"high"),
        (b"x-priority", b"99999999999"),
        (b"x-deadline-seconds", b"soon"),
        (b"x-deadline-seconds", b"-1"),
        (b"x-deadline-seconds", b"nan"),
        (b"x-owner", b"o" * 500),
    ],
)
def test_a_wrong_header_is_refused(header):
    with pytest.raises(Answered):
        ask(headers=(JSON, header))


def test_only_what_answers_in_events_can_be_kept_waiting_with_comments():
    assert not ask(path="/v1/embeddings", body=b'{"stream": true}').streams
    assert not ask(body=b'{"stream": "true"}').streams
