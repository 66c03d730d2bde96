import pytest

from orchestrator.client import ModelServer, NotChosen, Provider, ProviderName, provider
from tests.unit.client.shells import CHAT, events


def test_a_server_is_asked_directly(server):
    with ModelServer(ProviderName.LLAMA_CPP, server.url) as llama:
        assert llama.health()
        assert llama.generate("hello").text == "Hi."
        server.answers[CHAT] = events("Hi")
        assert list(llama.generate_stream("hello")) == ["Hi"]
    assert "model" not in server.bodies("/v1/chat/completions")[0]


def test_ollama_is_asked_for_its_first_model(server):
    server.answers["GET /api/tags"] = {"models": [{"name": "llama3.2:latest"}]}
    server.answers["GET /api/version"] = {"version": "0.6.0"}
    with provider(ProviderName.OLLAMA, server.url) as ollama:
        assert ollama.health()
        assert [each.name for each in ollama.models()] == ["llama3.2:latest"]
        ollama.generate("hello")
    assert server.bodies("/v1/chat/completions")[0]["model"] == "llama3.2:latest"


def test_a_model_may_be_meant_always(server):
    with ModelServer(ProviderName.VLLM, server.url, model="mine") as vllm:
        vllm.generate("hello")
        vllm.generate("hello", model="other")
    models = [body["model"] for body in server.bodies("/v1/chat/completions")]
    assert models == ["mine", "other"]


def test_the_environment_says_which_and_where(server, monkeypatch):
    monkeypatch.setenv("LLM_PROVIDER", "llama.cpp")
    monkeypatch.setenv("LLAMA_SERVER_URL", server.url)
    with provider() as chosen:
        assert chosen.name is ProviderName.LLAMA_CPP
        assert chosen.url == server.url
    monkeypatch.setenv("LLM_PROVIDER", "openai")
    with pytest.raises(NotChosen, match="openai"):
        provider()


def test_nobody_there_is_not_well():
    one: Provider = ModelServer(ProviderName.LLAMA_CPP, "http://127.0.0.1:9")
    assert not one.health()
