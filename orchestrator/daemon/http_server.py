"""How the daemon serves HTTP, and how that ends.

At the end nobody is kept: what can be answered is, who still waits after `ANSWER_S` hears that the
daemon ends (`web/ending.py` says it), and who takes no answer is cut.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.web.connection import connection_class

BACKLOG = 2048  # callers that connect at the same moment, as after a restart
ANSWER_S = 0.4  # for requests that are being answered when the daemon ends: most take milliseconds
GOODBYE_S = 0.3  # for the last answers to leave: on one network they take milliseconds
LOOK_S = 0.01


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers (the daemon has its own), and with an end of its own."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=connection_class(),
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                proxy_headers=False,  # believed only from an edge of ours, and there is none yet
                server_header=False,
                backlog=BACKLOG,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Return when no connection is left, after ANSWER_S and twice GOODBYE_S at most."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol):
                connection.pipeline.clear()  # requests behind the one that is being answered
            connection.shutdown()
        await self._until_all_have_left(ANSWER_S)
        for answering in list(self.server_state.tasks):
            answering.cancel()
        await self._until_all_have_left(GOODBYE_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # it takes no answer
        await self._until_all_have_left(GOODBYE_S)

    async def _until_all_have_left(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        while loop.time() < ends_s:
            if not self.server_state.connections and not self.server_state.tasks:
                return
            await asyncio.sleep(LOOK_S)
