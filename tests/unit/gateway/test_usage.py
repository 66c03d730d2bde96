"""Token counts are read from an answer's bytes as they pass, however they are cut."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.gateway import usage
from orchestrator.gateway.usage import HEAD_BYTES, KEYS_MAX, TAIL_BYTES, UsageReader
from orchestrator.records import Usage

OPENAI = (
    b'{"id":"x","choices":[{"message":{"role":"assistant","content":"%s"}}],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}'
)
LLAMA = (
    b'{"choices":[{"message":{"content":"Paris."}}],"usage":{"completion_tokens":3,"prompt_tokens":9,'
    b'"total_tokens":12},"timings":{"prompt_n":4,"predicted_n":3,"predicted_per_second":41.5}}'
)
LLAMA_STREAM = (
    b'data: {"choices":[{"delta":{"content":"Paris"}}]}\n\n'
    b'data: {"choices":[{"finish_reason":"stop","delta":{}}],"timings":{"cache_n":2,"prompt_n":4,'
    b'"predicted_n":3,"predicted_per_second":20}}\n\ndata: [DONE]\n\n'
)
ANTHROPIC_STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":'
    b'{"input_tokens":11,"output_tokens":0}}}\n\n%s'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":6}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
EMBEDDINGS = b'{"object":"list","usage":{"prompt_tokens":5,"total_tokens":5},"data":[%s]}'
RESPONSE = (
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_1",'
    b'"usage":{"input_tokens":3,"output_tokens":2}}}\n\n'
)


def read(*pieces):
    reader = UsageReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.usage()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OPENAI % b"hello", Usage(7, 5, None)),
        (OPENAI % (b"long " * 10_000), Usage(7, 5, None)),
        (LLAMA, Usage(9, 3, 41.5)),
        (LLAMA_STREAM, Usage(6, 3, 20.0)),
        (ANTHROPIC_STREAM % b"", Usage(11, 6, None)),
        (ANTHROPIC_STREAM % (b'data: {"type":"ping"}\n\n' * 2_000), Usage(11, 6, None)),
        (EMBEDDINGS % b"0.25", Usage(5, None, None)),
        (EMBEDDINGS % (b"0.25," * 20_000 + b"1"), Usage(5, None, None)),
        (RESPONSE, Usage(3, 2, None)),
        (b"", Usage()),
        (b"\xff\xfe not JSON at all", Usage()),
        (b'{"usage":{"prompt_tokens":-1,"completion_tokens":true}}', Usage()),
    ],
)
def test_every_server_is_understood(answer, expected):
    assert read(answer) == expected


def test_text_that_speaks_of_usage_is_no_usage():
    said = json.dumps('"usage": {"prompt_tokens": 99} and "timings": {"predicted_n": 4}').encode()
    answer = b'{"choices":[{"message":{"content":' + said + b"}}]}"
    assert read(answer) == Usage()


def test_what_a_model_makes_up_deeper_down_is_no_usage():
    assert read(b'{"a":[{"b":{"usage":{"prompt_tokens":99}}}]}') == Usage()


@settings(deadline=None)
@given(
    st.sampled_from(
        [OPENAI % b"x", LLAMA, LLAMA_STREAM, ANTHROPIC_STREAM % b"", EMBEDDINGS % b"1", RESPONSE]
    ),
    st.lists(st.integers(0, 400)),
)
def test_it_does_not_matter_where_an_answer_is_cut(answer, cuts):
    places = sorted({0, len(answer), *(cut % len(answer) for cut in cuts)})
    pieces = [answer[begin:end] for begin, end in pairwise(places)]
    assert read(*pieces) == read(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"a":[' + b'{"b":{"usage":{"c":1}}},' * 2_000 + b"0]}",
        b'{"usage":{' * 2_000,
        b'data: {"usage":{"completion_tokens":1}}\n\n' * 2_000,
        b'"usage":{' * 2_000 + b"}" * 2_000,
    ],
)
def test_the_last_keys_alone_are_looked_at_closely(answer, monkeypatch):
    looked_at = []

    def counting(window: bytes, at: int, *, in_lines: bool, cut: bool) -> int:
        looked_at.append(at)
        return depth(window, at, in_lines=in_lines, cut=cut)

    depth = usage._depth
    monkeypatch.setattr(usage, "_depth", counting)
    read(answer)
    assert len(looked_at) <= 4 * KEYS_MAX  # tokens and times, at the beginning and the end


def test_little_is_kept_whatever_passes():
    reader = UsageReader()
    for _ in range(100):
        reader.feed(b"x" * 100_000)
    assert len(reader._head) <= HEAD_BYTES
    assert len(reader._tail) <= 3 * TAIL_BYTES
