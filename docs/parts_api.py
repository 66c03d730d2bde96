"""The API reference, from the OpenAPI document that the daemon serves."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from docs.schema_words import (
    Schema,
    code,
    default_words,
    nullable,
    resolved,
    table,
    type_words,
    with_nulls,
)
from docs.sentences import sentence
from orchestrator.config.adapters import ScaledAdapter
from orchestrator.config.expected_section import ExpectedSpeeds
from orchestrator.config.sections import ModelEntry
from orchestrator.core.values.specs import FakeBehaviour
from orchestrator.desk.desk import Desk
from orchestrator.gateway.described import described as asked_of_models
from orchestrator.web.app import TAGS, create_app
from orchestrator.web.rest.docs import document

GUARDED = {"403", "413", "415", "421"}  # any route's, before anything is read (R16)
EXAMPLE = "application/json"
ERROR = "ErrorBody"  # has a page of its own
NO_ANSWERS = {ERROR, FakeBehaviour.__name__, ExpectedSpeeds.__name__, ScaledAdapter.__name__}


@cache
def described() -> dict[str, Any]:
    """The OpenAPI document, with the route that only fake devices have."""
    desk = cast("Desk", SimpleNamespace(fake_devices=object()))  # nothing else is asked of it here
    return document(create_app(desk))


def parts() -> Mapping[str, Callable[[], str]]:
    return {
        "api routes": _overview,
        "api shapes": _shapes,
        "api event kinds": _kinds,
        "api gateway": _gateway,
        **{f"api {tag}": lambda tag=tag: _tag(tag) for tag in TAGS},
    }


def _definitions() -> Mapping[str, Schema]:
    found: Mapping[str, Schema] = described()["components"]["schemas"]
    return found


@cache
def answer_shapes() -> Mapping[str, str]:
    """Shapes that answers are made of, with the anchors of their headings."""
    bodies = {_body_schema(route).get("$ref", "").rpartition("/")[2] for *_, route in _routes()}
    names = (
        name
        for name, each in _definitions().items()
        if "properties" in each and name not in bodies and name not in NO_ANSWERS
    )
    return {name: f"#{name.lower()}" for name in sorted(names)}


def _body_schema(route: dict[str, Any]) -> Schema:
    content = route.get("requestBody", {}).get("content", {})
    found: Schema = content.get(EXAMPLE, {}).get("schema", {})
    return found


def _routes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described()["paths"].items():
        for method, route in methods.items():
            yield method.upper(), path, route


def anchor(method: str, path: str) -> str:
    kept = "".join(c for c in f"{method} {path}".lower() if c.isalnum() or c in "-_ ")
    return kept.replace(" ", "-")


def _overview() -> str:
    order = {tag: index for index, tag in enumerate(TAGS)}
    routes = sorted(_routes(), key=lambda each: order[each[2]["tags"][0]])
    rows = (
        (f"[`{method} {path}`](#{anchor(method, path)})", route["summary"])
        for method, path, route in routes
    )
    return table(("Route", "Does"), rows)


def _tag(tag: str) -> str:
    return "\n\n".join(
        _route(method, path, route) for method, path, route in _routes() if tag in route["tags"]
    )


def _route(method: str, path: str, route: dict[str, Any]) -> str:
    said = [f"### {method} {path}", f"**{route['summary']}.**", route.get("description", "")]
    said += [_parameters(route), _body(route)]
    good = {status: each for status, each in route["responses"].items() if status < "300"}
    for status, each in sorted(good.items()):
        said.append(_answer(status, each))
    said.append(_refusals(route))
    return "\n\n".join(filter(None, said))


def _parameters(route: dict[str, Any]) -> str:
    asked = [each for each in route.get("parameters", ()) if each["in"] != "path"]
    if not asked:
        return ""
    rows = (
        (
            code(each["name"]),
            each["in"],
            type_words(each["schema"], _definitions(), {}),
            default_words(each["schema"], required=each["required"]),
            sentence("parameters", f"{route['tags'][0]}.{each['name']}", each["name"]),
        )
        for each in asked
    )
    return table(("Parameter", "In", "Values", "Default", "Meaning"), rows)


def _body(route: dict[str, Any]) -> str:
    schema = resolved(_body_schema(route), _definitions())
    if not schema:
        return ""
    example = next(iter(schema.get("examples", ())), None)
    shown = f"```json\n{json.dumps(example)}\n```" if example else ""
    if schema["title"] == ModelEntry.__name__:
        return (
            f"The body has the keys of a model in the [configuration](config.md#models).\n\n{shown}"
        )
    required = schema.get("required", ())
    rows = (
        (
            code(name),
            type_words(each, _definitions(), {}),
            default_words(each, required=name in required),
            each.get("description") or sentence("fields", f"{schema['title']}.{name}", name),
        )
        for name, each in schema["properties"].items()
    )
    return f"{table(('Field', 'Values', 'Default', 'Meaning'), rows)}\n\n{shown}"


def _answer(status: str, answer: dict[str, Any]) -> str:
    content = answer.get("content", {})
    if "text/event-stream" in content and EXAMPLE not in content:
        return f"Answers {status} with a stream of events (`text/event-stream`)."
    if EXAMPLE not in content:
        return f"Answers {status} without a body."
    schema = content[EXAMPLE]["schema"]
    name = schema.get("$ref", "").rpartition("/")[2]
    shape = f" with [{name}](#{name.lower()})" if name else ""
    whole = with_nulls(content[EXAMPLE]["example"], content[EXAMPLE]["schema"], _definitions())
    example = json.dumps(whole, indent=2, ensure_ascii=False)
    return f"Answers {status}{shape}:\n\n```json\n{example}\n```"


def _refusals(route: dict[str, Any]) -> str:
    statuses = sorted(s for s in route["responses"] if s >= "400" and s not in GUARDED)
    if not statuses:
        return ""
    return f"May be refused with {', '.join(statuses)}; see [errors](errors.md#codes)."


def fields_of(name: str, page: str = "") -> str:
    """The fields of a shape, for a page that is not this reference's own if one is named."""
    schema = _definitions()[name]
    linked = {shape: f"{page}{anchor}" for shape, anchor in answer_shapes().items()}
    required = schema.get("required", ())
    rows = []
    for field, each in schema["properties"].items():
        words = type_words(each, _definitions(), linked)
        if nullable(each, _definitions()):
            words += " or null"
        if field not in required:
            words += "; not always there"
        rows.append((code(field), words, sentence("fields", f"{name}.{field}", field)))
    return table(("Field", "Type", "Meaning"), rows)


def _gateway() -> str:
    """Which paths are a model's, by whose clients know them."""
    rows: dict[tuple[str, str], list[str]] = {}
    for method, path, route in _asked_of_models():
        rows.setdefault((route["tags"][0], route["summary"]), []).append(f"`{method} {path}`")
    return table(
        ("Of", "Asked for", "At"),
        ((tag, summary, ", ".join(paths)) for (tag, summary), paths in rows.items()),
    )


def _asked_of_models() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in asked_of_models().items():
        for method, route in methods.items():
            yield method.upper(), path, route


def _shapes() -> str:
    return "\n\n".join(f"### {name}\n\n{fields_of(name)}" for name in answer_shapes())


def _kinds() -> str:
    kinds = _definitions()["DecisionKind"]["enum"]
    return table(("Kind", "Said when"), ((code(each), sentence("kinds", each)) for each in kinds))
