"""What may be written for a key that has a ceiling: refused, or said to the server."""

import asyncio
import json
from dataclasses import replace

import pytest

from orchestrator.access.caller import Caller, Via
from orchestrator.access.keys.record import ApiKey, KeyScope
from orchestrator.access.rights import EVERYTHING, Forbidden, Rights
from orchestrator.gateway.asked import Asked, read
from orchestrator.gateway.ceiling import (
    bytes_to_bind,
    goes_on_as_it_comes,
    no_tunnel,
    within_ceiling,
)
from orchestrator.gateway.members import DECODED_BYTES_MAX
from orchestrator.gateway.paths import find
from orchestrator.web.held_bodies import decoded_bytes

KEY = ApiKey(
    id="k3v9x2mq", digest="", name="n8n", scopes=(KeyScope.USE,), created_s=0.0, max_tokens=100
)
BOUND = Rights(caller=Caller(key=KEY.id, via=Via.HTTP), key=KEY)
CHAT = "/v1/chat/completions"


def asked(path, body=b"", method="POST", rights=BOUND):
    found = find(method, path)
    assert found is not None
    request = read(found, method, [], b"", body)
    return Asked(
        **{name: getattr(request, name) for name in request.__slots__} | {"rights": rights}
    )


def passed_on(path, said, **more):
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return asyncio.run(within_ceiling(asked(path, body, **more), body))


def told(path, said):
    return json.loads(passed_on(path, said))


@pytest.mark.parametrize(
    ("path", "member"),
    [
        (CHAT, "max_tokens"),
        ("/chat/completions", "max_tokens"),
        ("/v1/completions", "max_tokens"),
        ("/completion", "n_predict"),
        ("/infill", "n_predict"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/messages", "max_tokens"),
        (f"/upstream/a{CHAT}", "max_tokens"),
        ("/upstream/a/completion", "n_predict"),
    ],
)
def test_a_request_that_says_nothing_is_told_the_ceiling(path, member):
    said = {"model": "a", "messages": [], "seed": 7, member: None}
    assert told(path, said) == {"model": "a", "messages": [], "seed": 7, member: 100}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (CHAT, {"max_tokens": 100}),
        (CHAT, {"max_completion_tokens": 1}),
        (CHAT, {"max_tokens": 0}),
        ("/completion", {"n_predict": 100}),
        ("/v1/responses", {"max_output_tokens": 100}),
        (CHAT, {"max_tokens": 25, "n": 4}),
        ("/v1/completions", {"max_tokens": 50, "prompt": ["a", "b"]}),
        ("/v1/completions", {"max_tokens": 100, "prompt": [1, 2, 3]}),
    ],
)
def test_a_request_that_asks_for_no_more_is_passed_on_as_it_is(path, said):
    assert told(path, said) == said


@pytest.mark.parametrize(
    ("path", "said", "word"),
    [
        (CHAT, {"max_tokens": 101}, "max_tokens: 101"),
        (CHAT, {"max_tokens": 10, "max_completion_tokens": 101}, "max_completion_tokens"),
        (CHAT, {"max_tokens": 10, "n_predict": -1}, "n_predict: -1"),
        ("/completion", {"n_predict": -1}, "n_predict"),
        (CHAT, {"max_tokens": "1"}, "max_tokens"),
        (CHAT, {"max_tokens": 1e9}, "max_tokens"),
        (CHAT, {"max_tokens": True}, "max_tokens"),
        (CHAT, {"max_tokens": 26, "n": 4}, "each of 4 answers"),
        (CHAT, {"n": 101}, "101 answers"),
        (CHAT, {"n": 0}, "n: 0"),
        ("/v1/completions", {"best_of": 200}, "200 answers"),
        ("/v1/completions", {"max_tokens": 51, "prompt": ["a", "b"]}, "each of 2 answers"),
        ("/v1/completions", {"max_tokens": 51, "prompt": [[1], [2]]}, "each of 2 answers"),
        (f"/upstream/a{CHAT}", {"max_tokens": 101}, "max_tokens: 101"),
        (CHAT, b"[]", "no object"),
        (CHAT, b'{"max_tokens": 1', "no JSON"),
        ("/upstream/a/v1/x", {}, "/v1/x"),
    ],
)
def test_a_request_that_asks_for_more_is_refused_and_not_cut(path, said, word):
    made = asked(f"/upstream/a{path}" if isinstance(said, bytes) else path, b"{}")
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    with pytest.raises(Forbidden) as caught:
        asyncio.run(within_ceiling(made, body))
    assert caught.value.why.code == "too_many_tokens"
    assert caught.value.why.members == {"max_tokens": 100}
    assert word in caught.value.why.detail


def test_of_a_number_that_stands_twice_the_server_reads_the_one_that_was_checked():
    twice = b'{"model": "a", "max_tokens": 100000, "max_tokens": 5}'
    assert passed_on(CHAT, twice) == b'{"model":"a","max_tokens":5}'


def test_several_answers_share_what_is_not_said():
    assert told(CHAT, {"n": 3})["max_tokens"] == 33


def test_the_number_that_another_api_has_does_not_stand_for_this_ones():
    assert told("/v1/responses", {"max_tokens": 5})["max_output_tokens"] == 100
    assert told(CHAT, {"max_output_tokens": 5})["max_tokens"] == 100


@pytest.mark.parametrize("path", ["/v1/embeddings", "/tokenize", "/v1/rerank"])
def test_what_writes_nothing_has_no_bound(path):
    assert passed_on(path, b'{"input":  "a"}') == b'{"input":  "a"}'


def test_a_look_at_a_server_has_none():
    assert passed_on("/upstream/a/props", b"", method="GET") == b""


def test_without_a_ceiling_not_a_byte_is_touched():
    body = b'{"max_tokens": 100000,  "max_tokens": 5}'
    assert passed_on(CHAT, body, rights=EVERYTHING) is body
    no_tunnel(EVERYTHING)


def test_large_bodies_are_read_beside_the_loop():
    text = "x" * DECODED_BYTES_MAX
    assert told(CHAT, {"prompt": text}) == {"prompt": text, "max_tokens": 100}


def test_bodies_in_pieces_and_tunnels_cannot_be_looked_into():
    async def pieces():
        yield b"{}"

    with pytest.raises(Forbidden, match="pieces"):
        asyncio.run(within_ceiling(asked(f"/upstream/a{CHAT}"), pieces()))
    with pytest.raises(Forbidden, match="WebSocket"):
        no_tunnel(BOUND)


def test_a_body_that_names_no_model_is_read_whole_for_its_bound_alone():
    raw, chat = find("POST", f"/upstream/a{CHAT}"), find("POST", CHAT)
    assert goes_on_as_it_comes(raw.call, EVERYTHING)
    assert not goes_on_as_it_comes(raw.call, BOUND)
    assert not goes_on_as_it_comes(chat.call, EVERYTHING)


FORM = (b"content-type", b"multipart/form-data; boundary=x")
SOUND = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n\x00\xff\r\n--x--\r\n'


def form(*said):
    part = b'--x\r\nContent-Disposition: form-data; name="max_tokens"\r\n\r\n%b\r\n'
    return b"".join(part % one for one in said) + SOUND


def form_passed_on(body, path="/v1/audio/transcriptions", kind=FORM):
    return asyncio.run(within_ceiling(replace(asked(path), headers=[kind]), body))


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/upstream/a/v1/audio/translations"])
def test_a_sound_is_put_into_so_many_words(path):
    """A model that talks does what its `prompt` says."""
    assert form_passed_on(SOUND, path) == form(b"100")
    assert form_passed_on(form(b"7"), path) == form(b"7")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(b"101"), FORM),
        (form(b"5", b"1000"), FORM),
        (form(b"-1"), FORM),
        (form(b"9" * 5000), FORM),
        (SOUND.replace(b"file", b"max_tokens"), FORM),
        (SOUND, (b"content-type", b"multipart/form-data")),
    ],
)
def test_a_form_that_asks_for_more_or_cannot_be_read_is_refused(body, kind):
    with pytest.raises(Forbidden) as refused:
        form_passed_on(body, kind=kind)
    assert refused.value.why.code == "too_many_tokens"


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/upstream/a/v1/audio/translations"])
def test_a_sound_takes_one_copy_and_not_what_json_of_its_size_would(path):
    sound = form() + b'\xf0{[,"' * 1000
    asks = replace(asked(path), headers=[FORM])
    assert bytes_to_bind(asks, sound) == len(sound)
    assert bytes_to_bind(asked(path), sound) == decoded_bytes(sound)


def test_only_what_is_read_anew_takes_memory_for_that():
    body = json.dumps({"model": "a", "input": "words"}).encode()
    assert bytes_to_bind(asked(CHAT), body) == decoded_bytes(body)
    assert bytes_to_bind(asked("/v1/embeddings"), body) == 0
    assert bytes_to_bind(asked(CHAT, rights=EVERYTHING), body) == 0
    assert bytes_to_bind(asked("/upstream/a/props", method="GET"), b"") == 0
