"""Over HTTP the tools answer to this machine's own names alone (R16), not to pages of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from orchestrator.web.guard import host_allowed, host_name

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class OwnNames:
    """Middleware: the names are those that `guard.host_allowed` lets pass, and `served`."""

    def __init__(self, app: ASGIApp, served: str) -> None:
        self._app = app
        self._served = frozenset({served.lower()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            app = refusal
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None or not host_allowed(name, self._served):
            return PlainTextResponse(
                "The tools do not answer to this Host. Call them by an address, or serve them at "
                "the name: orchestrator mcp --http NAME:PORT\n",
                status_code=421,
            )
        own = f"{scope['scheme']}://{hosts[0]}".lower()
        if any(origin.lower() != own for origin in headers.getlist("origin")):
            return PlainTextResponse(
                "Pages of another origin get no tools: ask from a program.\n", status_code=403
            )
        return None
