"""Embeddings: the numbers of an OpenAI answer, in the shape of Ollama's two routes."""

import math
from collections.abc import Sequence
from typing import Any

from orchestrator.gateway.ollama.pieces import AnswerBroken, answer_object
from orchestrator.gateway.ollama.speech import Times

Vector = Sequence[float]


def vectors_of(body: bytes, count: int) -> tuple[list[list[float]], int]:
    """One for each text, in their order, and the tokens read. Raise AnswerBroken."""
    said = answer_object(body)
    data = said.get("data")
    if not isinstance(data, list) or len(data) != count:
        raise AnswerBroken(f"The model's server did not send {count} embeddings.")
    try:
        ordered = sorted(data, key=lambda one: int(one["index"]))
        vectors = [[float(number) for number in one["embedding"]] for one in ordered]
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerBroken("The model's server sent embeddings that are none.") from error
    usage = said.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return vectors, tokens if isinstance(tokens, int) else 0


def shortened(vector: Vector, dimensions: int | None) -> list[float]:
    """The first of its numbers, of length one again: what models trained for it are made for."""
    if not dimensions or dimensions >= len(vector):
        return list(vector)
    kept = vector[:dimensions]
    length = math.sqrt(sum(number * number for number in kept)) or 1.0
    return [number / length for number in kept]


def embeddings(model: str, vectors: list[list[float]], tokens: int, times: Times) -> dict[str, Any]:
    return {
        "model": model,
        "embeddings": vectors,
        "total_duration": round(max(0.0, times.ended_s - times.asked_s) * 1e9),
        "load_duration": round(max(0.0, times.ready_s - times.asked_s) * 1e9),
        "prompt_eval_count": tokens,
    }
