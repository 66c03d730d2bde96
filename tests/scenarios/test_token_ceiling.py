"""Keys with a ceiling of tokens, at the relay and at nginx: what asks for more is refused, what says
nothing is told so much, by whichever API it asks.
"""

import pytest

from tests.scenarios.daemon import chat, model
from tests.scenarios.test_keys import key_of, keys

CHAT = "/v1/chat/completions"
LONG = chat(text="tell me everything " * 20)
CEILING = 3
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


def test_whoever_asks_hears_of_it(daemon, bound):
    told = daemon.http.get("/auth/whoami", headers=bound).json()
    assert told["limits"]["max_tokens"] == CEILING
    wish = {"name": "sub", "scopes": ["use"]}
    assert daemon.http.post("/keys", json=wish, headers=bound).status_code == 403
    shown = keys(daemon, "list")["keys"]
    assert [one["limits"]["max_tokens"] for one in shown if one["name"] == "bound"] == [CEILING]
