"""API keys through nginx before the real daemon, made and revoked beside it by the command line."""

import time

import pytest

from tests.pace import crowd
from tests.scenarios.daemon import chat, model
from tests.scenarios.edged import asked_warm
from tests.scenarios.test_keys import HEARD_S, bearer, keys

pytestmark = pytest.mark.nginx

CHAT = "/v1/chat/completions"
PATIENCE_S = 30.0
MANY = ("--requests-per-minute", "6000")


@pytest.fixture
def daemon(edged):
    return edged({"a": model(3000), "b": model(3000)})


def ask(daemon, headers, name="a", **more):
    words = {"model": name, **chat(), "max_tokens": 2}
    return daemon.http.post(CHAT, json=words, headers=headers | more)


def until_warm(daemon, headers):
    until_s = time.monotonic() + PATIENCE_S
    while not asked_warm(answer := ask(daemon, headers)):
        assert time.monotonic() < until_s, answer.text
        time.sleep(0.05)


def code_of(answer):
    return answer.status_code, answer.json()["code"]


def test_keys_hold_at_nginx_with_the_daemon_and_without_it(daemon):
    admin = bearer(keys(daemon, "create", "admin", "--scope", "admin", *MANY))
    made = keys(
        daemon, "create", "ci", "--scope", "load", "--model", "a", "--max-priority", "3", *MANY
    )
    other = bearer(keys(daemon, "create", "other", "--scope", "read"))
    mine = bearer(made)
    until_warm(daemon, mine)
    assert code_of(ask(daemon, {})) == (401, "unauthorized")
    assert code_of(ask(daemon, other)) == (403, "forbidden")
    assert code_of(ask(daemon, mine, **{"X-Priority": "4"})) == (403, "priority_too_high")
    assert ask(daemon, admin).status_code == 200
    until_s = time.monotonic() + PATIENCE_S
    while not any(
        run["key"] == made["id"] and run["model"] == "a"
        for run in daemon.http.get("/requests", headers=admin).json()["ended"]
    ):
        assert time.monotonic() < until_s
    daemon.kill()
    assert ask(daemon, mine).status_code == 200
    assert code_of(ask(daemon, {})) == (401, "unauthorized")
    assert code_of(ask(daemon, other)) == (403, "forbidden")
    assert code_of(ask(daemon, mine, **{"X-Priority": "4"})) == (403, "priority_too_high")
    assert code_of(ask(daemon, mine, "b")) == (503, "unavailable")
    daemon.start()
    until_warm(daemon, mine)
    keys(daemon, "revoke", made["id"])
    until_s = time.monotonic() + HEARD_S * crowd()
    while ask(daemon, mine).status_code == 200:
        assert time.monotonic() < until_s
    daemon.kill()
    assert code_of(ask(daemon, mine)) == (401, "unauthorized")
    assert made["key"] not in daemon.log() + daemon.edge_log()
