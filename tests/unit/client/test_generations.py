import json

import pytest

from orchestrator.client.errors import DoesNotFit, NotAnswered, NotUnderstood, Refused, TryLater
from orchestrator.client.exchanges import Retries
from orchestrator.client.generations import (
    Assembly,
    Speaker,
    at_once,
    chat_ask,
    generating,
    prompt_messages,
    streaming,
)
from tests.unit.client.playing import Play, refusal, reply

HELLO = prompt_messages("hello", None)


def whole(**changes):
    message = {"role": "assistant", "content": "Hi."} | changes
    return {
        "model": "chat",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }


def generated(*heard, speaker=None, **settings):
    naming = at_once(speaker or Speaker())
    return Play(generating(HELLO, naming, settings, Retries()), *heard)


def test_a_prompt_is_a_conversation_of_one():
    assert HELLO == ({"role": "user", "content": "hello"},)
    assert [each["role"] for each in prompt_messages("hello", "Be brief.")] == ["system", "user"]


def test_only_what_was_said_is_sent():
    ask = chat_ask(HELLO, Speaker(), {})
    assert ask.body == {"messages": [{"role": "user", "content": "hello"}]}
    assert ask.headers == {}


def test_settings_become_fields_and_the_gateway_s_become_headers():
    settings = {"max_tokens": 5, "priority": 3, "deadline_s": 2.5, "extra": {"min_p": 0.1}}
    ask = chat_ask(HELLO, Speaker(model="chat", owner="me"), settings)
    assert (ask.body["model"], ask.body["max_tokens"], ask.body["min_p"]) == ("chat", 5, 0.1)
    assert ask.headers == {"X-Owner": "me", "X-Priority": "3", "X-Deadline-Seconds": "2.5"}
    assert not {"priority", "deadline_s", "extra", "owner"} & ask.body.keys()


def test_a_stream_asks_for_its_figures():
    ask = chat_ask(HELLO, Speaker(), {}, streamed=True)
    assert ask.streamed
    assert ask.body["stream_options"] == {"include_usage": True}


def test_an_answer_is_read_with_what_it_cost():
    answer = reply(whole(), x_waited_ms="1500", x_evicted="ovi, whisperx")
    result = generated(answer).result
    assert (result.text, result.model, result.finish_reason) == ("Hi.", "chat", "stop")
    assert (result.tokens_in, result.tokens_out) == (5, 2)
    assert (result.waited_s, result.evicted) == (1.5, ("ovi", "whisperx"))


def test_calls_of_tools_and_thoughts_are_read():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = whole(content=None, tool_calls=[call], reasoning_content="Hm.")
    result = generated(reply(answer)).result
    assert (result.text, result.tool_calls, result.reasoning) == ("", (call,), "Hm.")


def test_no_room_is_waited_for():
    play = generated(refusal("no_room", 503, retry_after_seconds=2), reply(whole()))
    assert play.result.text == "Hi."
    assert play.pauses == [2]


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"text": "x"}]}])
def test_what_is_no_chat_is_not_understood(body):
    assert isinstance(generated(reply(body)).error, NotUnderstood)


def test_the_head_of_a_stream_is_asked_for_like_anything():
    busy = refusal("queue_full", 503, retry_after_seconds=1)
    play = Play(streaming(HELLO, at_once(Speaker()), {}, Retries()), busy, reply())
    assert play.result.status == 200
    assert [ask.streamed for ask in play.asks] == [True, True]


# --- in pieces -------------------------------------------------------------------------------


def chunk(finish_reason=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "model": "chat", "choices": [choice]})


def test_pieces_make_the_whole():
    assembly = Assembly({"x-waited-ms": "20"})
    events = [chunk(role="assistant"), chunk(content="Hi"), chunk(content="."), chunk("stop")]
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    said = [assembly.add(event) for event in [*events, json.dumps(usage), "[DONE]"]]
    assert said == ["", "Hi", ".", "", "", ""]
    whole = assembly.finished()
    assert (whole.text, whole.finish_reason, whole.model) == ("Hi.", "stop", "chat")
    assert (whole.tokens_in, whole.tokens_out, whole.waited_s) == (1, 2, 0.02)


def test_calls_come_in_pieces():
    assembly = Assembly()
    first = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}}
    for part in (first, {"index": 0, "function": {"arguments": ": 1}"}}):
        assembly.add(chunk(tool_calls=[part]))
    assembly.add(chunk("tool_calls"))
    (call,) = assembly.finished().tool_calls
    assert call["id"] == "c"
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}


def test_thoughts_are_no_text():
    assembly = Assembly()
    assert assembly.add(chunk(reasoning_content="Hm.")) == ""
    assembly.add(chunk("stop"))
    assert assembly.finished().reasoning == "Hm."


def test_other_choices_are_not_mixed_in():
    assembly = Assembly()
    other = {"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}
    assert assembly.add(json.dumps({"choices": [other]})) == ""


def test_an_answer_without_its_end_broke_off():
    assembly = Assembly()
    assembly.add(chunk(content="Hi"))
    with pytest.raises(NotAnswered, match="broke off"):
        assembly.finished()


def test_an_error_in_mid_stream_is_raised_with_its_code():
    error = {"error": {"message": "It died.", "code": "server_died", "type": "server_error"}}
    with pytest.raises(Refused) as raised:
        Assembly().add(json.dumps(error))
    assert (raised.value.code, raised.value.status) == ("server_died", 502)
    ours = {"code": "does_not_fit", "status": 507, "detail": "Too large.", "needed_mb": 5}
    with pytest.raises(DoesNotFit, match="Too large") as raised:
        Assembly().add(json.dumps(ours | {"error": {"message": "m", "code": "does_not_fit"}}))
    assert raised.value.needed_mb == 5
    with pytest.raises(TryLater, match="Loading"):
        Assembly().add(json.dumps({"error": {"message": "Loading", "code": 503}}))


@pytest.mark.parametrize("event", ["hello", "[]", '{"choices": 5}', '{"choices": [5]}'])
def test_nonsense_is_not_understood(event):
    with pytest.raises(NotUnderstood):
        Assembly().add(event)
