"""Validates plain values against the shape of a section, and says every mistake in words.

What is wrong is cut out and the rest is validated again, so that a wrong type in one place does
not hide an unknown service in another.
"""

import copy
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.config.yaml_lines import KeyPath, Mistake, Plain

ROUNDS_MAX = 8  # a round cuts out all that is wrong; a second one is needed after a missing key
SHOWN_CHARS_MAX = 60  # of a wrong value: enough to recognise it
KNOWN_KEYS_SHOWN_MAX = 30  # a model has some more than thirty; a longer list is not read

Schema = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Validated(Generic[T]):
    """`value` holds what was right; None if nothing is left without what was wrong."""

    value: T | None
    mistakes: tuple[Mistake, ...]
    cut: frozenset[KeyPath]  # what is missing in `value` because it was wrong

    def doubts(self, where: KeyPath) -> bool:
        """Whether a mistake at that place, or around it, has been said already."""
        return any(where[: len(cut)] == cut for cut in self.cut)


@cache
def schema_of(adapter: TypeAdapter[T]) -> Schema:
    """Worked out once, and only where it is asked for: it takes longer than a whole file."""
    return adapter.json_schema()


def validate(adapter: TypeAdapter[T], content: Mapping[str, Plain]) -> Validated[T]:
    """Never raises."""
    left: dict[str, Plain] = copy.deepcopy(dict(content))
    mistakes: list[Mistake] = []
    cut: set[KeyPath] = set()
    for _ in range(ROUNDS_MAX):
        try:
            value = adapter.validate_json(json.dumps(left), strict=True)
            return Validated(value, tuple(mistakes), frozenset(cut))
        except ValidationError as error:
            wrong = [(_place(detail, left), detail) for detail in error.errors(include_url=False)]
        schema = schema_of(adapter)
        mistakes += [Mistake(where, _sentence(detail, where, schema)) for where, detail in wrong]
        doomed = {_stem(where, detail) for where, detail in wrong}
        if () in doomed:
            break
        for where in doomed:
            _remove(left, where)
        cut |= doomed
    return Validated(None, tuple(mistakes), frozenset({()}))


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` for a mistyped word; empty if no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def shown(value: object) -> str:
    """A wrong value, so that it can be recognised."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[: SHOWN_CHARS_MAX - 1]}…"


def properties_at(schema: Schema, where: KeyPath) -> Mapping[str, Schema]:
    """The keys that may stand in the mapping at `where`."""
    node = _open(schema, schema)
    for part in where:
        properties = _mapping(node.get("properties"))
        following = properties.get(str(part), node.get("additionalProperties", node.get("items")))
        node = _open(_mapping(following), schema)
    return {name: _mapping(key) for name, key in _mapping(node.get("properties")).items()}


def _open(node: Schema, root: Schema) -> Schema:
    """Follow references, and the choice that is a mapping where there is one."""
    while True:
        choices = node.get("anyOf", node.get("oneOf"))
        if isinstance(choices, list):
            opened = [_open(_mapping(choice), root) for choice in choices]
            return next((choice for choice in opened if choice.get("type") == "object"), {})
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return node
        node = _mapping(_mapping(root.get("$defs")).get(reference.rpartition("/")[2]))


def _mapping(node: object) -> Schema:
    return node if isinstance(node, Mapping) else {}


def _place(error: ErrorDetails, content: Mapping[str, Plain]) -> KeyPath:
    """Where in the content the error is. pydantic's own path also names branches of unions."""
    where: list[str | int] = []
    here: Plain = dict(content)
    for part in error["loc"]:
        if isinstance(here, dict) and part in here:
            here = here[str(part)]
        elif isinstance(here, list) and isinstance(part, int):
            here = here[part]
        elif not (error["type"] == "missing" and part == error["loc"][-1]):
            continue
        where.append(part)
    return tuple(where)


def _stem(where: KeyPath, error: ErrorDetails) -> KeyPath:
    """What must go: all of a mapping that lacks a key, all of a list with something wrong in it."""
    stem = where[:-1] if error["type"] == "missing" else where
    for length, part in enumerate(stem):
        if isinstance(part, int):
            return stem[:length]
    return stem


def _remove(content: dict[str, Plain], where: KeyPath) -> None:
    here: Plain = content
    for part in where[:-1]:
        if not isinstance(here, dict):  # something around it has been cut out already
            return
        here = here.get(str(part))
    if isinstance(here, dict):
        here.pop(str(where[-1]), None)


_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text (in quotes, if it looks like a number)",
    "tuple_type": "a list, such as [a, b]",
    "dict_type": "a mapping of keys",
    "mapping_type": "a mapping of keys",
    "dataclass_type": "a mapping of keys",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def _sentence(error: ErrorDetails, where: KeyPath, schema: Schema) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "is required"
    if kind in {"unexpected_keyword_argument", "extra_forbidden"}:
        return _unknown_key(str(where[-1]), sorted(properties_at(schema, where[:-1])))
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}, not {shown(value)}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"must be {words} {context[key]:g}, not {shown(value)}"
    if kind == "enum":
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"must be {context['expected']}, not {shown(value)}{nearest(str(value), known)}"
    if kind == "string_pattern_mismatch":
        return f"has characters that do not belong there: {shown(value)}"
    if kind in {"string_too_short", "string_too_long"}:
        return f"must be text of 1 to {context.get('max_length', 'a few')} characters"
    return f"is not right: {error['msg']}"


def _unknown_key(key: str, known: Sequence[str]) -> str:
    guess = nearest(key, known)
    if guess:
        return f"is not a known key{guess}"
    return f"is not a known key; known here are {', '.join(known[:KNOWN_KEYS_SHOWN_MAX])}"
