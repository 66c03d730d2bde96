"""`options`: what Ollama calls the settings of one answer, and some of the model's server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.scalars import CONTEXT_SIZE_MAX
from orchestrator.gateway.ollama.requests import invalid
from orchestrator.web.wire.error_answers import Answered, clip

# Under the names that a llama.cpp server takes beside OpenAI's own.
_NUMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
}
_INTEGERS = {
    "top_k": "top_k",
    "seed": "seed",
    "repeat_last_n": "repeat_last_n",
    "mirostat": "mirostat",
    "num_keep": "n_keep",
}
# n8n's node puts these into the options; they stand beside them.
BESIDE = frozenset({"format", "keep_alive"})
NAMED_MAX = 32  # of the ignored ones, in a header
IGNORED_HEADER = "X-Ignored-Options"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """What becomes of the options."""

    parameters: Mapping[str, Any]  # of the OpenAI request
    context_size: int | None = None  # that the model is to be loaded with
    ignored: tuple[str, ...] = ()


def understood(options: Mapping[str, Any] | None) -> AnswerSettings:
    """Raise Answered for a value of the wrong kind."""
    parameters: dict[str, Any] = {}
    context_size, ignored = None, []
    for key, value in (options or {}).items():
        if value is None or key in BESIDE:
            continue
        if key in _NUMBERS:
            parameters[_NUMBERS[key]] = _number(key, value)
        elif key in _INTEGERS:
            parameters[_INTEGERS[key]] = _integer(key, value)
        elif key == "num_predict":
            if (most := _integer(key, value)) > 0:  # the others mean: without a bound
                parameters["max_tokens"] = most
        elif key == "stop":
            if stops := _texts(key, value):
                parameters["stop"] = stops
        elif key == "num_ctx":
            if (size := _integer(key, value)) > 0:
                context_size = _context(size)
        else:
            ignored.append(key)
    return AnswerSettings(
        parameters=parameters, context_size=context_size, ignored=tuple(ignored[:NAMED_MAX])
    )


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(key, "a number")
    return value


def _integer(key: str, value: object) -> int:
    number = _number(key, value)
    if isinstance(number, float) and not number.is_integer():
        raise _wrong(key, "a whole number")
    return int(number)


def _texts(key: str, value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong(key, "a text or a list of texts")
    return [text for text in texts if text]


def _context(size: int) -> int:
    if size > CONTEXT_SIZE_MAX:
        raise _wrong("num_ctx", f"at most {CONTEXT_SIZE_MAX}")
    return size


def _wrong(key: str, kind: str) -> Answered:
    return Answered(invalid(f"options.{clip(key)} should be {kind}."))
