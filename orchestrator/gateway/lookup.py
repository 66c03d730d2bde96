"""Which streams can be gone on with: asked of the servers that lead these conversations."""

import asyncio

from pydantic_core import from_json, to_json

from orchestrator.gateway.asked import Asked
from orchestrator.gateway.exchange import Exchanges
from orchestrator.gateway.members import NotAnObject, check_parts
from orchestrator.gateway.routes import Route
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode

ASKED_MAX = 1000  # conversations of one question


async def look_up(exchanges: Exchanges, asked: Asked, body: bytes) -> bytes:
    """The sessions that are known for `conversation_ids`, as llama-server lists them. Nothing is
    loaded for it: a server that is not ready leads none. Raise Answered.
    """
    by_route: dict[Route, list[str]] = {}
    for conversation in _conversations(body):
        model = exchanges.makers.of(conversation)
        anothers = exchanges.makers.is_anothers(conversation, asked.rights)
        seen = model is not None and asked.rights.sees(model) and not anothers
        route = exchanges.routes.find(model) if seen and model is not None else None
        if route is not None:
            by_route.setdefault(route, []).append(conversation)
    found = await asyncio.gather(
        *(exchanges.sessions(route, asked, ids) for route, ids in by_route.items())
    )
    return to_json([session for sessions in found for session in sessions])


def _conversations(body: bytes) -> list[str]:
    try:
        check_parts(body)
        said = from_json(body)
    except (NotAnObject, ValueError):
        said = None
    ids = said.get("conversation_ids") if isinstance(said, dict) else None
    if not isinstance(ids, list) or len(ids) > ASKED_MAX or not all(map(_is_text, ids)):
        detail = f"conversation_ids must be a list of at most {ASKED_MAX} strings."
        raise Answered(ErrorAnswer(code=WebCode.INVALID, detail=detail))
    return ids


def _is_text(value: object) -> bool:
    return isinstance(value, str)
