"""How values become columns and JSON, and how they are read again.

Reading forgives what a newer release may have added or an older one may have lacked (an unknown
key is dropped, a missing one gets its default), and nothing else: what says something impossible
raises `Unreadable`, and is for the caller to report.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

SHAPE_VERSION = 1  # of the JSON; grows only when a key changes its meaning, not when one is added

T = TypeVar("T")


class Unreadable(ValueError):
    """A row does not say what a row of its table must say."""


def instant(at: datetime) -> str:
    """UTC with a fixed number of digits, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def to_column(value: object) -> object:
    """As SQLite takes it."""
    match value:
        case str():
            return _text(value)
        case datetime():
            return instant(value)
        case tuple():
            return _text(json.dumps(value, ensure_ascii=False))
        case bool():
            return int(value)
        case _:
            return value


def to_json(adapter: TypeAdapter[T], value: T) -> str:
    # Any kind of Mapping will do; pydantic knows only dict by itself, and warns of the others.
    fields = adapter.dump_python(value, mode="json", fallback=dict, warnings=False)
    return _text(json.dumps({"shape": SHAPE_VERSION, **fields}, ensure_ascii=False))


def read_json(adapter: TypeAdapter[T], text: str) -> T:
    fields = from_json(text)
    if not isinstance(fields, dict) or not isinstance(fields.get("shape"), int):
        raise Unreadable("it has no shape version")
    if fields["shape"] > SHAPE_VERSION:
        raise Unreadable(f"its shape {fields['shape']} is of a newer orchestrator")
    return adapter.validate_python(fields)


def readable(read: Callable[[], T]) -> T:
    """Perform one reading, with its failure in one sentence."""
    try:
        return read()
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Unreadable(f"{place}: {first['msg']}" if place else first["msg"]) from invalid
    except (ValueError, TypeError) as broken:  # not JSON, or not even text
        raise Unreadable(str(broken)) from broken


def _text(text: str) -> str:
    """Text from a log may hold halves of characters (surrogates), which UTF-8 has not."""
    return text.encode("utf-8", "replace").decode("utf-8")
