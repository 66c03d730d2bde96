import json

import pytest

from orchestrator.gateway.ollama import chats
from orchestrator.gateway.ollama.requests import ChatWanted, read
from orchestrator.web.wire.error_answers import Answered

JSON_OBJECT = {"type": "json_object", "schema": {"type": "object"}}
PNG = "iVBORw0KGgoAAAANSUhEUg=="


def messages(*said):
    body = json.dumps({"messages": said}).encode()
    return chats.messages_of(read(ChatWanted, body).messages)


def call(name, **arguments):
    return {"function": {"name": name, "arguments": arguments}}


def test_a_picture_is_a_part_with_its_type():
    [told] = messages({"role": "user", "content": "what is it?", "images": [PNG, "/9j/4AAQ"]})
    assert told["content"] == [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"}},
    ]


def test_a_picture_may_come_as_a_data_url_but_not_as_an_address():
    [told] = messages({"role": "user", "images": [f"data:image/webp;base64,{PNG}"]})
    assert told["content"][0]["image_url"]["url"].startswith("data:image/webp")
    with pytest.raises(Answered, match="not addresses"):
        messages({"role": "user", "images": ["http://example.com/a.png"]})


def test_calls_get_ids_and_arguments_as_text():
    _, called, result = messages(
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [call("weather", city="Köln")]},
        {"role": "tool", "content": "rain", "tool_name": "weather"},
    )
    [told] = called["tool_calls"]
    assert told["function"] == {"name": "weather", "arguments": '{"city":"Köln"}'}
    assert result == {
        "role": "tool",
        "content": "rain",
        "tool_call_id": told["id"],
        "name": "weather",
    }


def test_results_without_a_name_answer_the_calls_in_their_order():
    """As Home Assistant sends them."""
    called, *results = messages(
        {"role": "assistant", "content": "", "tool_calls": [call("a"), call("b")]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "tool", "content": "one too many"},
    )
    ids = [each["id"] for each in called["tool_calls"]]
    assert [each["tool_call_id"] for each in results[:2]] == ids
    assert len(set(ids)) == 2
    assert [each.get("name") for each in results] == ["a", "b", None]


def test_results_may_come_in_another_order():
    called, first, second = messages(
        {"role": "assistant", "tool_calls": [call("a"), {**call("b"), "id": "mine"}]},
        {"role": "tool", "content": "2", "tool_call_id": "mine"},
        {"role": "tool", "content": "1", "tool_name": "a"},
    )
    assert first["tool_call_id"] == called["tool_calls"][1]["id"] == "mine"
    assert second["tool_call_id"] == called["tool_calls"][0]["id"]


def test_arguments_that_are_text_already_stay_so():
    [called] = messages(
        {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": '{"x": 1}'}}]}
    )
    assert called["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'


def test_what_was_thought_goes_with_what_was_said():
    [told] = messages({"role": "assistant", "content": "4", "thinking": "two and two"})
    assert told == {"role": "assistant", "content": "4", "reasoning_content": "two and two"}


def test_thinking_is_turned_on_and_off_in_the_templates_words():
    assert chats.thinking(None, []) == {}
    assert chats.thinking(False, []) == {"chat_template_kwargs": {"enable_thinking": False}}
    assert chats.thinking("high", []) == {
        "chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}
    }
    with pytest.raises(Answered, match="low, medium, high"):
        chats.thinking("hard", [])


def test_an_answer_that_was_begun_is_gone_on_with():
    begun = [{"role": "user", "content": "count"}, {"role": "assistant", "content": "1, 2"}]
    assert chats.thinking(None, begun) == {"chat_template_kwargs": {"enable_thinking": False}}
    assert chats.thinking(True, begun) == {"chat_template_kwargs": {"enable_thinking": True}}


def test_the_form_of_an_answer():
    schema = {"type": "object"}
    assert chats.answer_format("") == chats.answer_format(None) == {}
    assert chats.answer_format("json")["response_format"] == JSON_OBJECT
    assert chats.answer_format(schema)["response_format"]["json_schema"]["schema"] == schema
    with pytest.raises(Answered, match="format should be"):
        chats.answer_format("xml")


def test_how_sure_it_is():
    assert chats.likelihoods(None, None) == {}
    assert chats.likelihoods(True, None) == {"logprobs": True, "top_logprobs": 0}
    assert chats.likelihoods(None, 3) == {"logprobs": True, "top_logprobs": 3}
