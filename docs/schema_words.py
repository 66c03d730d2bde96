"""JSON Schema in words: what a table says of a key, a field or a parameter."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

PLAIN = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}
# pydantic names the bounds of a value that is cleaned first in its own words.
LEAST = (("minimum", "from"), ("ge", "from"), ("exclusiveMinimum", "above"), ("gt", "above"))
MOST = ("maximum", "le")
UNBOUNDED = 1 << 62  # such a limit is the number type's, not ours


def code(value: object) -> str:
    return f"`{value}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are text of one line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def chosen(values: Iterable[object]) -> str:
    return "one of " + ", ".join(code(value) for value in values)


def resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Follow a reference, keeping what is said beside it."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return {**definitions[reference.rpartition("/")[2]], **beside}


def type_words(schema: Schema, definitions: Mapping[str, Schema], linked: Mapping[str, str]) -> str:
    """The type with its bounds. `linked` says where a shape is described, by its name."""
    name = schema.get("$ref", "").rpartition("/")[2]
    if name in linked:
        return f"[{name}]({linked[name]})"
    schema = resolved(schema, definitions)
    choices = [each for each in _choices(schema) if each.get("type") != "null"]
    if choices:
        return " or ".join(type_words(each, definitions, linked) for each in choices)
    if "enum" in schema:
        return chosen(schema["enum"])
    if "const" in schema:
        return code(json.dumps(schema["const"]).strip('"'))
    match schema.get("type"):
        case "array":
            return f"list of {type_words(schema['items'], definitions, linked)}"
        case "object":
            value = schema.get("additionalProperties")
            if isinstance(value, Mapping) and value:
                return f"map of name to {type_words(value, definitions, linked)}"
            return "object"
        case plain:
            return PLAIN[str(plain)] + _bounds(schema)


def _choices(schema: Schema) -> Sequence[Schema]:
    found: Sequence[Schema] = schema.get("anyOf", schema.get("oneOf", ()))
    return found


def nullable(schema: Schema, definitions: Mapping[str, Schema]) -> bool:
    schema = resolved(schema, definitions)
    return any(each.get("type") == "null" for each in _choices(schema))


def _bounds(schema: Schema) -> str:
    least = next((f"{word} {_number(schema[key])}" for key, word in LEAST if key in schema), "")
    upper = next((schema[key] for key in MOST if key in schema), None)
    most = "" if upper is None or upper > UNBOUNDED else f"to {_number(upper)}"
    said = " ".join(filter(None, (least, most)))
    return f", {said}" if said else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def with_nulls(example: Any, schema: Schema, definitions: Mapping[str, Schema]) -> Any:
    """The example with the fields that are null in it: the OpenAPI document leaves them out."""
    schema = resolved(schema, definitions)
    for choice in _choices(schema):
        if example is not None and choice.get("type") != "null":
            return with_nulls(example, choice, definitions)
    if isinstance(example, list):
        return [with_nulls(each, schema.get("items", {}), definitions) for each in example]
    if not isinstance(example, Mapping):
        return example
    fields = schema.get("properties")
    if fields is None:
        value = schema.get("additionalProperties")
        inner = value if isinstance(value, Mapping) else {}
        return {name: with_nulls(each, inner, definitions) for name, each in example.items()}
    required = schema.get("required", ())
    names = [name for name in fields if name in example or name in required]
    return {name: with_nulls(example.get(name), fields[name], definitions) for name in names}


def default_words(schema: Schema, *, required: bool) -> str:
    if required:
        return "required"
    value = schema.get("default")
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return code(value) if isinstance(value, str) else code(json.dumps(value))
