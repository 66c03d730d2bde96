"""`orchestrator.client` against the real daemon, and against the servers that it starts."""

import asyncio
import time

import httpx
import pytest

from orchestrator.client import (
    AsyncClient,
    Client,
    ContextTooSmall,
    DoesNotFit,
    LeaseLost,
    ModelServer,
    NotAnswered,
    ProviderName,
    Refused,
    Retries,
    TryLater,
    UnknownModel,
)
from tests.asynchronous import run
from tests.scenarios.daemon import PATIENCE_S, model

BIG = 20000
HELLO = [{"role": "user", "content": "hello"}]


def server_of(ready) -> ModelServer:
    return ModelServer(ProviderName.LLAMA_CPP, ready.endpoint)


def until(holds):
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def leases(daemon, path="/leases"):
    return [each["lease_id"] for each in daemon.http.get(path).json()["leases"]]


def test_a_program_loads_plans_and_sees_what_is_there(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG), "huge": model(60000)})
    with Client(daemon.url) as client:
        assert client.health()
        ready = client.load("a", priority=3)
        assert not ready.already_loaded
        assert client.load("a").already_loaded
        assert client.plan("b").evict == ("a",)
        assert client.plan("huge").code == "does_not_fit"
        assert client.status().loaded["a"].endpoint == ready.endpoint
        states = {each.name: each.state for each in client.models()}
        assert states == {"a": "loaded", "b": "unloaded", "huge": "unloaded"}
        with pytest.raises(DoesNotFit) as raised:
            client.load("huge")
        assert raised.value.needed_mb == 60000
        with pytest.raises(UnknownModel, match="chet"):
            client.load("chet")
        assert client.unload("a").status == "unloaded"


def test_a_load_waits_longer_than_one_request(daemons, monkeypatch):
    monkeypatch.setattr("orchestrator.client.operations.ONE_LOAD_S", 0.3)
    daemon = daemons({"a": model(BIG, fake={"load_s": 1.2})})
    with Client(daemon.url) as client:
        with pytest.raises(TryLater) as raised:
            client.load("a", wait_s=0.4)
        assert raised.value.code == "load_deadline"
        assert client.load("a", wait_s=60).endpoint


def test_a_model_is_kept_while_a_block_runs_and_may_leave_then(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG)})
    with Client(daemon.url, owner="nightly", retries=Retries(tries_max=1)) as client:
        with client.lease("a", lease_s=1.5) as held:
            # Longer than the lease: without its renewals "b" would have had the room.
            with pytest.raises(TryLater):
                client.load("b", owner="other", wait_s=2.5)
            held.check()
            assert leases(daemon) == [held.lease_id]
        assert leases(daemon) == []
        assert client.load("b", owner="other").evicted == ("a",)


def test_a_lease_that_is_ended_by_others_is_told_to_its_holder(daemons):
    daemon = daemons({"a": model(BIG)})
    lost = []
    with Client(daemon.url) as client, client.lease("a", lease_s=0.6) as held:
        daemon.unload("a", force=True)
        until(lambda: held.lost)
        lost.append(held.lost)
        with pytest.raises(LeaseLost):
            held.check()
    assert lost[0].lease_id == held.lease_id


def test_a_lease_of_vram_outlives_a_daemon_that_is_killed(daemons):
    daemon = daemons({"a": model(BIG)})
    with (
        Client(daemon.url) as client,
        client.lease_vram(16000, owner="comfyui", lease_s=3) as room,
    ):
        expires_at = room.expires_at
        daemon.kill()
        daemon.start()
        until(lambda: room.expires_at > expires_at)
        room.check()
        assert leases(daemon, "/vram/leases") == [room.lease_id]
    assert leases(daemon, "/vram/leases") == []


def test_a_daemon_that_is_away_for_a_moment_is_asked_again(daemons):
    daemon = daemons({"a": model(BIG)})
    with Client(daemon.url, retries=Retries(tries_max=2)) as client:
        daemon.kill()
        with pytest.raises(NotAnswered, match="Nothing answers"):
            client.status()
        daemon.start()
        assert client.status().loaded == {}


def test_switching_gives_the_room_of_the_one_before(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG)})
    with Client(daemon.url, owner="me") as client:
        client.switch_model("a", lease_seconds=60)
        assert client.switch_model("b", lease_seconds=60).evicted == ("a",)
        assert client.model == "b"
        assert len(leases(daemon)) == 1


def test_an_endpoint_answers_whole_and_in_pieces(daemons):
    daemon = daemons({"a": model(BIG)})
    with Client(daemon.url) as client, server_of(client.load("a")) as server:
        whole = server.generate("hello there", max_tokens=9)
        assert whole.text.endswith("You said: hello there")
        assert whole.tokens_out == 9
        stream = server.chat_stream(HELLO, max_tokens=8)
        assert "".join(stream).endswith("You said: hello")
        assert stream.generation.tokens_out == 8
        assert [each.name for each in server.models()] == ["a"]
        assert server.health()


def busy(endpoint):
    return any(slot["is_processing"] for slot in httpx.get(f"{endpoint}/slots").json())


def test_a_stream_that_is_left_ends_the_generation(daemons):
    daemon = daemons({"a": model(BIG)})
    with Client(daemon.url) as client, server_of(client.load("a")) as server:
        with server.generate_stream("hello", max_tokens=5000) as stream:
            next(stream)
            assert busy(server.url)
        until(lambda: not busy(server.url))


def test_programs_on_asyncio_do_the_same(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG)})

    async def walk():
        async with AsyncClient(daemon.url, owner="me") as client:
            async with client.lease("a", lease_s=0.6) as held:
                expires_at = held.expires_at
                while held.expires_at == expires_at:
                    await client.status()
            async with client.lease_vram(16000) as room:
                assert room.evicted == ("a",)
            return await client.switch_model("b")

    assert run(walk()).model == "b"
    assert leases(daemon, "/vram/leases") == []


# --- by the gateway ----------------------------------------------------------------------------


def test_a_cold_model_is_loaded_by_the_first_prompt(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG)})
    with Client(daemon.url) as client:
        client.load("a")
        answer = client.generate("hello there", model="b", max_tokens=9)
        assert answer.text.startswith("This is b ")
        assert answer.evicted == ("a",)
        assert answer.waited_s > 0
        assert client.generate("hello", model="b", max_tokens=3).waited_s == 0


def test_a_cold_model_answers_a_stream_after_signs_of_life(daemons):
    daemon = daemons({"a": model(BIG, fake={"load_s": 0.8})}, gateway={"heartbeat_s": 0.2})
    with Client(daemon.url, model="a") as client:
        stream = client.generate_stream("hello", max_tokens=8)
        assert "".join(stream).endswith("You said: hello")
        assert stream.generation.tokens_out == 8


def test_refusals_of_the_gateway_are_the_same_exceptions(daemons):
    daemon = daemons({"huge": model(60000), "bad": model(BIG, fake={"fail": "exits"})})
    with Client(daemon.url) as client:
        for answer in (client.generate, lambda *a, **k: list(client.generate_stream(*a, **k))):
            with pytest.raises(DoesNotFit) as raised:
                answer("hello", model="huge")
            assert raised.value.needed_mb == 60000
            with pytest.raises(UnknownModel, match="chet"):
                answer("hello", model="chet")
        with pytest.raises(Refused) as failed:
            client.generate("hello", model="bad")
        assert failed.value.code == "load_failed"
        assert failed.value.log_tail


def test_a_refusal_after_signs_of_life_is_the_same_exception(daemons):
    bad = {"fail": "exits", "load_s": 0.8}
    daemon = daemons({"bad": model(BIG, fake=bad)}, gateway={"heartbeat_s": 0.1})
    with Client(daemon.url, model="bad") as client, pytest.raises(Refused) as failed:
        list(client.generate_stream("hello"))
    assert failed.value.code == "load_failed"
    assert failed.value.status == 502


def test_a_stream_that_is_left_ends_the_generation_behind_the_gateway(daemons):
    daemon = daemons({"a": model(BIG)})
    with Client(daemon.url, model="a") as client:
        with client.generate_stream("hello", max_tokens=5000) as stream:
            next(stream)
            endpoint = daemon.endpoint("a")
            assert busy(endpoint)
        until(lambda: not busy(endpoint))
        assert leases(daemon) == []


def test_a_conversation_is_trimmed_by_its_model_s_own_tokens(daemons):
    daemon = daemons({"a": model(BIG)})
    said = [{"role": "user", "content": f"number {number}"} for number in range(30)]
    messages = [{"role": "system", "content": "Be brief."}, *said]
    with Client(daemon.url, model="a") as client:
        # Three tokens a message: the role, and two words.
        assert client.count_tokens(messages) == 93
        kept = client.trim(messages, context_size=60, answer_tokens=30)
        assert kept == [messages[0], *said[-9:]]
        with pytest.raises(ContextTooSmall):
            client.trim(messages, context_size=10, answer_tokens=5)


def test_programs_on_asyncio_ask_many_at_once(daemons):
    daemon = daemons({"a": model(BIG, fake={"load_s": 0.5})})

    async def walk():
        async with AsyncClient(daemon.url, model="a") as client:
            asked = [client.generate(f"q{number}", max_tokens=8) for number in range(12)]
            answers = await asyncio.gather(*asked)
            stream = client.generate_stream("hello", max_tokens=5)
            return [str(each) for each in answers], [piece async for piece in stream]

    answers, pieces = run(walk())
    assert [each.rpartition(" ")[2] for each in answers] == [f"q{n}" for n in range(12)]
    assert len(pieces) == 5
