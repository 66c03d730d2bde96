import json

import pytest

from orchestrator.gateway.ollama.pieces import AnswerBroken, CallPart, Piece, Spent, piece_of

TIMINGS = {"cache_n": 4, "prompt_n": 6, "prompt_ms": 12.5, "predicted_n": 3, "predicted_ms": 30}


def piece(**event):
    return piece_of(json.dumps(event).encode())


def delta(finish=None, **said):
    return piece(choices=[{"index": 0, "delta": said, "finish_reason": finish}])


def test_what_is_said_and_what_is_thought():
    assert delta(role="assistant", content="hi") == Piece(text="hi")
    assert delta(role="assistant", content=None) == Piece()
    assert delta(reasoning_content="so") == Piece(thought="so")
    assert delta(reasoning="so", content=None) == Piece(thought="so"), "as vLLM says it"
    assert not delta().says


@pytest.mark.parametrize(
    ("reason", "means"), [("stop", "stop"), ("length", "length"), ("tool_calls", "stop")]
)
def test_why_it_ended(reason, means):
    assert delta(reason).finish == means


def test_an_answer_that_comes_whole():
    told = piece(
        choices=[
            {"message": {"content": "4", "reasoning_content": "2+2"}, "finish_reason": "stop"}
        ],
        usage={"prompt_tokens": 10, "completion_tokens": 3},
        timings=TIMINGS,
    )
    assert (told.text, told.thought, told.finish) == ("4", "2+2", "stop")
    assert told.spent == Spent(
        prompt_tokens=10, answer_tokens=3, prompt_ns=12_500_000, answer_ns=30_000_000
    )


def test_a_completion_in_openais_form():
    assert piece(choices=[{"text": "la", "finish_reason": None}]) == Piece(text="la")


def test_llama_cpps_own_form():
    assert piece(content="la", stop=False, tokens_predicted=1) == Piece(text="la")
    last = piece(
        content="", stop=True, stop_type="limit", tokens_evaluated=9, tokens_predicted=3,
        timings=TIMINGS,
    )  # fmt: skip
    assert last.finish == "length"
    assert (last.spent.prompt_tokens, last.spent.answer_tokens) == (9, 3)
    assert piece(content="la", stop=True, stop_type="eos").finish == "stop"


def test_the_event_that_only_counts():
    told = piece(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 2})
    assert (told.spent.prompt_tokens, told.finish) == (5, None)
    assert piece(choices=[], timings=TIMINGS).spent.prompt_tokens == 10, "what was cached as well"


def test_calls_come_in_parts():
    first = {"index": 1, "id": "c1", "function": {"name": "weather", "arguments": ""}}
    assert delta(tool_calls=[first]).calls == (CallPart(index=1, id="c1", name="weather"),)
    more = delta(tool_calls=[{"index": 1, "function": {"arguments": '{"a'}}])
    assert more.calls == (CallPart(index=1, arguments='{"a'),)
    whole = piece(choices=[{"message": {"tool_calls": [{"function": {"name": "a"}}] * 2}}])
    assert [call.index for call in whole.calls] == [0, 1]
    odd = delta(tool_calls=[{"function": {"name": "a", "arguments": {"x": 1}}}, "junk"])
    assert odd.calls == (CallPart(index=0, name="a", arguments='{"x": 1}'),)


def test_how_sure_it_was():
    other = {"token": "ho", "logprob": -2.0, "bytes": [104, 111]}
    token = {"token": "hi", "logprob": -0.1, "bytes": [104, 105], "top_logprobs": [other]}
    told = piece(choices=[{"delta": {"content": "hi"}, "logprobs": {"content": [token]}}])
    assert told.likelihoods == (token,)
    assert told.says


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (b'{"error": {"message": "out of tokens", "code": 400}}', "out of tokens"),
        (b'{"error": {}}', "The model's server failed."),
        (b'{"error": "no"}', "no"),
        (b'{"code": 500, "message": "it broke", "type": "server_error"}', "it broke"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b"<html>", "no JSON"),
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_an_error_is_no_answer(event, says):
    with pytest.raises(AnswerBroken, match=says):
        piece_of(event)


@pytest.mark.parametrize(
    "event",
    [
        {"choices": "x"},
        {"choices": [{"delta": 3, "finish_reason": 4}]},
        {"choices": [{"delta": {"content": 3, "tool_calls": {"a": 1}}, "logprobs": [1]}]},
        {"usage": 3, "timings": {"prompt_ms": "fast", "predicted_ms": -1, "prompt_n": True}},
    ],
)
def test_what_makes_no_sense_says_nothing(event):
    told = piece(**event)
    assert not told.says
    assert told.spent == Spent()
