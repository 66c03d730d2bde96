"""What the OpenAPI document says about answers, and the pages that show it without a CDN."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from orchestrator.web import shapes
from orchestrator.web.denials import Declined, Denial, WebCode, clip, encode
from orchestrator.web.examples import ERRORS

STATIC = Path(__file__).parent / "static"
ASSETS: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "LICENSE.swagger-ui.txt": "text/plain",
}
EVERY_ROUTE = (421,)
EVERY_WRITE = (403, 413, 415, 421, 422)
EVENT_STREAM: dict[str, Any] = {
    "text/event-stream": {"schema": {"type": "string"}, "example": "data: {…}\n\n"}
}
ERROR_SCHEMA = {"$ref": "#/components/schemas/ErrorBody"}

router = APIRouter(include_in_schema=False)


def answers(
    shape: Any, example: object, *errors: int, status: int = 200, **more: dict[str, Any]
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its answer, and the errors it may give instead."""
    json_content: dict[str, Any] = {"example": example}
    documented: dict[int | str, dict[str, Any]] = {
        status: {
            "model": shape,
            "description": "As asked",
            "content": {"application/json": json_content, **more},
        }
    }
    return documented | denied(*errors)


def denied(*errors: int) -> dict[int | str, dict[str, Any]]:
    return {
        each: {
            "model": shapes.ErrorBody,
            "description": ERRORS[each][0],
            "content": {"application/json": {"example": ERRORS[each][1]}},
        }
        for each in sorted({*errors, *EVERY_ROUTE})
    }


def streamed(*errors: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that only streams; FastAPI would call its errors events too."""
    documented: dict[int | str, dict[str, Any]] = {
        status: {
            "description": ERRORS[status][0],
            "content": {"application/json": {"schema": ERROR_SCHEMA, "example": ERRORS[status][1]}},
        }
        for status in sorted({*errors, *EVERY_ROUTE})
    }
    return documented | {200: {"description": "Events", "content": EVENT_STREAM}}


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    return Response(encode(request.app.openapi()), media_type="application/json")


@router.get("/docs")
async def docs() -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="VRAM Orchestrator",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="data:,",
        # Else the page shows the document to a validator on the internet.
        swagger_ui_parameters={"validatorUrl": None},
    )


@router.get("/docs/{asset}")
async def asset(asset: str) -> FileResponse:
    media_type = ASSETS.get(asset)
    if media_type is None:
        raise Declined(Denial(code=WebCode.NOT_FOUND, detail=f"There is no {clip(asset)} here."))
    return FileResponse(STATIC / asset, media_type=media_type)
