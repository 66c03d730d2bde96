"""Reads a JSON body so that no body, however made, is more than a 422.

FastAPI would answer a nesting bomb or a number without end with a bare 400, and take NaN for a
number. Here every such thing is malformed JSON, with its place.
"""

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from orchestrator.web.acts import ACTS
from orchestrator.web.audited import before_acting

DEPTH_MAX = 32  # the deepest body of the contract has 4 levels


class JsonRequest(Request):
    """A request whose `json` refuses what RFC 8259 or plain sense refuses."""

    async def json(self) -> Any:
        raw = await self.body()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise json.JSONDecodeError("not UTF-8", "", error.start) from error
        return parse(text)


class JsonRoute(APIRoute):
    """Takes the body in before FastAPI does: a body over the limit keeps its own error.

    What an act is called with goes to the audit log first.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        acts = any((method, path) in ACTS for method in more.get("methods") or ())
        super().__init__(path, _audited(endpoint) if acts else endpoint, **more)

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            strict = JsonRequest(request.scope, request.receive)
            try:
                await strict.body()
                return await answer(strict)
            except ClientDisconnect:
                return Response(status_code=400)  # the caller is gone

        return handle


def _audited(endpoint: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    @wraps(endpoint)
    async def acting(**values: Any) -> Response:
        await before_acting(values)
        return await endpoint(**values)

    return acting


def parse(text: str, *, depth_max: int = DEPTH_MAX) -> object:
    """Raise JSONDecodeError for what is not sensible JSON."""

    def refuse_constant(name: str) -> float:
        raise json.JSONDecodeError(f"{name} is not JSON", text, max(text.find(name), 0))

    def finite(number: str) -> float:
        value = float(number)
        if value in (float("inf"), float("-inf")):
            raise json.JSONDecodeError("number out of range", text, text.find(number))
        return value

    try:
        value = json.loads(text, parse_constant=refuse_constant, parse_float=finite)
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise json.JSONDecodeError("number too long", text, 0) from error
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text, 0) from error
    if text.count("[") + text.count("{") > depth_max and _depth(value) > depth_max:
        raise json.JSONDecodeError("nested too deeply", text, 0)
    return value


def _depth(value: object) -> int:
    """How deep the value is nested, without recursion."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            child
            for node in level
            for child in (
                node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
            )
            if isinstance(child, dict | list)
        ]
    return deepest
