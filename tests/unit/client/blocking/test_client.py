import pytest

from orchestrator.client import Client, DoesNotFit, NotChosen, Provider, UnknownModel
from tests.unit.client.shells import HELD, asked

HELLO = [{"role": "user", "content": "hello"}]


def test_where_the_daemon_is_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_URL", server.url)
    monkeypatch.setenv("ORCHESTRATOR_API_KEY", "s3cret")
    with Client() as client:
        assert client.status().total_mb == 32768
    assert server.asked[0][2]["Authorization"] == "Bearer s3cret"
    monkeypatch.setenv("ORCHESTRATOR_URL", "gpu-box")
    with pytest.raises(NotChosen, match="gpu-box"):
        Client()


def test_what_there_is(client):
    assert [each.name for each in client.models()] == ["qwen3-vl-30b"]
    assert client.health()
    assert client.plan("ovi").evict == ("qwen3-vl-30b",)


def test_a_load_says_what_was_said_and_whose_it_is(server, client):
    client.owner = "me"
    ready = client.load("qwen3-vl-30b", priority=5, context_size=4096, wait_s=9)
    assert ready.endpoint == HELD["endpoint"]
    (body,) = server.bodies("/models/load")
    assert body == {
        "model": "qwen3-vl-30b", "owner": "me", "priority": 5, "context_size": 4096, "wait": 9,
    }  # fmt: skip


def test_refusals_are_exceptions_with_their_numbers(server, client):
    said = {"code": "does_not_fit", "detail": "Too large.", "remedy": "No.", "needed_mb": 61440}
    server.answers["POST /models/load"] = (507, said)
    with pytest.raises(DoesNotFit) as raised:
        client.load("huge")
    assert raised.value.needed_mb == 61440
    server.answers["POST /models/load"] = (404, {"code": "unknown_model", "detail": "No chet."})
    with pytest.raises(UnknownModel, match="chet"):
        client.load("chet")


def test_a_switch_means_the_new_model_and_lets_the_old_one_go(server, client):
    client.owner = "me"
    server.answers["POST /models/load"] = [HELD | {"model": "a"}, HELD | {"model": "b"}]
    client.switch_model("a")
    assert client.model == "a"
    client.switch_model("b")
    assert asked(server) == ["POST /models/load", "DELETE /leases/l-1", "POST /models/load"]
    client.generate("hello")
    assert server.bodies("/v1/chat/completions")[0]["model"] == "b"


def test_a_switch_that_fails_leaves_the_model_meant(server, client):
    client.switch_model("a")
    server.answers["POST /models/load"] = (507, {"code": "does_not_fit"})
    with pytest.raises(DoesNotFit):
        client.switch_model("huge")
    assert client.model == HELD["model"]


def test_an_unload_ends_the_hold_of_its_owner_unless_it_is_forced(server, client):
    client.owner = "me"
    client.unload("a")
    client.unload("a", owner="other")
    client.unload("a", force=True)
    owners = [body.get("owner") for body in server.bodies("/models/unload")]
    assert owners == ["me", "other", None]


def test_a_model_is_held_while_a_block_runs(server, client):
    with client.lease("qwen3-vl-30b", lease_s=60) as held:
        assert held.endpoint == HELD["endpoint"]
    body = server.bodies("/models/load")[0]
    assert body["owner"]
    assert body["lease_seconds"] == 60
    assert asked(server)[-1] == "DELETE /leases/l-1"


def test_room_is_held_while_a_block_runs(server, client):
    with client.lease_vram(8192, owner="comfyui", priority=3) as held:
        assert held.vram_mb == 8192
    body = server.bodies("/vram/leases")[0]
    assert (body["owner"], body["priority"], body["ttl_seconds"]) == ("comfyui", 3, 600)
    assert "device" not in body
    assert asked(server)[-1] == "DELETE /vram/leases/lease-9"


def test_requests_name_their_owner_and_priority(server, client):
    client.owner = "me"
    client.generate("hello", priority=7)
    headers = server.asked[0][2]
    assert (headers["X-Owner"], headers["X-Priority"]) == ("me", "7")


def test_a_conversation_is_counted_and_trimmed(server, client):
    assert client.count_tokens(HELLO, model="chat") == 2
    assert client.trim(HELLO, model="chat") == HELLO
    assert client.trim(HELLO, context_size=10, answer_tokens=5) == HELLO
    with pytest.raises(NotChosen, match="Name a model"):
        client.trim(HELLO)


def test_it_is_a_provider(client):
    provider: Provider = client
    assert provider.generate("hello").text == "Hi."
