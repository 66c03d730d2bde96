import json

import pytest

from orchestrator.stand_in.answers import THOUGHT, AnswerForm, ToolCall, thought, tool_call

TOOL = {"function": {"name": "weather", "parameters": {"properties": {"city": {}, "day": {}}}}}


def form(**changes):
    said = {
        "model": "smol",
        "is_chat": True,
        "prompt_tokens": 2,
        "predicted_tokens": 3,
        "began_s": 0,
    }
    return AnswerForm(**(said | changes))


def test_a_chat_with_tools_calls_the_first_until_it_has_answered():
    asked = {"role": "user", "content": "Köln"}
    call = tool_call({"tools": [TOOL], "messages": [asked]}, "Köln")
    assert call.name == "weather"
    assert json.loads(call.arguments) == {"city": "Köln", "day": "Köln"}
    answered = {"role": "tool", "content": "rain"}
    assert tool_call({"tools": [TOOL], "messages": [asked, answered]}, "rain") is None
    assert tool_call({"tools": [], "messages": [asked]}, "Köln") is None


def test_a_call_comes_whole_or_in_parts():
    call = ToolCall(name="a", arguments='{"x": "y"}')
    whole = form(call=call).whole("words")
    [choice] = whole["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == call.arguments
    parts = [
        chunk["choices"][0]["delta"]["tool_calls"][0]["function"]
        for chunk in form(call=call).first_chunks()
    ]
    assert parts[0]["name"] == "a"
    assert "".join(part["arguments"] for part in parts) == call.arguments


def test_a_thought_comes_before_the_words():
    assert thought({"chat_template_kwargs": {"enable_thinking": True}}) == THOUGHT
    assert thought({"chat_template_kwargs": {"enable_thinking": False}}) == thought({}) == ""
    [chunk] = form(thought=THOUGHT).first_chunks()
    assert chunk["choices"][0]["delta"] == {"reasoning_content": THOUGHT}
    assert form(thought=THOUGHT).whole("x")["choices"][0]["message"]["reasoning_content"] == THOUGHT


@pytest.mark.parametrize("with_usage", [True, False])
def test_times_are_told_always_and_usage_when_asked(with_usage):
    last = form().last_chunk(with_usage=with_usage)
    assert last["timings"]["predicted_n"] == 3
    assert ("usage" in last) is with_usage


def test_llama_cpps_own_form():
    native = form(is_chat=False, is_native=True)
    assert native.chunk("la") == {"content": "la", "stop": False}
    last = native.last_chunk(with_usage=False)
    assert (last["stop"], last["stop_type"], last["tokens_predicted"]) == (True, "eos", 3)
    assert native.whole("la")["content"] == "la"


def test_a_completion():
    plain = form(is_chat=False)
    assert plain.whole("la")["choices"][0]["text"] == "la"
    assert plain.chunk("la")["choices"][0]["text"] == "la"
