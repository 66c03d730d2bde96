"""What is a question to a llama-server, and what an order; and who may give it one."""

import pytest

from orchestrator.access.caller import Caller, Via
from orchestrator.access.keys.record import ApiKey, KeyScope
from orchestrator.access.rights import EVERYTHING, Forbidden, Rights
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.gateway.asked import Asked, read
from orchestrator.gateway.for_admins import QUESTIONS, is_order, orders_for_all
from orchestrator.gateway.paths import find
from tests.factories import spec

# Those of build b11434 that are no question, in a router too.
ORDERS = [
    ("POST", "/lora-adapters"),
    ("POST", "/props"),
    ("POST", "/slots/0"),
    ("POST", "/models"),
    ("POST", "/models/load"),
    ("POST", "/models/unload"),
    ("DELETE", "/models"),
    ("GET", "/cors-proxy"),
    ("HEAD", "/cors-proxy"),
    ("POST", "/cors-proxy"),
    ("POST", "/tools"),
]
# As a server reads them, and as a newer build may have them.
IN_OTHER_WORDS = [
    ("POST", "/lora%2Dadapters"),
    ("POST", "/%6Cora-adapters"),
    ("GET", "/%u0063ors-proxy"),
    ("GET", "/cors%2Dproxy"),
    ("POST", "/unheard-of"),
    ("PUT", "/v1/chat/completions"),
    ("PATCH", "/props"),
]
MODEL = (spec("a", gib=1),)
SERVICES = {MODEL[0].service: ServiceEntry(engine="fake", runtime=RuntimeName.PROCESS)}
READ = ["/health", "/props", "/slots", "/lora-adapters", "/metrics", "/v1/models", "/tools", "/"]


def key(*scopes):
    made = ApiKey(id="k3v9x2mq", digest="", name="n8n", scopes=scopes, created_s=0.0)
    return Rights(caller=Caller(key=made.id, via=Via.HTTP), key=made)


def asked(method, path, rights):
    found = find(method, path)
    assert found is not None
    request = read(found, method, [], b"action=erase", b"")
    return Asked(
        **{name: getattr(request, name) for name in request.__slots__} | {"rights": rights}
    )


@pytest.mark.parametrize(("method", "path"), ORDERS + IN_OTHER_WORDS)
def test_what_changes_a_server_is_an_order(method, path):
    assert is_order(method, path)


def test_questions_and_looks_are_none():
    assert not any(is_order(method, path) for method, paths in QUESTIONS.items() for path in paths)
    assert not any(is_order(method, path) for method in ("GET", "HEAD") for path in READ)
    assert not is_order("POST", "/v1/chat%2Fcompletions")


@pytest.mark.parametrize("scope", KeyScope)
def test_an_order_is_for_admins_and_says_what_does_the_same(scope):
    request = asked("POST", "/upstream/a/lora-adapters", key(scope))
    if scope is KeyScope.ADMIN:
        assert orders_for_all(request, MODEL, SERVICES)
        return
    with pytest.raises(Forbidden) as error:
        orders_for_all(request, MODEL, SERVICES)
    assert "POST /lora-adapters changes the server of a for everybody" in error.value.why.detail
    assert "lora_scales" in error.value.why.remedy


def test_without_keys_and_at_other_programs_nothing_is_refused():
    assert orders_for_all(asked("POST", "/upstream/a/lora-adapters", EVERYTHING), MODEL, SERVICES)
    of_others = {MODEL[0].service: ServiceEntry(engine="container", runtime=RuntimeName.DOCKER)}
    for services in (of_others, {}):
        order = asked("POST", "/upstream/a/lora-adapters", key(KeyScope.USE))
        assert not orders_for_all(order, MODEL, services)
