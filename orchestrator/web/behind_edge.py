"""Requests that our own edge passes on: whom they are of, as it says.

It comes over a socket that only it can open. What other callers say in its headers is nothing.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.web.connection import CALLER

CLIENT = b"x-edge-client"  # its address
TRIED = b"x-edge-tried"  # the edge has asked the model's server, which did not answer
ALREADY_ASKED = "already_asked"  # in scope["extensions"][CALLER]
ADDRESS_CHARS_MAX = 64
_OURS = frozenset({CLIENT, TRIED})


class BehindEdge:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["extensions"][CALLER]["connection"].from_edge:
            scope = read(scope)
        await self._app(scope, receive, send)


def read(scope: Scope) -> Scope:
    """With what the edge says in its place, and without its headers."""
    said = {name: value for name, value in scope["headers"] if name in _OURS}
    headers = [header for header in scope["headers"] if header[0] not in _OURS]
    address = said.get(CLIENT, b"").decode("latin-1")[:ADDRESS_CHARS_MAX]
    caller = {**scope["extensions"][CALLER], ALREADY_ASKED: bool(said.get(TRIED))}
    return {
        **scope,
        "headers": headers,
        "client": (address, 0),
        "extensions": {**scope["extensions"], CALLER: caller},
    }
