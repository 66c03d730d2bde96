"""Who is still being answered when the daemon ends hears that, and is not left with a cut line.

The core refuses all who wait for it. This is for those who wait elsewhere: for a file that is
being read, for a body that does not come, for a disk. The server cancels their requests.
"""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.core.life.grants import shutting_down
from orchestrator.web.wire.error_answers import error_of, respond


class Ending:
    """Middleware round the whole application. A request is cancelled by the server's end alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_noted(message: Message) -> None:
            nonlocal begun
            await send(message)
            begun = True

        try:
            await self._app(scope, receive, send_noted)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            if not begun:
                with suppress(RuntimeError):  # it takes no answer, and was cut meanwhile
                    await respond(error_of(shutting_down()), scope)(scope, receive, send)
