"""Every path of the gateway by every scope and by which models a key sees, from its own tables."""

from urllib.parse import unquote

import anthropic
import pytest

from orchestrator.access.keys.record import IMPLIED, KeyScope
from orchestrator.gateway.ollama.paths import CALLS, ROOT, rule_for
from orchestrator.gateway.paths import DELETES, GETS, POSTS, NamedIn
from tests.scenarios.backend import backend
from tests.scenarios.daemon import chat, model
from tests.scenarios.test_keys import bearer, key_of, keys

NAMING = frozenset({NamedIn.BODY, NamedIn.FORM, NamedIn.QUERY, NamedIn.PATH})
USE, LOAD = KeyScope.USE, KeyScope.LOAD
# What is not found by its whole path.
OTHERS = [
    ("GET", "/upstream/{model}/props", NamedIn.PATH),
    ("POST", "/upstream/{model}/v1/chat/completions", NamedIn.PATH),
    ("GET", "/v1/stream/{model}", NamedIn.CONVERSATION),
    ("DELETE", "/v1/stream/{model}", NamedIn.CONVERSATION),
    ("GET", "/v1/responses/resp_1", NamedIn.RESPONSE),
    ("GET", "/v1/responses/resp_1/input_items", NamedIn.RESPONSE),
    ("POST", "/v1/responses/resp_1/cancel", NamedIn.RESPONSE),
    ("DELETE", "/v1/responses/resp_1", NamedIn.RESPONSE),
]
WAYS = [
    (method, path, call.named_in)
    for method, calls in (("POST", POSTS), ("GET", GETS), ("DELETE", DELETES))
    for path, call in calls.items()
] + OTHERS
OF_OLLAMA = [way for way in CALLS if way[0] != "HEAD" and way[1] != ROOT]
PLENTY = {"requests_per_minute": 60_000, "max_in_flight": 100}
LARGE = ("--requests-per-minute", "60000", "--max-in-flight", "100")


@pytest.fixture
def daemon(daemons):
    """`a` is ready, `b` is not."""
    daemon = daemons({"a": model(1000), "b": model(1000)})
    daemon.load("a")
    return daemon


@pytest.fixture
def boss(daemon):
    return keys(daemon, "create", "boss", "--scope", "admin", *LARGE)


@pytest.fixture
def made(daemon, boss):
    def make(scope, *models):
        wish = {"name": "one", "scopes": [scope], "models": models or ["*"], **PLENTY}
        answer = daemon.http.post("/keys", json=wish, headers=bearer(boss))
        assert answer.status_code == 201, answer.text
        return answer.json()

    return make


def ask(daemon, method, path, name, one=None):
    body = {"model": name, "prompt": "hi", "input": "hi", "content": "hi", "max_tokens": 2}
    body |= {"messages": [{"role": "user", "content": "hi"}], "query": "hi", "documents": ["hi"]}
    said = {"params": {"model": name}} if method == "GET" else {"json": body}
    headers = bearer(one) if one else {}
    answer = daemon.http.request(method, path.format(model=name), headers=headers, **said)
    return answer.status_code, answer.text


def test_scope_matrix_of_models(daemon, boss, made):
    for scope in KeyScope:
        one = made(scope)
        for method, path, _ in WAYS:
            status, said = ask(daemon, method, path, "a", one)
            if USE in IMPLIED[scope]:
                assert status not in (401, 403), (scope, method, path, said)
            else:
                assert (status, "scope `use`" in said) == (403, True), (scope, method, path, said)
    for method, path, _ in WAYS:
        assert ask(daemon, method, path, "a")[0] == 401, (method, path)


def test_key_asks_only_the_models_that_it_sees(daemon, boss, made):
    """What it does not see is as if it were not there; nothing is loaded for one who may not."""
    blind, use = made(LOAD, "b*"), made(USE)
    for method, path, named_in in WAYS:
        if named_in not in NAMING:
            continue
        status, said = ask(daemon, method, path, "a", blind)
        assert status == 404, (method, path, said)
        assert '"a"' not in said.replace('"a",', ""), said
        status, said = ask(daemon, method, path, "b", use)
        assert status in (403, 503), (method, path, said)
        assert (
            "b"
            not in daemon.http.get("/models/status", headers=bearer(boss)).json()["loaded_models"]
        )


def test_what_changes_a_server_for_all_is_for_admins_also_behind_nginx(planes):
    """By whatever spelling the server would read; a program of the operator's is asked as ever."""
    daemon = planes({"a": model(1000)})
    daemon.load("a")
    admin = key_of(daemon, "admin", "--scope", "admin")
    user = key_of(daemon, "user", "--scope", "load", "--scope", "lease")
    orders = ["lora-adapters", "%6Cora-adapters", "props", "slots/0?action=erase", "models/load"]
    for order in (*orders, "models/unload", "tools", "cors-proxy"):
        refused = daemon.http.post(f"/upstream/a/{order}", json=[], headers=user)
        assert (refused.status_code, refused.json()["scope"]) == (403, "admin"), order
        assert daemon.http.post(f"/upstream/a/{order}", json=[], headers=admin).status_code == 404
        path = unquote(f"/upstream/a/{order.partition('?')[0]}")
        told = daemon.http.get("/audit", params={"action": "server"}, headers=admin).json()["lines"]
        assert (told[0]["action"], told[0]["target"]) == ("server.order", path)
    assert "lora_scales" in daemon.http.post("/upstream/a/lora-adapters", headers=user).text
    assert daemon.http.get("/upstream/a/cors-proxy", headers=user).status_code == 403
    asked = daemon.http.post("/upstream/a/v1/chat/completions", json=chat(), headers=user)
    assert asked.status_code == 200
    assert daemon.http.get("/upstream/a/metrics", headers=user).status_code == 200


def test_scope_matrix_of_ollama(daemon, boss, made):
    blind = made(KeyScope.ADMIN, "b*")
    for scope in KeyScope:
        one = made(scope)
        for method, path in OF_OLLAMA:
            needs = rule_for(path).scope
            if needs is KeyScope.ADMIN and scope is KeyScope.ADMIN:
                continue  # it would bring something, and take something out
            status, said = ask(daemon, method, path, "a", one)
            if needs is None or needs in IMPLIED[scope]:
                assert status not in (401, 403), (scope, method, path, said)
            else:
                assert (status, f"scope `{needs}`" in said) == (403, True), (scope, path, said)
    for method, path in OF_OLLAMA:
        assert ask(daemon, method, path, "a")[0] == 401, (method, path)
        _, said = ask(daemon, method, path, "a", blind)
        assert "message" not in said, (path, said)


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_cross_site_write_is_403_at_models_too(daemon, boss, said):
    """Also with the browser's session, of which a page elsewhere knows nothing."""
    answer = daemon.http.post("/session", json={"key": boss["key"]})
    headers = {"Cookie": answer.headers["set-cookie"].partition(";")[0], **said}
    daemon.http.cookies.clear()
    writes = [(method, path) for method, path, _ in WAYS if method != "GET"]
    writes += [way for way in OF_OLLAMA if way[0] != "GET"]
    assert len(writes) > 30
    for method, path in writes:
        for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
            answer = daemon.http.request(
                method,
                path.format(model="b"),
                content=b'{"model": "b"}',
                headers={**headers, "Content-Type": kind},
            )
            assert answer.status_code == 403, (method, path, kind, answer.text)


def test_no_server_of_a_model_gets_its_callers_keys(planes, there):
    """Nor by sending them elsewhere: a client takes its key along, in a header that is not dropped
    for another host.
    """
    daemon = planes({"ext": {"service": "far", "vram_mb": 10}}, services={"far": there.service()})
    boss = keys(daemon, "create", "boss", "--scope", "admin", *LARGE)
    daemon.http.post("/models/load", json={"model": "ext"}, headers=bearer(boss))
    with backend() as elsewhere:
        there.status, there.says = 307, [("Location", elsewhere.url), ("Set-Cookie", "a=b")]
        for path in ("/v1/messages", "/upstream/ext/v1/messages", "/v1/chat/completions"):
            for _ in range(2):  # by the daemon at first, perhaps
                client = anthropic.Anthropic(base_url=daemon.url, api_key=boss["key"])
                with pytest.raises(anthropic.APIError):
                    client.post(path, body={"model": "ext"}, cast_to=object)
        assert elsewhere.heard == []
    heard = [one for one in there.heard if one[0] == "POST"]
    assert len(heard) >= 6
    assert boss["key"] not in str(there.heard)


def test_nobody_asks_on_with_what_another_key_was_answered(planes, there):
    """By no way in, however the id is written; its own key does, and an admin."""
    daemon = planes({"ext": {"service": "far", "vram_mb": 10}}, services={"far": there.service()})
    boss = bearer(keys(daemon, "create", "boss", "--scope", "admin", *LARGE))
    daemon.http.post("/models/load", json={"model": "ext"}, headers=boss)
    mine, other = (
        bearer(keys(daemon, "create", "one", "--scope", "use", *LARGE)) for _ in range(2)
    )
    there.answers = [b'{"id": "resp_1"}']
    begun = {"model": "ext", "input": "x"}
    assert daemon.http.post("/v1/responses", json=begun, headers=mine).status_code == 200
    talk = {"X-Conversation-Id": "chat-1"}
    chats = "/v1/chat/completions"
    assert daemon.http.post(chats, json={"model": "ext"}, headers=mine | talk).status_code == 200
    ways = [
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp%5F1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/stream/chat-1"),
        ("GET", "/v1/stream/chat%2D1"),
        ("GET", "/v1/stream?conv_id=chat-1"),
        ("DELETE", "/v1/stream/chat-1"),
        ("GET", "/upstream/ext/v1/stream/chat-1"),
        ("GET", "/upstream/ext/v1/stream?conv_id=chat%2D1"),
        ("GET", "/upstream/ext/v1/responses/resp_1"),
    ]
    before = len(there.heard)
    for method, path in ways:
        assert daemon.http.request(method, path, headers=other).status_code == 404, path
    for path in ("/v1/stream/x?conv_id=chat-1", "/v1/stream?conv_id=x&conv_id=chat-1"):
        assert daemon.http.get(path, headers=other).status_code == 422, path
    asked_on = begun | {"previous_response_id": "resp_1"}
    assert daemon.http.post("/v1/responses", json=asked_on, headers=other).status_code == 404
    assert daemon.http.post(chats, json=begun, headers=other | talk).status_code == 404
    assert len(there.heard) == before
    for headers in (mine, boss):
        for method, path in ways:
            assert daemon.http.request(method, path, headers=headers).status_code == 200, path
        assert daemon.http.post("/v1/responses", json=asked_on, headers=headers).is_success
