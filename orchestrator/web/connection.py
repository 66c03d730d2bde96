"""One connection of a caller: how much it may send, how long it may take, whether it hears us.

uvicorn reads whatever comes, for as long as it comes. Here a request has a bound in bytes and in
seconds, what is sent ahead waits outside, and what is not HTTP gets the one error body. And an
answer that gives something can say what is to be done if its caller has left before it came.
"""

import asyncio
import fcntl
import logging
import socket
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from orchestrator.web.outlet import Outlet
from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode, encode, error_body

log = logging.getLogger("orchestrator")

HEAD_BYTES_MAX = 64 << 10  # request line and headers: eight times what browsers and edges send
TARGET_BYTES_MAX = 16 << 10  # of it the path and the query
SLICE_BYTES = 4 << 10  # parsed at a time: of what is sent ahead, some dozens of requests
SILENCE_S = 10.0  # a connection on which nothing is asked
HEAD_S = 10.0  # from the first byte of a request to the end of its headers
REQUEST_S = 60.0  # to the end of its body: 32 MB over a slow line
REFUSED_S = 2.0  # so long a refused caller may go on sending: hung up on, it would not read why
HEARD_AFTER_S = 1.0  # a caller that has not hung up by then has read its answer
SAID_EVERY_S = 60.0  # requests that are none: one line of the log for all of a minute

CALLER = "vram_orchestrator.caller"  # in scope["extensions"]: the connection, to an answer

_TCP_CLOSED = 7  # of struct tcp_info: the peer has reset the connection
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT

Act = Callable[[], None]


class TurnedAway:
    """Counts requests that could not be read, and says so once in a while."""

    def __init__(self) -> None:
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def note(self, answer: ErrorAnswer, caller: str, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None:
            log.warning("a request of %s was refused: %s", caller, answer.detail)
            self._timer = loop.call_later(SAID_EVERY_S, self._say)
        else:
            self._count += 1

    def _say(self) -> None:
        self._timer = None
        if self._count:
            said = "%d more requests were refused in %g s: they were no HTTP, too long or too slow"
            log.warning(said, self._count, SAID_EVERY_S)
        self._count = 0


class _Unreadable(Exception):
    """Out of a callback of the parser: the request is refused."""

    def __init__(self, answer: ErrorAnswer) -> None:
        super().__init__(answer.detail)
        self.answer = answer


class _Flow(FlowControl):
    """Reads on only when what was read before is under way."""

    def __init__(self, connection: "HttpConnection") -> None:
        super().__init__(connection.transport)
        self._connection = connection
        self.held = False  # an answer is complete, and what waits behind it not begun yet

    def resume_reading(self) -> None:
        if self.read_paused and not self._connection.pipeline and not self.held:
            self.read_paused = False
            self._connection.read_on()
            if not self.read_paused and not self._transport.is_closing():
                self._transport.resume_reading()

    def drop(self) -> None:
        """Read on, whatever waits: nothing becomes of it."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_reading(self) -> None:
        if not self.read_paused and not self._transport.is_closing():
            super().pause_reading()


class HttpConnection(HttpToolsProtocol):
    turned_away: ClassVar[TurnedAway]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.from_edge = False  # it came over the socket of our own nginx
        self._unread = bytearray()
        self._head_bytes = 0  # of the request that is read now
        self._uncalled_bytes = 0  # fed to the parser since it said something
        self._in_head = False
        self._awaits_body = False
        self.running: RequestResponseCycle | None = None  # what is answered now
        self._deadline: asyncio.TimerHandle | None = None
        self._refusal: ErrorAnswer | None = None  # to be said after the answers that are owed
        self._refused = False  # it was said: what still comes is dropped
        self._unheard: list[Act] = []
        self._answered_s: float | None = None  # when the answer was written that they belong to

    # --- bounds in bytes -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        self.from_edge = peer is not None and peer.family == socket.AF_UNIX
        self.flow = self._flow = _Flow(self)
        self._outlet = Outlet(transport, self.loop)
        self._expect_within(SILENCE_S)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unread += data
        if not self.flow.read_paused:
            self._unset_keepalive_if_required()
            self.read_on()

    def read_on(self) -> None:
        """Parse what was read, until something is under way that the rest has to wait for."""
        while self._unread and not self.flow.read_paused and self._refusal is None:
            part = bytes(self._unread[:SLICE_BYTES])
            del self._unread[:SLICE_BYTES]
            if self.parser is None or self.transport.is_closing():
                self._unread.clear()
                return
            self._feed(part)
        if self._deadline is None and not self._busy():
            self._expect_within(SILENCE_S)  # line ends alone are no request

    def _feed(self, part: bytes) -> None:
        self._uncalled_bytes += len(part)
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # what follows would be another protocol's
            self._unread.clear()
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.answer if isinstance(cause, _Unreadable) else _not_http())
        else:
            if self._uncalled_bytes > HEAD_BYTES_MAX:
                self._refuse(_head_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CALLER: {"connection": self}}
        self._uncalled_bytes = self._head_bytes = 0
        self._in_head = True
        if self._answered_s is not None:
            self._unheard.clear()  # a caller that asks on has read its answer
            self._answered_s = None
        self._expect_within(HEAD_S)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))
        if len(self.url) > TARGET_BYTES_MAX:
            raise _Unreadable(_target_too_long())

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._uncalled_bytes = 0
        self._in_head, self._awaits_body = False, True
        self._expect_within(REQUEST_S)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._uncalled_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._uncalled_bytes = 0
        self._awaits_body = False
        self._expect_nothing()
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._uncalled_bytes = 0
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            raise _Unreadable(_head_too_large())

    # --- bounds in time --------------------------------------------------------------------------

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(seconds, self._is_late, seconds)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self, seconds: float) -> None:
        self._deadline = None
        if self.flow.read_paused or (self._in_head and self._busy()):
            self._expect_within(seconds)  # it waits for us
        elif self._in_head or self._awaits_body:
            self._refuse(_too_slow(seconds))
        elif not self._busy():
            self.transport.close()

    def _busy(self) -> bool:
        """Whether an answer is owed."""
        running = self.running
        return bool(self.pipeline) or (running is not None and not running.response_complete)

    # --- what cannot be read ---------------------------------------------------------------------

    def _refuse(self, answer: ErrorAnswer) -> None:
        """Say it after the answers that are owed, and read no more."""
        host = self.client[0] if self.client else "a caller"
        self.turned_away.note(answer, host, self.loop)
        self._unread.clear()
        self._expect_nothing()
        self._refusal = answer
        if self._awaits_body and self.pipeline:
            self.pipeline.popleft()  # the newest: it will never be whole
        elif self._awaits_body or not self._busy():
            self._say_refusal(answer)

    def _say_refusal(self, answer: ErrorAnswer) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._outlet.flush()
        if not (self._awaits_body and self.cycle.response_started):
            body = encode(error_body(answer, ""))
            headers = [
                *self.server_state.default_headers,
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
            ]
            head = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[answer.status], head, body))
        self.give_up_request()
        self.transport.write_eof()
        self._flow.drop()
        self._deadline = self.loop.call_later(REFUSED_S, self.transport.close)

    def give_up_request(self) -> None:
        """Nobody hears the answer, and an application that waits for the rest of a body waits in
        vain: what it still says is dropped.
        """
        running = self.running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.waiting_for_100_continue = False  # it would be written behind the end
            running.message_event.set()

    def on_response_complete(self) -> None:
        self._answered_s = self.loop.time()
        if self._refusal is not None and not self.pipeline:
            self._say_refusal(self._refusal)
            return
        self._flow.held = True  # read on now, a request would begin, and one queued behind it too
        super().on_response_complete()
        self._flow.held = False
        self._flow.resume_reading()
        if self._busy():
            self._unset_keepalive_if_required()  # what was sent ahead is under way

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        cycle.transport = self._outlet  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """The request is answered as if it had not asked for another protocol."""

    # --- whether it is heard ---------------------------------------------------------------------

    def unless_heard(self, act: Act) -> None:
        """Do it once if the caller has hung up, or hangs up before it has read this answer.

        Nobody can tell whether an answer was read. It was not if the connection is reset soon
        after, or its end was sent before the answer arrived.
        """
        if self.transport.is_closing() or self._has_hung_up():
            self.loop.call_soon(act)
        else:
            self._answered_s = None
            self._unheard.append(act)

    def when_gone(self, act: Act) -> None:
        """Do it once if the caller hangs up before this answer is complete, or has done so."""
        self._answered_s = None
        self._unheard.append(act)
        if self.transport.is_closing():  # its end came with its request
            self._do_unheard()

    def eof_received(self) -> None:
        if self._answered_s is None or self._crosses():
            self._do_unheard()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._unread.clear()
        if exc is not None or self._answered_s is None:
            self._do_unheard()
        self._unheard.clear()
        self.pipeline.clear()
        self.give_up_request()
        super().connection_lost(exc)

    def _do_unheard(self) -> None:
        if self._answered_s is None or self.loop.time() - self._answered_s <= HEARD_AFTER_S:
            for act in self._unheard:
                self.loop.call_soon(act)
        self._unheard.clear()

    def _has_hung_up(self) -> bool:
        """Also where the loop has not seen it yet."""
        with self._socket() as peer:
            try:
                return peer.recv(1, _PEEK) == b""
            except OSError as error:
                return not isinstance(error, BlockingIOError)

    def _crosses(self) -> bool:
        """Whether the end that was received was sent before our answer arrived there."""
        with self._socket() as peer:
            if self.from_edge:
                return False  # nothing crosses on one machine
            state = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            return state == _TCP_CLOSED or any(fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4)))

    @contextmanager
    def _socket(self) -> Iterator[socket.socket]:
        """The transport's own socket, borrowed: what uvloop shows of it can do less."""
        peer = socket.socket(fileno=self.transport.get_extra_info("socket").fileno())
        try:
            yield peer
        finally:
            peer.detach()


def connection_class(base: type[HttpConnection] = HttpConnection) -> type[HttpConnection]:
    """What a server makes for each connection; what it turns away is counted together."""
    return type("HttpConnection", (base,), {"turned_away": TurnedAway()})


def _not_http() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.BAD_REQUEST,
        detail="What was sent is no HTTP request that can be read.",
        remedy="Speak HTTP/1.1 to this port; TLS ends at an edge before it.",
    )


def _head_too_large() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.HEAD_TOO_LARGE,
        detail=f"The headers are larger than {HEAD_BYTES_MAX} bytes.",
        remedy="Send less: no route reads more than some hundreds of bytes of them.",
        members={"limit_bytes": HEAD_BYTES_MAX},
    )


def _target_too_long() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.TARGET_TOO_LONG,
        detail=f"Path and query are longer than {TARGET_BYTES_MAX} bytes.",
        remedy="Send an order in the body; the paths are at /docs.",
        members={"limit_bytes": TARGET_BYTES_MAX},
    )


def _too_slow(seconds: float) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.TOO_SLOW,
        detail=f"The request did not arrive within {seconds:g} s.",
        remedy="Send it again, all of it at once.",
    )
