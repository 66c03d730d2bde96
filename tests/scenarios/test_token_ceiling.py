"""Keys with a ceiling of tokens, at the relay and at nginx: what asks for more is refused, what says
nothing is told so much, by whichever API it asks.
"""

import json
import re

import httpx
import pytest

from tests.contracts.engine_cases import built_server
from tests.scenarios.daemon import chat, model
from tests.scenarios.test_keys import key_of, keys
from tests.scenarios.world import THREADS, smollm_file

CHAT = "/v1/chat/completions"
LONG = chat(text="tell me everything " * 20)
CEILING = 3
# By whichever name an API has for it.
COUNTED = r'"(?:completion_tokens|output_tokens|tokens_predicted|predicted_n|eval_count)":\s*(\d+)'
WAYS = {
    CHAT: (LONG, "max_tokens", lambda said: said["usage"]["completion_tokens"]),
    f"/upstream/a{CHAT}": (LONG, "max_tokens", lambda said: said["usage"]["completion_tokens"]),
    "/v1/completions": (
        {"prompt": "once upon a time " * 20},
        "max_tokens",
        lambda said: said["usage"]["completion_tokens"],
    ),
}


@pytest.fixture
def daemon(planes):
    daemon = planes({"a": model(1000)})
    daemon.load("a")
    return daemon


@pytest.fixture
def bound(daemon):
    return key_of(daemon, "bound", "--scope", "load", "--max-tokens", str(CEILING))


def ask(daemon, headers, path, said):
    return daemon.http.post(path, json={"model": "a", "stream": False} | said, headers=headers)


@pytest.mark.parametrize("path", WAYS)
def test_more_is_refused_and_nothing_is_so_much(daemon, bound, path):
    words, member, counted = WAYS[path]
    words = {name: value for name, value in words.items() if name != member}
    refused = ask(daemon, bound, path, words | {member: CEILING + 1})
    assert refused.status_code == 403, refused.text
    assert "too_many_tokens" in refused.text or "tokens written" in refused.text
    for said in (words, words | {member: CEILING}):
        answer = ask(daemon, bound, path, said)
        assert answer.status_code == 200, answer.text
        assert 0 < counted(answer.json()) <= CEILING
    free = key_of(daemon, "free", "--scope", "use")
    assert ask(daemon, free, path, words | {member: CEILING + 1}).status_code == 200


def test_ollamas_clients_are_told_it_too(daemon, bound):
    refused = ask(daemon, bound, "/api/chat", LONG | {"options": {"num_predict": 4}})
    assert refused.status_code == 403, refused.text
    for options in ({}, {"num_predict": -1}, {"num_predict": 3}):
        answer = ask(daemon, bound, "/api/chat", LONG | {"options": options})
        assert answer.status_code == 200, answer.text
        assert 0 < answer.json()["eval_count"] <= CEILING


@pytest.mark.nginx
def test_nginx_asks_the_daemon_and_lets_nobody_beyond_it_while_that_is_dead(edged):
    daemon = edged({"a": model(1000)})
    daemon.load("a")
    bound = key_of(daemon, "bound", "--scope", "use", "--max-tokens", "3")
    free = key_of(daemon, "free", "--scope", "use")
    words = LONG | {"max_tokens": 200}
    daemon.until(lambda _: ask(daemon, free, CHAT, words).status_code == 200, "nginx knows of it")
    assert ask(daemon, bound, CHAT, words).status_code == 403
    daemon.kill()
    assert ask(daemon, free, CHAT, words).status_code == 200
    assert ask(daemon, bound, CHAT, LONG).status_code == 503


TALK = {"messages": LONG["messages"]}
STREAMS = {
    "/api/chat": TALK,
    "/api/generate": {"prompt": "once upon a time " * 20},
    "/v1/completions": {"prompt": "once upon a time " * 20},
    CHAT: TALK,
    f"/upstream/a{CHAT}": TALK,
}


@pytest.mark.nginx
@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_ends_in_its_own_protocol_where_the_daemon_dies(edged, path):
    """With a ceiling the daemon has it alone: nothing goes on behind its back."""
    daemon = edged({"a": model(1000, fake={"load_s": 0.1, "tokens_per_s": 10})})
    daemon.load("a")
    bound = key_of(daemon, "bound", "--scope", "use", "--max-tokens", "60")
    said, wish = "", {"model": "a", "stream": True} | STREAMS[path]
    with daemon.http.stream("POST", path, json=wish, headers=bound) as answer:
        assert answer.status_code == 200
        for number, piece in enumerate(answer.iter_text()):
            said += piece
            if number == 2:
                daemon.kill()
    last = said.rstrip().splitlines()[-1].removeprefix("data: ")
    assert "The daemon broke off in the middle" in str(json.loads(last)["error"]), said
    assert said.count("\n") < 60
    # On a connection of its own: nginx closes that one, and its client may not have heard of it yet.
    refused = httpx.post(daemon.url + path, json=wish, headers=bound, trust_env=False)
    assert refused.status_code == 503, "nothing passes beyond the ceiling"


@pytest.mark.llama_cpp
@pytest.mark.real_model
def test_no_way_to_a_real_server_writes_more(planes):
    """Whatever API it is asked by, as a whole and as a stream."""
    file = smollm_file()
    local = {"engine": "llama_cpp", "runtime": "process", "models_dir": str(file.parent)}
    entry = {"service": "local", "file": file.name, "vram_mb": 600, "threads": THREADS}
    daemon = planes(
        {"a": entry | {"context_size": 512}},
        services={"local": local | {"binary": str(built_server()[0])}},
        devices={"source": "host", "fake": [], "headroom_mb": 0, "budget_mb": 2000},
    )
    daemon.load("a")
    bound = key_of(daemon, "bound", "--scope", "load", "--max-tokens", str(CEILING))
    prompt = {"prompt": "Once upon a time, there was a"}
    talk = {"messages": [{"role": "user", "content": "Count to a hundred."}]}
    ways = {
        CHAT: (talk, "max_tokens"),
        "/v1/completions": (prompt, "max_tokens"),
        "/completion": (prompt, "n_predict"),
        "/v1/messages": (talk, "max_tokens"),
        "/v1/responses": ({"input": "Count to a hundred."}, "max_output_tokens"),
        "/upstream/a/completion": (prompt, "n_predict"),
        "/upstream/a/v1/messages": (talk, "max_tokens"),
        "/api/chat": (talk, "num_predict"),
        "/api/generate": (prompt, "num_predict"),
    }
    for path, (words, member) in ways.items():
        asked = {"model": "a", **words}
        more = {"options": {member: 50}} if path.startswith("/api/") else {member: 50}
        refused = daemon.http.post(path, json=asked | {"stream": False} | more, headers=bound)
        assert refused.status_code == 403, (path, refused.text)
        for stream in (False, True):
            answer = daemon.http.post(path, json=asked | {"stream": stream}, headers=bound)
            assert answer.status_code == 200, (path, answer.text)
            counts = re.findall(COUNTED, answer.text)
            assert counts, (path, answer.text)
            assert 0 < max(map(int, counts)) <= CEILING, (path, answer.text)


def test_whoever_asks_hears_of_it(daemon, bound):
    told = daemon.http.get("/auth/whoami", headers=bound).json()
    assert told["limits"]["max_tokens"] == CEILING
    wish = {"name": "sub", "scopes": ["use"]}
    assert daemon.http.post("/keys", json=wish, headers=bound).status_code == 403
    shown = keys(daemon, "list")["keys"]
    assert [one["limits"]["max_tokens"] for one in shown if one["name"] == "bound"] == [CEILING]
