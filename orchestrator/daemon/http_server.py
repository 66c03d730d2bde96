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

from orchestrator.web.connection import HttpConnection, connection_class

BACKLOG = 2048  # callers that connect at the same moment, as after a restart
ANSWER_S = 0.4  # for requests that are being answered when the daemon ends: most take milliseconds
GOODBYE_S = 0.3  # for the last answers to leave: on one network they take milliseconds
LOOK_S = 0.01
LINGER_S = 0.5  # a refused caller has read its answer by then
LINGERING_PART = 4  # beside those that are served, a quarter as many are told that they are not


def bounded(connections_max: int, refusal: bytes) -> type[HttpConnection]:
    """HTTP for so many connections at once. Those beyond get the refusal and are closed.

    Some of these may linger, so that the refusal is not lost with what they have sent; no more are
    kept than that, so that no number of callers takes the last descriptor.
    """
    lingering_max = max(1, connections_max // LINGERING_PART)
    lingering = 0

    class Bounded(HttpConnection):
        too_many = lingers = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            nonlocal lingering
            super().connection_made(transport)
            if len(self.connections) <= connections_max:
                return
            self.connections.discard(self)
            self.too_many = True
            transport.write(refusal)
            if lingering >= lingering_max:
                transport.close()
                return
            self.lingers = True
            lingering += 1
            self.loop.call_later(LINGER_S, transport.close)

        def data_received(self, data: bytes) -> None:
            if not self.too_many:
                super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            nonlocal lingering
            if self.lingers:
                lingering -= 1
            super().connection_lost(exc)

    return connection_class(Bounded)


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers (the daemon has its own), and with an end of its own."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        connections_max: int = BACKLOG,
        refusal: bytes = b"",
        edge: socket.socket | None = None,
    ) -> None:
        """A connection beyond `connections_max` hears the `refusal`, a whole HTTP response. `edge`
        is where our own nginx asks, a socket that listens.
        """
        self._edge = edge
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded(connections_max, refusal),
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                proxy_headers=False,  # web/behind_edge.py believes our own edge, and nobody else
                server_header=False,
                backlog=BACKLOG,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._edge is None:
            return
        loop = asyncio.get_running_loop()
        self.servers.append(
            await loop.create_unix_server(self._connection, sock=self._edge, backlog=BACKLOG)
        )

    def _connection(self) -> asyncio.Protocol:
        protocol = self.config.http_protocol_class
        return protocol(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
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
