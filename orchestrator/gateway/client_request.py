"""A client's request over its own connection: what it says, and how it is answered.

Every way out ends here: answered, refused, the client gone, ended by an operator.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from orchestrator.access.keys.decision import AccessCode
from orchestrator.core.life.grants import shutting_down
from orchestrator.desk.activity import Run
from orchestrator.desk.desk import Desk
from orchestrator.gateway.asked import Asked, Headers, read
from orchestrator.gateway.exchange import Broken, Exchanges, Passage, ServerAnswer
from orchestrator.gateway.mishaps import ended_by_operator
from orchestrator.gateway.paths import FoundCall, Protocol, Task
from orchestrator.gateway.protocols import body_of, comment, event_of
from orchestrator.gateway.tunnel import tunnel, wants_tunnel
from orchestrator.gateway.usage import UsageReader
from orchestrator.records import Outcome, Usage
from orchestrator.web.behind_edge import ALREADY_ASKED
from orchestrator.web.connection import CALLER, HttpConnection
from orchestrator.web.gate import REFUSED, for_caller, rights_of
from orchestrator.web.held_bodies import decoded_bytes, parsed_bytes, share_of
from orchestrator.web.outlet import written
from orchestrator.web.wire.error_answers import (
    ErrorAnswer,
    encode,
    error_of,
    retry_after_s,
)

EVENT_STREAM = b"text/event-stream"
JSON = b"application/json"
JSON_LINES = b"application/x-ndjson"
_STREAMED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
HEADER_CHARS_MAX = 300
REFUSAL_BYTES_MAX = 64 << 10
OF_KEYS = frozenset({*AccessCode, "over_quota"})  # refusals that the audit log has a line of
_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp[A-Za-z0-9_-]{1,200})"')


class ClientRequest:
    def __init__(
        self, desk: Desk, scope: Scope, receive: Receive, send: Send, found: FoundCall
    ) -> None:
        caller = scope["extensions"][CALLER]
        self.begun = False  # the answer's head is out
        self._desk = desk
        self._scope = scope
        self._receive = receive
        self._send = send
        self._share = share_of(scope)
        self.found = found
        self._connection: HttpConnection = caller["connection"]
        self._reached = int(caller.get(ALREADY_ASKED, False))
        self._events = False  # the answer is a stream of events
        self._complete = False
        self._gone = False
        self._task = asyncio.current_task()
        client = scope["client"]
        self.run: Run = desk.activity.begin(
            found.model or "",
            protocol=found.call.protocol,
            path=scope["path"],
            client=client[0] if client else "",
        )
        self.rights = rights_of(scope)
        self.run.key = self.rights.id
        self.run.over = None if self.rights.key is None else self.rights.over
        self.run.cancel = self._cancel
        self._outcome: tuple[Outcome, int | None] = (Outcome.FAILED, None)
        self._usage: Usage | None = None
        self._connection.when_gone(self._leave)

    # --- what it says ----------------------------------------------------------------------------

    async def body(self, *, as_it_comes: bool = False) -> bytes | AsyncIterator[bytes]:
        """Whole, unless nobody here has to read it."""
        if as_it_comes and self._sends_much():
            return self._pieces()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            await asyncio.Event().wait()  # the connection cancels us
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            return body
        pieces = [piece async for piece in self._pieces()]
        return b"".join((message.get("body", b""), *pieces))

    def decodes(self, body: bytes) -> None:
        """Its memory counts until the request ends. Raise Answered where there is none for it."""
        self._share.take(decoded_bytes(body))

    def holds(self, size: int) -> None:
        """Beside its body: of a copy, or an answer that is read whole. Raise Answered where there
        is no memory for it.
        """
        self._share.take(size)

    def looks_into(self, body: bytes) -> contextlib.AbstractContextManager[None]:
        """While it is decoded for a look. Raise Answered where there is no memory for it."""
        return self._share.taking(parsed_bytes(body))

    def _sends_much(self) -> bool:
        """A body of which not all has come with the head."""
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and len(value) > 5)
            for name, value in self._scope["headers"]
        )

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                await asyncio.Event().wait()  # the connection cancels us
            if piece := message.get("body", b""):
                yield piece
            if not message.get("more_body"):
                return

    def understood(self, body: bytes) -> Asked:
        """Raise Answered or Forbidden."""
        scope = self._scope
        headers: Headers = scope["headers"]
        asked = read(self.found, scope["method"], headers, scope["query_string"], body)
        self.rights.may_ask_with(asked.priority)
        return self._noted(replace(asked, reached=self._reached) if self._reached else asked)

    def translated(self, found: FoundCall, *, streams: bool) -> Asked:
        """The same wish as another protocol has it, with a body in JSON. Raise Answered or
        Forbidden.
        """
        asked = read(found, "POST", self._scope["headers"], b"", b"")
        self.rights.may_ask_with(asked.priority)
        return self._noted(replace(asked, headers=[(b"content-type", JSON)], streams=streams))

    def _noted(self, asked: Asked) -> Asked:
        self.run.asked = asked.named or ""
        self.run.owner = asked.owner
        asked = replace(asked, rights=self.rights)
        self.run.priority = asked.priority
        self.run.streaming = asked.streams
        return asked

    # --- how it is answered ----------------------------------------------------------------------

    async def comment(self, why: str) -> None:
        """Begin the stream if need be, and say that it will go on."""
        if not self.begun:
            await self._start(200, [(b"content-type", EVENT_STREAM), *_STREAMED])
            self._events = True
        await self._more(comment(why))

    async def pass_on(self, answer: ServerAnswer, exchanges: Exchanges) -> None:
        """What a server says, byte for byte. Raise Broken if it ends too early."""
        if self.begun and answer.status != 200:
            # A stream that has begun has no status any more: what it says becomes its last event.
            said = (await _beginning(answer)).replace(b"\n", b" ")
            named = b"event: error\n" if self.found.call.protocol is Protocol.ANTHROPIC else b""
            await self._more(b"\n\n" + named + b"data: " + said + b"\n\n")
            await self._finish(Outcome.ANSWERED, answer.status)
            return
        kind = EVENT_STREAM
        if not self.begun:
            headers = answer.headers
            kind = next((value for name, value in headers if name == b"content-type"), b"")
            self._events = kind.startswith(EVENT_STREAM)
            await self._start(answer.status, [*headers, *_told(answer.passage, self.run)])
        # Any other text may speak of usage and mean nothing by it.
        reader = UsageReader() if kind.startswith((JSON, EVENT_STREAM)) else None
        pour = self._pouring(reader)
        head = last = b""
        while chunk := await answer.read():
            if self.run.first_byte_s is None:
                self._desk.activity.first_byte(self.run)
                head = chunk
            if reader is not None:
                reader.feed(chunk)
            if answer.complete:
                last = chunk
            else:
                await self._more(chunk)
                await answer.pour(pour)
        if (id_ := _id_of(self.found, head)) is not None:
            exchanges.makers.note(id_, answer.passage.model, self.rights)
        if reader is not None:
            self._usage = reader.usage()
        await self._finish(Outcome.ANSWERED, answer.status, last)

    def _pouring(self, reader: UsageReader | None) -> Callable[[bytes], bool]:
        """What takes the pieces of a stream. To wake a task for every piece, and to have ASGI write
        it, is half of what a piece costs.
        """
        cycle = self._connection.running
        assert cycle is not None, "it is answered now"

        def pour(piece: bytes) -> bool:
            taken = written(cycle, piece)
            if taken and reader is not None:
                reader.feed(piece)
            return taken

        return pour

    @property
    def wants_tunnel(self) -> bool:
        return wants_tunnel(self._scope["headers"])

    async def tunnel(self, asked: Asked, passage: Passage, bearer: str | None) -> None:
        """Until one side ends it. Raise Broken if the server cannot be reached."""
        self.run.cancel = self._cut  # it ends with its sides; by an operator, or with its key
        try:
            headers = self._scope["headers"]
            await tunnel(self._connection, asked, headers, passage.url, bearer)
        except (OSError, TimeoutError) as error:
            raise Broken(str(error)) from error
        self._complete = True
        self._outcome = (Outcome.ANSWERED, 101)

    async def tell(
        self,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        status: int = 200,
        usage: Usage | None = None,
    ) -> None:
        """An answer of our own, as JSON."""
        self._usage = usage
        size = b"%d" % len(body)
        await self._start(status, [(b"content-type", JSON), (b"content-length", size), *headers])
        await self._more(body)
        await self._finish(Outcome.ANSWERED, status)

    async def lines(self, text: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """A stream of JSON objects, each on its line: begun if need be, or gone on with."""
        if not self.begun:
            await self._start(200, [(b"content-type", JSON_LINES), *_STREAMED, *headers])
            self._events = True
        if text:
            await self._more(text)

    async def last_line(self, text: bytes, usage: Usage | None = None) -> None:
        await self.lines(text)
        self._usage = usage
        await self._finish(Outcome.ANSWERED, 200)

    def told(self, passage: Passage) -> Headers:
        """What the headers of its answer say of the way to its model."""
        return _told(passage, self.run)

    async def refuse(self, answer: ErrorAnswer, outcome: Outcome) -> None:
        """As its protocol says it; in a stream that has begun, as its last event."""
        if answer.code in OF_KEYS:
            self._scope[REFUSED] = answer.code
        answer = for_caller(answer, self._scope)
        call, path = self.found.call, self._scope["path"]
        if self._complete or self._gone:
            return
        if self._events:
            await self._more(event_of(answer, call, path))
        elif self.begun:
            self._cut()  # an answer with a length that is not kept: cut, and so seen as broken
            self._outcome = (outcome, answer.status)
            return
        else:
            body = encode(body_of(answer, call, path))
            headers = {"content-type": "application/json", "content-length": str(len(body))}
            if answer.status in (429, 503):
                headers["retry-after"] = str(retry_after_s(answer))
            headers |= {name.lower(): value for name, value in answer.headers.items()}
            raw = [(name.encode(), _header(value)) for name, value in headers.items()]
            await self._start(answer.status, raw)
            await self._more(body)
        await self._finish(outcome, answer.status)

    async def cancelled(self) -> None:
        """By its client's going, by an operator, or by the server's end: which is passed on."""
        assert self._task is not None
        if self._gone:
            self._task.uncancel()
            self._outcome = (Outcome.CLIENT_GONE, None)
        elif self.run.outcome is Outcome.ENDED:
            self._task.uncancel()
            await self.refuse(ended_by_operator(), Outcome.ENDED)
        else:
            with contextlib.suppress(RuntimeError):  # it takes no answer, and was cut meanwhile
                await self.refuse(error_of(shutting_down()), Outcome.REFUSED)

    def end(self) -> None:
        """Whatever came of it. A client that goes from here on has its answer."""
        outcome, status = self._outcome
        self._complete = True
        self._desk.activity.end(self.run, outcome, status, self._usage)

    # --- its connection --------------------------------------------------------------------------

    def _leave(self) -> None:
        if not self._complete:
            self._gone = True
            self._connection.give_up_request()
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None and not self._complete:
            self._task.cancel()

    def _cut(self) -> None:
        self._connection.transport.abort()
        self._connection.give_up_request()

    async def _start(self, status: int, headers: Headers) -> None:
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _more(self, piece: bytes) -> None:
        message = {"type": "http.response.body", "body": piece, "more_body": True}
        if self._connection.flow.write_paused:
            with self._share.slow(self._cut):
                await self._send(message)
        else:
            await self._send(message)

    async def _finish(self, outcome: Outcome, status: int, last: bytes = b"") -> None:
        self._outcome = (outcome, status)
        await self._send({"type": "http.response.body", "body": last})
        self._complete = True


async def _beginning(answer: ServerAnswer) -> bytes:
    """What a server says of its refusal: no more than anybody reads."""
    said = b""
    async for piece in answer.chunks():
        said += piece
        if len(said) > REFUSAL_BYTES_MAX:
            break
    return said[:REFUSAL_BYTES_MAX]


def _told(passage: Passage, run: Run) -> Headers:
    """Which model, how long it was waited for, why, and who left for it."""
    told = [(b"x-model", passage.model.encode())]
    if passage.grant is None:
        return told
    told.append((b"x-waited-ms", b"%d" % (run.wait_s * 1000)))
    if run.why:
        told.append((b"x-wait-reason", _header(run.why)))
    if passage.grant.evicted:
        told.append((b"x-evicted", _header(", ".join(passage.grant.evicted))))
    return told


def _header(text: str) -> bytes:
    return " ".join(text.split())[:HEADER_CHARS_MAX].encode("latin-1", "replace")


def _id_of(found: FoundCall, head: bytes) -> str | None:
    """The id under which an answer can be asked on, if it has one that servers keep for that."""
    if found.call.task is not Task.RESPONSES:
        return None
    match = _RESPONSE_ID.search(head)
    return None if match is None else match[1].decode()
