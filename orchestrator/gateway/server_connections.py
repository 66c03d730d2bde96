"""Connections to model servers: one question at a time on each, kept for a while between two.

It is all that the relay needs of HTTP/1.1 and no more, because a warm request is mostly this: a
general client takes a quarter of it.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from orchestrator.access.resident_keys import Bearer, no_bearer
from orchestrator.gateway.answer_reader import AnswerReader, NotHttp
from orchestrator.gateway.asked import Headers

CONNECT_S = 5.0
IDLE_S = 4.0  # below the 5 s after which llama-server closes a silent connection
WAITING_BYTES_MAX = 128 << 10  # of an answer that its client does not take
JOINED_BYTES_MAX = 64 << 10  # a body up to that goes out with its head, in one piece
ORIGINS_KEPT_MAX = 1024
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_UNSENDABLE = ("\r", "\n", "\0", " ")

Body = bytes | AsyncIterator[bytes]


class OutOfReach(ConnectionError):
    """There is no connection to the server: it has heard nothing."""


class Lost(ConnectionError):
    """The server hung up before its answer was complete, or says what is no HTTP."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server answers."""

    host: str
    port: int
    secure: bool
    stated: bytes  # as a request names it
    prefix: str  # before every path


@lru_cache(maxsize=ORIGINS_KEPT_MAX)
def origin_of(url: str) -> Origin:
    """Raise OutOfReach if it is no address."""
    try:
        at = urlsplit(url)
        port, stated = at.port, at.netloc.encode("idna")
    except ValueError as error:
        raise OutOfReach(f"{url} is no address: {error}") from error
    secure = at.scheme == "https"
    port = port or (443 if secure else 80)
    return Origin(at.hostname or "", port, secure, stated, at.path.rstrip("/"))


class ServerConnection(asyncio.Protocol):
    """One connection. `ask`, `read` until b"" (or `pour`), `close`; then it may be asked again."""

    def __init__(self, pool: "ServerConnections", origin: Origin) -> None:
        self.origin = origin
        self.idle_since_s = 0.0
        self.heard = False  # anything since it was last asked
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._lost: BaseException | None = None  # why there is no more to read
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None  # the server does not take what is sent
        self._sending: asyncio.Task[None] | None = None
        self._reading_paused = False
        self._into: Callable[[bytes], bool] | None = None  # what takes pieces as they come

    @property
    def status(self) -> int:
        assert self._reader is not None
        return self._reader.status

    @property
    def headers(self) -> Headers:
        """With their names in lower case."""
        assert self._reader is not None
        return self._reader.headers

    @property
    def complete(self) -> bool:
        """Whether all of the answer is here that is still to be read."""
        return self._reader is not None and self._reader.complete

    @property
    def usable(self) -> bool:
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._lost is None

    # --- a question and its answer ---------------------------------------------------------------

    async def ask(self, method: str, head: bytes, body: Body) -> None:
        """Return when the answer has begun. Raise Lost, or what the body raises."""
        assert self._transport is not None
        assert self._reader is None
        reader = self._reader = AnswerReader(bodiless=method == "HEAD")
        self.heard = False
        if not isinstance(body, bytes):
            self._transport.write(head)
            self._sending = asyncio.ensure_future(self._send_chunks(body))
        elif len(body) <= JOINED_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        while not reader.begun:
            await self._more()

    async def read(self) -> bytes:
        """What has come of the body, or comes next; b"" at its end. Raise Lost."""
        reader = self._reader
        assert reader is not None
        while not reader.pieces:
            if reader.complete:
                return b""
            self._read_on()
            await self._more()
        return reader.take()

    async def pour(self, into: Callable[[bytes], bool]) -> None:
        """Give pieces to `into` as they come, without waking who waits here: until one is the last,
        or `into` says that it did not take one, or there are no more. What is left is to be read.
        """
        reader = self._reader
        assert reader is not None
        if reader.pieces or reader.complete or self._lost is not None:
            return
        self._into = into
        self._read_on()
        try:
            await self._more()
        finally:
            self._into = None

    def _read_on(self) -> None:
        """More is wanted: not before, or twice as much would wait for a slow client."""
        if self._reading_paused:
            self._reading_paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def close(self) -> None:
        """The answer is done with. One that was not read to its end ends the connection: its server
        hears that nobody wants it.
        """
        reader, self._reader = self._reader, None
        sending, self._sending = self._sending, None
        sent = sending is None or sending.done()
        if sending is not None:
            sending.cancel()
        if reader is None:
            return
        read = reader.complete and not reader.pieces
        if read and reader.reusable and sent and self.usable and self._writable is None:
            self._read_on()
            self._pool.keep(self)
        elif self._transport is not None:
            self._transport.abort()

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        if self._lost is not None:
            raise self._lost
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _send_chunks(self, body: AsyncIterator[bytes]) -> None:
        assert self._transport is not None
        try:
            async for piece in body:
                if piece:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if self._writable is not None:
                    await self._writable
            self._transport.write(b"0\r\n\r\n")
        except Exception as error:  # noqa: BLE001 - whoever reads the answer hears it
            self._end_with(error)

    # --- what asyncio tells ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:  # nobody asked: what it means nobody knows
            self.end()
            return
        self.heard = True
        try:
            reader.feed(data)
        except NotHttp as error:
            self._end_with(Lost(str(error)))
            return
        if self._into is not None and not reader.complete:
            if not reader.pieces:
                return
            piece = reader.take()
            if self._into(piece):
                return
            reader.put_back(piece)
        if reader.waiting_bytes > WAITING_BYTES_MAX and not self._reading_paused:
            self._reading_paused = True
            assert self._transport is not None
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._pool.forget(self)
        if self._lost is None:
            self._lost = Lost(f"the server hung up: {exc}" if exc else "the server hung up")
        if self._reader is not None and exc is None:
            with contextlib.suppress(NotHttp):
                self._reader.feed_end()
        self._wake()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _end_with(self, error: BaseException) -> None:
        if self._lost is None:
            self._lost = error
        self.end()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ServerConnections:
    """Belongs to one event loop. As many at once as there are questions; idle ones are closed."""

    def __init__(self, bearer: Bearer = no_bearer) -> None:
        """`bearer` knows the keys of servers that have some."""
        self._bearer = bearer
        self._idle: dict[Origin, list[ServerConnection]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def ask(
        self, url: str, method: str, target: str, headers: Headers, body: Body
    ) -> ServerConnection:
        """Its answer has begun, and has to be closed. Raise OutOfReach, Lost, or the body's error.

        The target is sent as it is, in the bytes that latin-1 has for it. A kept connection that
        ends without a word was probably closed as it was written to: a new one is asked, once.
        """
        origin = origin_of(url)
        if (known := self._bearer(url)) is not None:
            headers = [*headers, (b"authorization", known.encode())]
        head = _head(origin, method, target, headers, body)
        kept = self._kept(origin)
        if kept is None:
            return await _asked(await self._connected(origin), method, head, body)
        try:
            return await _asked(kept, method, head, body)
        except Lost as lost:
            if kept.heard or not isinstance(body, bytes):
                raise
            try:
                connection = await self._connected(origin)
            except (
                OutOfReach
            ) as error:  # it was no accident: the server may have heard it, and died
                raise lost from error
        return await _asked(connection, method, head, body)

    def keep(self, connection: ServerConnection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._timer is None:
            self._timer = loop.call_later(IDLE_S, self._sweep)

    def forget(self, connection: ServerConnection) -> None:
        kept = self._idle.get(connection.origin)
        if kept is not None and connection in kept:
            kept.remove(connection)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kept, self._idle = self._idle, {}
        for connections in kept.values():
            for connection in connections:
                connection.end()

    def _kept(self, origin: Origin) -> ServerConnection | None:
        """The one that was used last."""
        kept = self._idle.get(origin)
        since_s = asyncio.get_running_loop().time() - IDLE_S
        while kept:
            connection = kept.pop()
            if connection.usable and connection.idle_since_s > since_s:
                return connection
            connection.end()
        return None

    async def _connected(self, origin: Origin) -> ServerConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: ServerConnection(self, origin),
                    origin.host,
                    origin.port,
                    ssl=_tls() if origin.secure else None,
                )
        except (OSError, TimeoutError) as error:
            where = origin.stated.decode()
            raise OutOfReach(f"{where} cannot be reached: {error or 'no answer'}") from error
        return connection

    def _sweep(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        since_s = loop.time() - IDLE_S
        for origin, kept in list(self._idle.items()):
            while kept and kept[0].idle_since_s <= since_s:
                kept.pop(0).end()
            if not kept:
                del self._idle[origin]
        if self._idle:
            self._timer = loop.call_later(IDLE_S / 2, self._sweep)


async def _asked(
    connection: ServerConnection, method: str, head: bytes, body: Body
) -> ServerConnection:
    try:
        await connection.ask(method, head, body)
    except BaseException:
        connection.close()
        raise
    return connection


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _head(origin: Origin, method: str, target: str, headers: Headers, body: Body) -> bytes:
    target = origin.prefix + target
    if any(sign in target for sign in _UNSENDABLE):
        raise Lost("a path with such signs cannot be sent")
    lines = [f"{method} {target} HTTP/1.1\r\nhost: ".encode("latin-1") + origin.stated]
    lines += [name + b": " + value for name, value in headers]
    if not isinstance(body, bytes):
        lines.append(b"transfer-encoding: chunked")
    elif body or method not in _WITHOUT_BODY:
        lines.append(b"content-length: %d" % len(body))
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
