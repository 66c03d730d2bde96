import pytest

from orchestrator.client.errors import NotChosen
from orchestrator.client.exchanges import Retries
from orchestrator.client.hardware import Hardware
from orchestrator.client.providers import (
    KINDS,
    ProviderName,
    chosen_provider,
    list_models,
    named_provider,
    server_url,
    speaker_of,
)
from tests.unit.client.playing import Play, reply

NOTHING = Hardware(is_jetson=False, has_gpu=False)
GPU = Hardware(is_jetson=False, has_gpu=True)
JETSON = Hardware(is_jetson=True, has_gpu=True)
LLAMA_CPP, VLLM, OLLAMA = ProviderName


@pytest.mark.parametrize(
    ("said", "hardware", "expected"),
    [
        ("", NOTHING, OLLAMA),
        ("", GPU, LLAMA_CPP),
        ("", JETSON, LLAMA_CPP),
        ("ollama", GPU, OLLAMA),
        (" vLLM ", NOTHING, VLLM),
        ("llama-cpp", NOTHING, LLAMA_CPP),
    ],
)
def test_as_it_is_said_else_by_the_hardware(said, hardware, expected):
    assert chosen_provider({"LLM_PROVIDER": said}, lambda: hardware) is expected


def test_hardware_is_not_looked_at_where_it_is_said():
    assert chosen_provider({"LLM_PROVIDER": "vllm"}, lambda: pytest.fail("looked")) is VLLM


@pytest.mark.parametrize("spelling", ["llama.cpp", "LLAMA_CPP", "llamacpp", "llama cpp"])
def test_spellings(spelling):
    assert named_provider(spelling) is LLAMA_CPP


def test_another_one_is_told_which_there_are():
    with pytest.raises(NotChosen, match=r"openai.*llama\.cpp, vllm, ollama"):
        named_provider("openai")


@pytest.mark.parametrize(
    ("name", "said", "url"),
    [
        (LLAMA_CPP, None, "http://127.0.0.1:8080"),
        (LLAMA_CPP, "http://box:9/", "http://box:9"),
        (OLLAMA, "0.0.0.0", "http://127.0.0.1:11434"),
        (OLLAMA, "0.0.0.0:5000", "http://127.0.0.1:5000"),
        (OLLAMA, "gpu-box", "http://gpu-box:11434"),
        (OLLAMA, ":7000", "http://127.0.0.1:7000"),
        (OLLAMA, "https://ollama.lan", "https://ollama.lan"),
        (OLLAMA, "http://0.0.0.0:1", "http://127.0.0.1:1"),
    ],
)
def test_where_a_server_is(name, said, url):
    assert server_url(name, said, {}) == url
    if said:
        assert server_url(name, None, {KINDS[name].url_variable: said}) == url


def listed(name, body):
    return Play(list_models(KINDS[name], Retries()), reply(body)).result


def test_models_of_each_kind_are_read():
    body = {"data": [{"id": "smol", "meta": {"n_ctx": 4096}}]}
    (model,) = listed(LLAMA_CPP, body)
    assert (model.name, model.context_size, model.state) == ("smol", 4096, "loaded")
    (model,) = listed(VLLM, {"data": [{"id": "org/m", "max_model_len": 8192}]})
    assert model.context_size == 8192
    (model,) = listed(OLLAMA, {"models": [{"name": "llama3.2:latest"}]})
    assert (model.name, model.state) == ("llama3.2:latest", "available")


def spoken(name, model, *heard):
    return Play(speaker_of(KINDS[name], model, Retries()), *heard)


def test_a_server_that_wants_a_model_named_gets_its_first_one():
    assert spoken(LLAMA_CPP, None).result.model is None
    assert spoken(VLLM, "mine").result.model == "mine"
    play = spoken(OLLAMA, None, reply({"models": [{"name": "a"}, {"name": "b"}]}))
    assert play.result.model == "a"
    assert isinstance(spoken(OLLAMA, None, reply({"models": []})).error, NotChosen)
