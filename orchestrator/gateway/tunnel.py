"""A connection that becomes another protocol's, as a WebSocket does: its bytes pass both ways.

The server's own answer to the change, 101 or a refusal, passes without the headers that speak for
the daemon's address, and like all that follows. Where it is a refusal nothing more of the client
does: that would be other requests, which nobody has looked at.
"""

import asyncio
from urllib.parse import urlsplit

from orchestrator.gateway.answer_headers import head_passed_on
from orchestrator.gateway.asked import Asked, Headers
from orchestrator.web.connection import HttpConnection

CONNECT_S = 5.0
PENDING_BYTES_MAX = 1 << 20  # that one side has sent and the other has not taken
EARLY_BYTES_MAX = 64 << 10  # that a client sends before its server has agreed
HEAD_BYTES_MAX = 64 << 10  # of the server's answer to the change
_CHANGED = b"HTTP/1.1 101"  # how an answer begins that agrees to the change
_DECLINED = frozenset({b"h2c", b"h2"})
_NONE: frozenset[bytes] = frozenset()
_OURS = frozenset(
    {b"host", b"authorization", b"x-api-key", b"cookie", b"origin", b"content-length"}
)


def wants_tunnel(headers: Headers) -> bool:
    """Whether a request asks to speak another protocol from then on.

    HTTP/2 is declined by an answer in this one: programs in Java offer it with whatever they ask.
    """
    return any(each not in _DECLINED for each in _offered(headers)) and not _has_body(headers)


def loses_body(headers: Headers) -> bool:
    """Whether what follows the head is no body to our parser: it is the other protocol's."""
    return bool(_offered(headers)) and _has_body(headers)


def _offered(headers: Headers) -> frozenset[bytes]:
    """The protocols that a request offers to go on in."""
    if not any(name == b"upgrade" for name, _ in headers):
        return _NONE
    offers = _listed(headers, b"upgrade")
    return offers if offers and b"upgrade" in _listed(headers, b"connection") else _NONE


def _listed(headers: Headers, wanted: bytes) -> frozenset[bytes]:
    values = b",".join(value for name, value in headers if name == wanted)
    return frozenset(each.strip().lower() for each in values.split(b",")) - {b""}


def _has_body(headers: Headers) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ") != b"")
        for name, value in headers
    )


class _Side(asyncio.Protocol):
    """One end of the tunnel: what it hears the other one says."""

    def __init__(self, ended: asyncio.Event) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self._ended = ended

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.set_write_buffer_limits(high=PENDING_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        if (there := self._there) is not None:
            there.write(data)

    def pause_writing(self) -> None:
        if (there := self._there) is not None:
            there.pause_reading()

    def resume_writing(self) -> None:
        if (there := self._there) is not None:
            there.resume_reading()

    @property
    def _there(self) -> asyncio.Transport | None:
        """The other end, as long as it is open."""
        there = None if self.other is None else self.other.transport
        return None if there is None or there.is_closing() else there

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._ended.set()


class _Client(_Side):
    """The client's end; its server still has the connection among those that it ends."""

    def __init__(self, ended: asyncio.Event, before: HttpConnection) -> None:
        super().__init__(ended)
        self._before = before
        self._early = b""  # sent before the server has agreed
        self._changed: bool | None = None  # whether it has; None: it has not said yet
        self.transport = before.transport

    def answered(self, *, changed: bool) -> None:
        self._changed = changed
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        if self._changed:
            super().data_received(data)
        elif self._changed is None and len(self._early) + len(data) <= EARLY_BYTES_MAX:
            self._early += data
        elif self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


class _Server(_Side):
    """The server's end, whose answer says whether there is a tunnel."""

    def __init__(self, ended: asyncio.Event) -> None:
        super().__init__(ended)
        self.client: _Client | None = None
        self._begun: bytes | None = b""  # of its answer; None: the head has passed

    def data_received(self, data: bytes) -> None:
        if self._begun is None:
            super().data_received(data)
            return
        self._begun += data
        head, ends, rest = self._begun.partition(b"\r\n\r\n")
        if ends and self.client is not None:
            self._begun = None
            super().data_received(head_passed_on(head) + ends + rest)
            self.client.answered(changed=head.startswith(_CHANGED))
        elif len(self._begun) > HEAD_BYTES_MAX and self.transport is not None:
            self.transport.close()


async def tunnel(
    connection: HttpConnection,
    asked: Asked,
    headers: Headers,
    url: str,
    bearer: str | None = None,
) -> None:
    """Until one side has ended; then both have. Raise OSError or TimeoutError if the server cannot
    be reached: nothing was said to the client then.
    """
    at = urlsplit(url)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_S):
        transport, server = await loop.create_connection(
            lambda: _Server(ended), at.hostname or "", at.port or 80
        )
    client = _Client(ended, connection)
    client.other, server.other, server.client = server, client, client
    connection.cycle.disconnected = connection.cycle.response_complete = True
    connection.transport.set_protocol(client)
    connection.transport.resume_reading()
    try:
        transport.write(_head(asked, headers, at.netloc, bearer))
        await ended.wait()
    finally:
        transport.close()
        connection.transport.close()


def _head(asked: Asked, headers: Headers, host: str, bearer: str | None) -> bytes:
    lines = [f"{asked.method} {asked.target} HTTP/1.1".encode("latin-1"), b"host: " + host.encode()]
    lines += [name + b": " + value for name, value in headers if name not in _OURS]
    if bearer is not None:
        lines.append(b"authorization: " + bearer.encode())
    return b"\r\n".join((*lines, b"", b""))
