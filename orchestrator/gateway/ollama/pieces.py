"""What a model server answers, in OpenAI's form or llama.cpp's own, piece by piece or whole."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.web.wire.error_answers import clip

Json = Mapping[str, Any]
NANOSECONDS = 1_000_000
_LIMIT = "limit"  # llama.cpp's own word for an answer that was cut off


class AnswerBroken(Exception):
    """The server ended its answer with an error, or said what makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPart:
    """A call of a tool, or the next part of it: its arguments come as text."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Tokens and time, as far as the server tells. Times in nanoseconds."""

    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    prompt_ns: int | None = None
    answer_ns: int | None = None

    def over(self, earlier: "Spent") -> "Spent":
        """With what was known before, where this does not say."""
        return Spent(
            prompt_tokens=_first(self.prompt_tokens, earlier.prompt_tokens),
            answer_tokens=_first(self.answer_tokens, earlier.answer_tokens),
            prompt_ns=_first(self.prompt_ns, earlier.prompt_ns),
            answer_ns=_first(self.answer_ns, earlier.answer_ns),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    text: str = ""
    thought: str = ""
    calls: tuple[CallPart, ...] = ()
    likelihoods: tuple[Json, ...] = ()
    finish: str | None = None  # why it ended, in Ollama's words
    spent: Spent = field(default_factory=Spent)

    @property
    def says(self) -> bool:
        return bool(self.text or self.thought or self.likelihoods)


def piece_of(event: bytes) -> Piece:
    """Raise AnswerBroken if it is an error, or nothing that can be understood."""
    said = answer_object(event)
    choice = next(iter(_objects(said.get("choices"))), None)
    if choice is None:
        return _native(said)
    spoken = _object(choice.get("delta") or choice.get("message"))
    return Piece(
        text=_text(spoken.get("content")) or _text(choice.get("text")),
        thought=_text(spoken.get("reasoning_content")) or _text(spoken.get("reasoning")),
        calls=tuple(_calls(spoken.get("tool_calls"))),
        likelihoods=tuple(_likelihoods(choice.get("logprobs"))),
        finish=_finish(choice.get("finish_reason")),
        spent=_spent(said),
    )


def answer_object(body: bytes) -> Json:
    """Raise AnswerBroken if it is an error, or no JSON object."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AnswerBroken("The model's server sent what is no JSON.") from error
    if not isinstance(said, dict):
        raise AnswerBroken("The model's server sent no JSON object.")
    if (message := error_message(said)) is not None:
        raise AnswerBroken(message)
    return said


def error_message(said: Json) -> str | None:
    """What an error of OpenAI's form, llama.cpp's or FastAPI's says; None if it is none.

    llama.cpp's streams carry what stands under `error` alone.
    """
    error = said.get("error")
    if isinstance(error, dict):
        return _text(error.get("message")) or "The model's server failed."
    if isinstance(error, str):
        return error
    if "choices" not in said and isinstance(said.get("message"), str) and "code" in said:
        return str(said["message"])
    if "detail" in said and len(said) == 1:
        return clip(str(said["detail"]))
    return None


def refusal_in(body: bytes, status: int) -> str:
    """What a server says of a request that it refuses."""
    try:
        answer_object(body)
    except AnswerBroken as error:
        return f"{error} ({status})" if not body.lstrip().startswith(b"{") else str(error)
    return f"The model's server answered {status}."


def _native(said: Json) -> Piece:
    """An answer of llama.cpp's own routes; or the last event of a stream, which only counts."""
    stopped = said.get("stop") is True
    cut = said.get("stop_type") == _LIMIT
    return Piece(
        text=_text(said.get("content")),
        finish=("length" if cut else "stop") if stopped else None,
        spent=_spent(said) if stopped or "content" not in said else Spent(),
    )


def _finish(reason: object) -> str | None:
    if reason is None:
        return None
    return "length" if reason == "length" else "stop"


def _calls(calls: object) -> Iterator[CallPart]:
    for place, call in enumerate(_objects(calls)):
        function = _object(call.get("function"))
        index = call.get("index")
        arguments = function.get("arguments")
        yield CallPart(
            index=index if isinstance(index, int) else place,
            id=_text(call.get("id")),
            name=_text(function.get("name")),
            arguments=json.dumps(arguments) if isinstance(arguments, dict) else _text(arguments),
        )


def _likelihoods(said: object) -> Iterator[Json]:
    for token in _objects(_object(said).get("content")):
        yield {
            "token": _text(token.get("token")),
            "logprob": token.get("logprob"),
            "bytes": token.get("bytes"),
            "top_logprobs": [
                {key: other.get(key) for key in ("token", "logprob", "bytes")}
                for other in _objects(token.get("top_logprobs"))
            ],
        }


def _spent(said: Json) -> Spent:
    usage, timings = _object(said.get("usage")), _object(said.get("timings"))
    cached = _count(timings.get("cache_n")) or 0
    read = _count(timings.get("prompt_n"))
    return Spent(
        prompt_tokens=_first(
            _count(usage.get("prompt_tokens")),
            _count(said.get("tokens_evaluated")),
            None if read is None else read + cached,
        ),
        answer_tokens=_first(
            _count(usage.get("completion_tokens")),
            _count(said.get("tokens_predicted")),
            _count(timings.get("predicted_n")),
        ),
        prompt_ns=_nanoseconds(timings.get("prompt_ms")),
        answer_ns=_nanoseconds(timings.get("predicted_ms")),
    )


def _nanoseconds(milliseconds: object) -> int | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    return round(milliseconds * NANOSECONDS) if 0 <= milliseconds < 1e12 else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Sequence[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
