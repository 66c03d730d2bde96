import json

import pytest

from orchestrator.gateway.ollama import translation
from orchestrator.gateway.ollama.requests import (
    ChatWanted,
    TextWanted,
    VectorsWanted,
    VectorWanted,
    read,
)
from orchestrator.web.wire.error_answers import Answered

HI = [{"role": "user", "content": "hi"}]


def chat(**body):
    return translation.of_chat(read(ChatWanted, json.dumps({"model": "a", **body}).encode()))


def text(**body):
    return translation.of_text(read(TextWanted, json.dumps({"model": "a", **body}).encode()))


def test_a_chat_streams_with_its_figures_unless_told_not_to():
    asked = chat(messages=HI, options={"temperature": 0})
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "messages": HI,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert chat(messages=HI, stream=False).body == {"messages": HI}


def test_what_it_needs_of_the_model_is_known():
    tool = {"type": "function", "function": {"name": "a", "parameters": {}}}
    asked = chat(messages=[{"role": "user", "images": ["iVBOR"]}], tools=[tool], think=True)
    assert (asked.pictures, asked.tools, asked.thinks) == (True, True, True)
    assert asked.body["tools"] == [tool]
    plain = chat(messages=HI, tools=[], think=False)
    assert (plain.pictures, plain.tools, plain.thinks) == (False, False, False)
    assert "tools" not in plain.body


@pytest.mark.parametrize("asked", [chat, text])
def test_without_anything_to_answer_the_model_is_loaded_or_let_go(asked):
    assert (asked().path, asked().lets_go) == (None, False)
    assert asked(keep_alive=0).lets_go
    assert not asked(keep_alive="5m").lets_go
    assert (asked(keep_alive="5m").kept_s, asked().kept_s) == (300, None)


def test_a_prompt_is_a_chat_of_one_turn():
    asked = text(prompt="hi", system="be brief", images=["iVBOR"], format="json")
    assert asked.path == "/v1/chat/completions"
    system, user = asked.body["messages"]
    assert system == {"role": "system", "content": "be brief"}
    assert user["content"][0] == {"type": "text", "text": "hi"}
    assert asked.body["response_format"]["type"] == "json_object"
    assert asked.pictures


def test_a_raw_prompt_is_a_completion():
    asked = text(prompt="[INST] hi [/INST]", raw=True, options={"num_predict": 5})
    assert asked.path == "/v1/completions"
    assert (asked.body["prompt"], asked.body["max_tokens"]) == ("[INST] hi [/INST]", 5)


def test_a_suffix_is_filled_in():
    asked = text(prompt="def f(", suffix="return x", stream=False)
    assert asked.path == "/infill"
    assert asked.body == {"input_prefix": "def f(", "input_suffix": "return x", "prompt": ""}


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "x", "template": "{{ .Prompt }}"},
        {"prompt": "x", "raw": True, "system": "s"},
        {"prompt": "x", "raw": True, "images": ["iVBOR"]},
        {"prompt": "x", "options": {"keep_alive": "soon"}},
    ],
)
def test_what_only_ollama_can_do_is_refused(body):
    with pytest.raises(Answered):
        text(**body)


def test_a_context_of_before_is_named_as_ignored():
    assert text(prompt="x", context=[1, 2], options={"numa": True}).settings.ignored == (
        "context",
        "numa",
    )


def test_what_n8n_puts_into_the_options_is_understood():
    asked = chat(messages=HI, options={"format": "json", "keep_alive": "10m"})
    assert asked.body["response_format"]["type"] == "json_object"
    assert asked.kept_s == 600
    assert chat(messages=HI, options={"keep_alive": "10m"}, keep_alive=0).kept_s == 0


def test_texts_to_embed():
    def vectors(**body):
        return translation.of_vectors(read(VectorsWanted, json.dumps(body).encode()))

    assert vectors(input="a", options={"temperature": 1}).body == {"input": ["a"]}
    assert vectors(input=["a", "b"]).path == "/v1/embeddings"
    assert vectors(input="").path is vectors().path is vectors(input=[]).path is None
    one = translation.of_vector(read(VectorWanted, b'{"prompt": "a"}'))
    assert one.body == {"input": ["a"]}
    assert translation.of_vector(read(VectorWanted, b"{}")).path is None
