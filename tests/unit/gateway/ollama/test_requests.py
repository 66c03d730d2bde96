import pytest

from orchestrator.gateway.ollama.requests import ChatWanted, VectorsWanted, read
from orchestrator.web.wire.error_answers import Answered


def refusal(body, kind=ChatWanted):
    with pytest.raises(Answered) as refused:
        read(kind, body)
    assert refused.value.answer.status == 422
    return refused.value.answer.detail


def test_null_is_not_said_and_unknown_fields_are_ignored():
    wanted = read(
        ChatWanted,
        b'{"model": "a", "messages": [{"role": "user", "content": "hi", "images": null, "x": 1}],'
        b' "stream": null, "keep_alive": null, "options": null, "truncate": true}',
    )
    assert (wanted.called, wanted.streams, wanted.keep_alive) == ("a", True, None)
    assert wanted.messages[0].content == "hi"


def test_it_streams_unless_told_not_to():
    assert not read(ChatWanted, b'{"stream": false}').streams


def test_the_model_may_be_called_name():
    assert read(ChatWanted, b'{"name": "a"}').called == "a"
    with pytest.raises(Answered, match="model is required"):
        _ = read(ChatWanted, b"{}").called


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "The body is not JSON"),
        (b"[]", "The body is not a JSON object."),
        (b'"x"', "The body is not a JSON object."),
        (b"\xff", "The body is not UTF-8."),
        (b'{"seed": NaN}', "NaN is not JSON"),
        (b'{"messages": [{"content": "x"}]}', "messages.0.role is required."),
        (b'{"keep_alive": "soon"}', "keep_alive should be seconds"),
        (b'{"keep_alive": [1]}', "keep_alive should be seconds"),
        (b'{"tools": {}}', "tools should be"),
        (b'{"top_logprobs": 21}', "top_logprobs should be less than or equal to 20."),
        (b"[" * 100_000, "The body is no JSON object"),
        (b'{"model": "' + b"x" * 500 + b'"}', "model"),
    ],
)
def test_what_makes_no_sense_is_named(body, says):
    assert says in refusal(body)


def test_a_schema_may_be_as_deep_as_schemas_are():
    deep = b'{"properties":' * 40 + b"{}" + b"}" * 40
    assert read(ChatWanted, b'{"format": ' + deep + b"}").format


def test_inputs_are_texts():
    assert read(VectorsWanted, b'{"input": "a"}').input == "a"
    assert read(VectorsWanted, b'{"input": ["a", "b"]}').input == ("a", "b")
    assert "input" in refusal(b'{"input": [1]}', VectorsWanted)
