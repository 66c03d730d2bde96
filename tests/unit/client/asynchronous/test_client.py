import inspect

import pytest

from orchestrator.client import AsyncClient, AsyncProvider, Client, DoesNotFit
from tests.asynchronous import run
from tests.unit.client.shells import HELD, asked

HELLO = [{"role": "user", "content": "hello"}]


def walked(server, walk):
    async def whole():
        async with AsyncClient(server.url, owner="me") as client:
            return await walk(client)

    return run(whole())


def test_it_promises_what_the_other_one_does():
    def promised(kind):
        return {
            name: [(each.name, each.kind) for each in inspect.signature(value).parameters.values()]
            for name, value in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    assert promised(AsyncClient) == promised(Client)


def test_what_there_is(server):
    async def walk(client):
        assert (await client.status()).total_mb == 32768
        assert [each.name for each in await client.models()] == ["qwen3-vl-30b"]
        assert (await client.plan("ovi")).fits
        assert await client.health()

    walked(server, walk)


def test_loads_switches_and_unloads(server):
    async def walk(client):
        assert (await client.load("a", priority=5)).endpoint == HELD["endpoint"]
        await client.switch_model("a")
        await client.switch_model("b")
        assert client.model == HELD["model"]
        assert (await client.unload("b")).freed_mb
        server.answers["POST /models/load"] = (507, {"code": "does_not_fit"})
        with pytest.raises(DoesNotFit):
            await client.switch_model("huge")
        assert client.model == HELD["model"]

    walked(server, walk)
    assert server.bodies("/models/load")[0]["owner"] == "me"
    assert "DELETE /leases/l-1" in asked(server)


def test_models_and_room_are_held_while_a_block_runs(server):
    async def walk(client):
        async with client.lease("a", lease_s=60) as held:
            assert held.endpoint == HELD["endpoint"]
        async with client.lease_vram(8192, device="gpu-0") as room:
            assert room.vram_mb == 8192

    walked(server, walk)
    assert [each for each in asked(server) if each.startswith("DELETE")] == [
        "DELETE /leases/l-1",
        "DELETE /vram/leases/lease-9",
    ]
    assert server.bodies("/vram/leases")[0]["device"] == "gpu-0"


def test_a_conversation_is_counted_and_trimmed(server):
    async def walk(client):
        assert await client.count_tokens(HELLO, model="chat") == 2
        assert await client.trim(HELLO, model="chat") == HELLO

    walked(server, walk)


def test_it_is_a_provider(server):
    async def walk(client):
        provider: AsyncProvider = client
        return await provider.generate("hello")

    assert walked(server, walk).text == "Hi."
