from orchestrator.client import AsyncModelServer, AsyncProvider, ProviderName, async_provider
from tests.asynchronous import run
from tests.unit.client.shells import CHAT, events


def test_a_server_is_asked_directly(server, monkeypatch):
    monkeypatch.setenv("LLM_PROVIDER", "llama.cpp")
    monkeypatch.setenv("LLAMA_SERVER_URL", server.url)

    async def walk():
        async with async_provider() as llama:
            provider: AsyncProvider = llama
            assert await provider.health()
            assert (await provider.generate("hello")).text == "Hi."
            server.answers[CHAT] = events("Hi")
            return [piece async for piece in provider.generate_stream("hello")]

    assert run(walk()) == ["Hi"]


def test_vllm_is_asked_for_its_model(server):
    server.answers["GET /v1/models"] = {"data": [{"id": "org/m", "max_model_len": 8192}]}

    async def walk():
        async with AsyncModelServer(ProviderName.VLLM, server.url) as vllm:
            assert [each.context_size for each in await vllm.models()] == [8192]
            await vllm.generate("hello")

    run(walk())
    assert server.bodies("/v1/chat/completions")[0]["model"] == "org/m"
