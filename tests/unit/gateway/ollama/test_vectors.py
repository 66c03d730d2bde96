import json
import math

import pytest

from orchestrator.gateway.ollama.pieces import AnswerBroken
from orchestrator.gateway.ollama.speech import Times
from orchestrator.gateway.ollama.vectors import embeddings, shortened, vectors_of


def answer(*vectors, **more):
    data = [{"index": i, "embedding": v} for i, v in enumerate(vectors)]
    return json.dumps({"data": data[::-1], "usage": {"prompt_tokens": 7}, **more}).encode()


def test_one_for_each_text_in_their_order():
    assert vectors_of(answer([1, 0], [0, 1]), 2) == ([[1.0, 0.0], [0.0, 1.0]], 7)
    assert vectors_of(answer([1], usage=None), 1) == ([[1.0]], 0)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        answer([1]),
        answer([1], ["x"]),
        answer([1], None),
        b'{"data": [1, 2]}',
        b'{"error": {"message": "too long"}}',
    ],
)
def test_what_is_no_answer(body):
    with pytest.raises(AnswerBroken):
        vectors_of(body, 2)


def test_fewer_numbers_are_of_length_one_again():
    assert shortened([3.0, 4.0, 12.0], None) == [3.0, 4.0, 12.0]
    assert shortened([3.0, 4.0, 12.0], 5) == [3.0, 4.0, 12.0]
    assert shortened([3.0, 4.0, 12.0], 2) == pytest.approx([0.6, 0.8])
    assert math.hypot(*shortened([0.0, 0.0, 1.0], 2)) == 0


def test_the_figures():
    told = embeddings("a", [[1.0]], 3, Times(asked_s=1, ready_s=2, first_s=2, ended_s=4))
    assert told == {
        "model": "a",
        "embeddings": [[1.0]],
        "total_duration": 3_000_000_000,
        "load_duration": 1_000_000_000,
        "prompt_eval_count": 3,
    }
