"""Turns what pydantic says about a request into sentences for the one who sent it."""

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_type_hints

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.types import Scope

from orchestrator.errors import ConfigInvalid
from orchestrator.orders import example_of
from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode, clip, encode

BODY_MISSED: Mapping[str, str] = {
    "missing": "the body is empty",
    "dataclass_type": "the body is not a JSON object",
    "dict_type": "the body is not a JSON object",
}
UNKNOWN_FIELD = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
CONFIG_MISTAKES_MAX = 50  # of a file: as many as are mended in one go
MISTAKE_CHARS_MAX = 500
MISTAKES_MAX = 10  # of a request: more would not help


def error_of_validation(error: RequestValidationError, scope: Scope) -> ErrorAnswer:
    order = order_of(scope)
    found = error.errors()[:MISTAKES_MAX]
    mistakes = [_mistake(mistake, order) for mistake in found]
    members: dict[str, object] = {"mistakes": mistakes}
    remedy = "The fields and an example are at /docs."
    if order is not None and any(mistake["loc"][0] == "body" for mistake in found):
        members["example"] = example_of(order)
        remedy = f"Send JSON such as {encode(example_of(order)).decode()}."
    return ErrorAnswer(
        code=WebCode.INVALID,
        detail=" ".join(_sentence(mistake) for mistake in mistakes),
        remedy=remedy,
        members=members,
    )


def error_of_config(error: ConfigInvalid) -> ErrorAnswer:
    shown = [_clipped(mistake) for mistake in error.mistakes[:CONFIG_MISTAKES_MAX]]
    mistakes = [{"field": "", "message": mistake} for mistake in shown]
    return ErrorAnswer(
        code=WebCode.INVALID,
        detail=" ".join(_ended(mistake) for mistake in shown),
        remedy="Mend what is named; nothing has been changed.",
        members={"mistakes": mistakes},
    )


def _clipped(mistake: str) -> str:
    return mistake if len(mistake) <= MISTAKE_CHARS_MAX else f"{mistake[:MISTAKE_CHARS_MAX]}…"


def order_of(scope: Scope) -> type[Any] | None:
    """The order that the route of this request takes as its body."""
    endpoint = scope.get("endpoint")
    hints = get_type_hints(endpoint) if endpoint is not None else {}
    orders = (hint for hint in hints.values() if hasattr(hint, "__pydantic_config__"))
    return next(orders, None)


@cache
def fields_of(order: type[Any]) -> tuple[str, ...]:
    """As they are called in JSON."""
    return tuple(sorted(TypeAdapter(order).json_schema()["properties"]))


def _mistake(error: Mapping[str, Any], order: type[Any] | None) -> dict[str, str]:
    place: Sequence[str | int] = error["loc"]
    name = ".".join(clip(str(part)) for part in place[1:])
    if error["type"] == "json_invalid":
        return {"field": "", "message": _malformed(error)}
    if not name and error["type"] in BODY_MISSED:
        return {"field": "", "message": BODY_MISSED[error["type"]]}
    if error["type"] == "missing":
        return {"field": name, "message": "is required"}
    if error["type"] in UNKNOWN_FIELD:
        return {"field": name, "message": _unknown(name, order)}
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return {"field": name, "message": message}


def _malformed(error: Mapping[str, Any]) -> str:
    return f"the body is not JSON: {error['ctx']['error']} at character {error['loc'][1]}"


def _unknown(name: str, order: type[Any] | None) -> str:
    known = fields_of(order) if order is not None else ()  # type: ignore[arg-type]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"is not known; did you mean {near[0]}?"
    return f"is not known; known are {', '.join(known)}"


def _sentence(mistake: Mapping[str, str]) -> str:
    text = f"{mistake['field']} {mistake['message']}".strip()
    return _ended(text if mistake["field"] else f"{text[0].upper()}{text[1:]}")


def _ended(text: str) -> str:
    return text if text.endswith(("?", ".")) else f"{text}."
