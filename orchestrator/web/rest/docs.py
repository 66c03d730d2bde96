"""What the OpenAPI document says about answers, and the pages that show it without a CDN."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse
from pydantic import TypeAdapter
from typing_extensions import is_typeddict

from orchestrator.config.bodies import ONLY_IN_FILE
from orchestrator.config.sections import ModelEntry
from orchestrator.web.rest.policy import page_headers
from orchestrator.web.wire import error_shapes
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, clip, encode
from orchestrator.web.wire.examples import ERRORS

STATIC = Path(__file__).parents[1] / "static"
ASSETS: Mapping[str, str] = {
    "docs.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "LICENSE.swagger-ui.txt": "text/plain",
}
# Swagger puts its icons into its style sheet and its pictures as data.
HEADERS: Mapping[str, str] = page_headers("img-src 'self' data:", policies="default dompurify")
NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
EVERY_ROUTE = (401, 403, 421, 429)
EVERY_WRITE = (403, 413, 415, 421, 422)
EVENT_STREAM: dict[str, Any] = {
    "text/event-stream": {"schema": {"type": "string"}, "example": "data: {…}\n\n"}
}
_SCHEMAS = "#/components/schemas/"
_SHAPES: dict[str, Any] = {}  # what routes answer with, by the name it has in the document

router = APIRouter(include_in_schema=False)


def answers(
    shape: Any, example: object, *errors: int, status: int = 200, **more: dict[str, Any]
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its answer, and the errors it may give instead."""
    content = {"application/json": _content(shape, example), **more}
    documented: dict[int | str, dict[str, Any]] = {
        status: {"description": "As asked", "content": content}
    }
    return documented | error_responses(*errors)


def error_responses(*errors: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {
            "description": ERRORS[status][0],
            "content": {"application/json": _content(error_shapes.ErrorBody, ERRORS[status][1])},
        }
        for status in sorted({*errors, *EVERY_ROUTE})
    }


def streamed(*errors: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that only streams."""
    return error_responses(*errors) | {200: {"description": "Events", "content": EVENT_STREAM}}


def _content(shape: Any, example: object) -> dict[str, Any]:
    """By name: a schema is worked out when the document is read, not at every start."""
    if not is_typeddict(shape):
        return {"schema": {"type": "object"}, "example": example}
    _SHAPES[shape.__name__] = shape
    return {"schema": {"$ref": _SCHEMAS + shape.__name__}, "example": example}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. Blocking: some tenths of a second the first time."""
    if app.openapi_schema is None:
        described = app.openapi()
        mode: Literal["serialization"] = "serialization"
        adapters = [(name, mode, TypeAdapter(shape)) for name, shape in _SHAPES.items()]
        _, defined = TypeAdapter.json_schemas(adapters, ref_template=f"{_SCHEMAS}{{model}}")
        components = described.setdefault("components", {}).setdefault("schemas", {})
        components.update(sorted(defined["$defs"].items()))
        _describe_entry(described, components)
        described["paths"].update(app.state.beside())
    assert app.openapi_schema is not None
    return app.openapi_schema


def _describe_entry(described: dict[str, Any], components: dict[str, Any]) -> None:
    """`PUT /models/{name}` takes what the file does, but for what only the file may say."""
    entry = TypeAdapter(ModelEntry).json_schema(ref_template=f"{_SCHEMAS}{{model}}")
    components.update(entry.pop("$defs"))
    for name in ONLY_IN_FILE:
        del entry["properties"][name]
    body = described["paths"]["/models/{name}"]["put"]["requestBody"]["content"]["application/json"]
    body["schema"] = {**entry, "examples": body["schema"]["examples"]}


@router.get("/openapi.json")
def openapi(request: Request) -> Response:
    return Response(encode(document(request.app)), media_type="application/json")


@router.get("/docs")
async def docs() -> FileResponse:
    return FileResponse(STATIC / "docs.html", media_type="text/html", headers=HEADERS)


@router.get("/docs/{asset}")
async def asset(asset: str) -> FileResponse:
    media_type = ASSETS.get(asset)
    if media_type is None:
        raise Answered(
            ErrorAnswer(code=WebCode.NOT_FOUND, detail=f"There is no {clip(asset)} here.")
        )
    return FileResponse(
        STATIC / asset, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"}
    )
