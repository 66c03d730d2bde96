import json

from orchestrator.gateway.ollama import speech as module
from orchestrator.gateway.ollama.pieces import CallPart, Piece, Spent
from orchestrator.gateway.ollama.speech import Dress, Speech, Times, ndjson, only_model

NOW = "2026-01-15T10:40:00.000Z"
CHAT = Dress("a:latest", is_chat=True)
TEXT = Dress("a:latest", is_chat=False)
TIMES = Times(asked_s=10.0, ready_s=12.0, first_s=12.5, ended_s=13.0)
SPENT = Spent(prompt_tokens=7, answer_tokens=3, prompt_ns=11, answer_ns=22)


def streamed(dress, *pieces):
    speech = Speech(dress)
    lines = [line for piece in pieces for line in speech.hear(piece, NOW)]
    return [*lines, *speech.last(TIMES, NOW)]


def whole(dress, *pieces):
    speech = Speech(dress)
    for piece in pieces:
        speech.keep(piece)
    return speech.whole(TIMES, NOW)


def test_a_chat_line_by_line():
    first, second, last = streamed(
        CHAT, Piece(thought="so"), Piece(text="hi"), Piece(finish="stop", spent=SPENT)
    )
    frame = {"model": "a:latest", "created_at": NOW}
    assert first == {
        **frame,
        "message": {"role": "assistant", "content": "", "thinking": "so"},
        "done": False,
    }
    assert second == {**frame, "message": {"role": "assistant", "content": "hi"}, "done": False}
    assert last == {
        **frame,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "total_duration": 3_000_000_000,
        "load_duration": 2_000_000_000,
        "prompt_eval_count": 7,
        "prompt_eval_duration": 11,
        "eval_count": 3,
        "eval_duration": 22,
    }


def test_a_text_is_called_response():
    first, last = streamed(TEXT, Piece(text="la", thought="hm"), Piece(finish="length"))
    assert (first["response"], first["thinking"], first["done"]) == ("la", "hm", False)
    assert (last["response"], last["done_reason"]) == ("", "length")
    assert "message" not in first


def test_the_whole_of_it():
    told = whole(CHAT, Piece(thought="a"), Piece(text="h"), Piece(text="i", finish="stop"))
    assert told["message"] == {"role": "assistant", "content": "hi", "thinking": "a"}
    assert told["done"] is True


def test_where_the_server_does_not_tell_times_are_as_seen():
    told = whole(TEXT, Piece(text="x", finish="stop"))
    assert (told["prompt_eval_duration"], told["eval_duration"]) == (500_000_000, 500_000_000)
    assert (told["prompt_eval_count"], told["eval_count"]) == (0, 0)


def test_calls_are_told_when_they_are_whole_with_objects_as_arguments():
    parts = (
        Piece(calls=(CallPart(index=0, id="c0", name="a", arguments='{"x"'),)),
        Piece(calls=(CallPart(index=0, arguments=": 1}"),)),
        Piece(calls=(CallPart(index=1, id="c1", name="b"),)),
        Piece(finish="stop"),
    )
    first, second, last = streamed(CHAT, *parts)
    call = {"id": "c0", "function": {"index": 0, "name": "a", "arguments": {"x": 1}}}
    other = {"id": "c1", "function": {"index": 1, "name": "b", "arguments": {}}}
    assert first["message"]["tool_calls"] == [call]
    assert second["message"]["tool_calls"] == [other]
    assert last["done"]
    assert whole(CHAT, *parts)["message"]["tool_calls"] == [call, other]


def test_calls_that_come_at_once():
    calls = tuple(CallPart(index=i, name=name) for i, name in enumerate("ab"))
    told = whole(CHAT, Piece(calls=calls, finish="stop"))
    assert [each["function"]["name"] for each in told["message"]["tool_calls"]] == ["a", "b"]


def test_arguments_that_were_cut_off_are_shown():
    cut = Piece(calls=(CallPart(index=0, name="a", arguments='{"x": '),), finish="length")
    [call] = whole(CHAT, cut)["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"unfinished": '{"x": '}
    listed = Piece(calls=(CallPart(index=0, name="a", arguments="[1]"),))
    [call] = whole(CHAT, listed)["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"value": [1]}


def test_calls_have_a_bound(monkeypatch):
    monkeypatch.setattr(module, "CALLS_MAX", 3)
    told = whole(CHAT, *(Piece(calls=(CallPart(index=i, name="a"),)) for i in range(9)))
    assert len(told["message"]["tool_calls"]) == 3


def test_how_sure_it_was_goes_with_what_it_said():
    sure = ({"token": "a", "logprob": -1},)
    first, _ = streamed(CHAT, Piece(text="a", likelihoods=sure, finish="stop"))
    assert first["logprobs"] == list(sure)
    assert whole(CHAT, Piece(text="a", likelihoods=sure), Piece(likelihoods=sure))["logprobs"] == [
        *sure,
        *sure,
    ]


def test_an_answer_without_an_end_was_cut_off():
    speech = Speech(CHAT)
    list(speech.hear(Piece(text="a"), NOW))
    assert not speech.ended
    list(speech.hear(Piece(finish="stop"), NOW))
    assert speech.ended


def test_a_model_that_was_only_loaded():
    assert only_model(TEXT, "load", NOW) == {
        "model": "a:latest",
        "created_at": NOW,
        "response": "",
        "done": True,
        "done_reason": "load",
    }
    assert only_model(CHAT, "unload", NOW)["message"]["role"] == "assistant"


def test_a_line_is_one_line():
    """For clients in Python too, which end lines at more than a line feed."""
    said = {"a": "\n\r\x0b\x0c\x1c\x85\u2028\u2029é"}
    line = ndjson(said)
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == said
