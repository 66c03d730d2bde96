"""The figures as Prometheus reads them."""

from typing import Any

from fastapi import APIRouter, Request, Response

from orchestrator.web.rest.docs import error_responses

TEXT = "text/plain; version=0.0.4; charset=utf-8"
EXAMPLE = 'orchestrator_residents{state="ready"} 2.0\n'
AS_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}}

router = APIRouter(tags=["daemon"])


@router.get(
    "/metrics",
    summary="Figures, as Prometheus reads them",
    response_class=Response,
    responses=error_responses() | {200: {"description": "As asked", "content": AS_TEXT}},
)
async def metrics(request: Request) -> Response:
    """From memory: reading them touches no device, no server and no idle timer."""
    return Response(await request.app.state.figures(), media_type=TEXT)
