"""Server-sent events: what happens, to all listeners, encoded once for all of them.

A listener first gets a snapshot, then what changes. One that is slow is given a new snapshot in
place of what it missed; the others do not wait for it. Events are unnamed and carry their type
inside, because n8n hears no others. Requests of clients are told only to listeners that want
them: a workflow that runs with every event would run with every request.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from functools import partial

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.conductor.history import (
    Change,
    Decided,
    Gap,
    Noted,
    Numbered,
    Spanned,
    Subscription,
)
from orchestrator.core.life.grants import shutting_down
from orchestrator.core.values.failures import Breaker
from orchestrator.core.values.specs import ModelName
from orchestrator.desk.desk import Desk
from orchestrator.desk.permits import may_hear
from orchestrator.web.live.cache import Board
from orchestrator.web.live.hearing import hears, sees_span, tell
from orchestrator.web.live.places import Places
from orchestrator.web.wire import happenings, shaping
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, encode
from orchestrator.web.wire.models import ROUTER_STATUS

log = logging.getLogger(__name__)

LISTENERS_MAX = 64  # a few dashboards and workflows; a listener costs a socket and a queue
FRAMES_MAX = 64  # a listener may be behind: some seconds of a very busy machine
STATUS_PERIOD_S = 0.25  # people do not read faster
DOWNLOADS_PERIOD_S = 1.0  # while something is brought, which changes nothing of the state
PING_PERIOD_S = 15.0  # below the 30 to 60 s after which proxies cut a silent connection
SNAPSHOT_DECISIONS_MAX = 50
SNAPSHOT_SPANS_MAX = 200
LISTENERS_RETRY_S = 30.0

PING = b": ping\n\n"
CATALOGUE = b'data: {"type":"catalogue"}\n\n'


CatalogueSeen = tuple[object, Mapping[ModelName, Breaker], Collection[ModelName]]


class Dialect(StrEnum):
    OURS = "ours"
    ROUTER = "router"  # as llama.cpp's router speaks on /models/sse


class Listener:
    """One connection's share of the feed."""

    def __init__(
        self, snapshot: Callable[[], tuple[int, list[bytes]]], rights: Rights = EVERYTHING
    ) -> None:
        self.rights = rights
        self._snapshot = snapshot
        self._frames: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._heard = 0  # sequence number up to which everything is in what was sent
        self._stale = True
        self._closed = False
        self._last = b""

    def catch_up(self, sequence: int, frames: list[bytes]) -> None:
        """Go on from a known position instead of from a snapshot."""
        self._stale = False
        self._heard = sequence
        self._frames.extend(frames)

    def hear(self, frame: bytes, sequence: int | None = None) -> None:
        if self._stale or (sequence is not None and sequence <= self._heard):
            return
        if len(self._frames) >= FRAMES_MAX:
            self.lose()
        else:
            self._frames.append(frame)
        self._arrived.set()

    def lose(self) -> None:
        """Something was missed: the next thing sent is a snapshot."""
        self._stale = True
        self._frames.clear()
        self._arrived.set()

    def close(self, last: bytes = b"") -> None:
        """Nothing more is said, but for a last frame."""
        self._closed, self._last = True, last
        self._arrived.set()

    async def frames(self, ping_period_s: float = PING_PERIOD_S) -> AsyncGenerator[bytes, None]:
        while True:
            if self._stale:
                self._heard, first = self._snapshot()
                self._frames.extend(first)
                self._stale = False
            if self._frames:
                yield self._frames.popleft()
            elif self._closed:
                if self._last:
                    yield self._last
                return
            elif not await self._something_within(ping_period_s):
                yield PING

    async def _something_within(self, timeout_s: float) -> bool:
        self._arrived.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True


class Feed:
    """Reads the history once, as long as there are listeners."""

    def __init__(self, desk: Desk, board: Board, places: Places) -> None:
        self._desk = desk
        self._places = places
        self._board = board
        self._listeners: dict[Dialect, set[Listener]] = {dialect: set() for dialect in Dialect}
        self._attention = ExitStack()
        self._reading: asyncio.Task[None] | None = None
        self._status_timer: asyncio.TimerHandle | None = None
        self._status_sent_s = float("-inf")
        self._router_told: Mapping[str, str] = {}
        self._watchers: set[Listener] = set()  # those of ours who want requests too
        self._requests_timer: asyncio.TimerHandle | None = None
        self._requests_told = -1
        self._catalogue_told: CatalogueSeen = (None, {}, ())
        self._downloads_timer: asyncio.TimerHandle | None = None
        self._downloads_told = False

    @property
    def listeners(self) -> int:
        return sum(map(len, self._listeners.values()))

    @contextmanager
    def admit(
        self,
        dialect: Dialect = Dialect.OURS,
        last_event_id: str | None = None,
        *,
        requests: bool = False,
        rights: Rights = EVERYTHING,
    ) -> Iterator[Listener]:
        """A place among the listeners. Raise Answered if there is none left.

        `requests`: those of clients are told too, in our dialect. It hears what its key may see,
        until that ends.
        """
        if self.listeners >= LISTENERS_MAX:
            raise Answered(
                ErrorAnswer(
                    code=WebCode.TOO_MANY_LISTENERS,
                    detail=f"{LISTENERS_MAX} clients listen to events already.",
                    remedy="Close one, or poll GET /models/status, which costs next to nothing.",
                    retry_after_s=LISTENERS_RETRY_S,
                )
            )
        with self._places.one():
            yield from self._admitted(dialect, last_event_id, rights, requests=requests)

    def hang_up(self, over: Callable[[Rights], bool]) -> None:
        """On those whose key has ended."""
        for listener in self._all_listeners():
            if over(listener.rights):
                listener.close()

    def _admitted(
        self, dialect: Dialect, last_event_id: str | None, rights: Rights, *, requests: bool
    ) -> Iterator[Listener]:
        first = partial(self._first_of_router, rights)
        if dialect is Dialect.OURS:
            first = partial(self._first_of_ours, rights, requests=requests)
        listener = Listener(first, rights)
        missed = self._missed(last_event_id) if dialect is Dialect.OURS else None
        if missed is not None:
            frames = [self._frame(change) for change in missed if hears(change, rights)]
            frames += [self._status_frame(rights), CATALOGUE]
            frames += [self._requests_frame(rights)] if requests else []
            listener.catch_up(self._desk.history.sequence, frames)
        if not self._listeners[Dialect.ROUTER]:
            self._router_told = self._router_statuses()
        self._listeners[dialect].add(listener)
        self._start_reading()
        if requests:
            self._watch(listener)
        try:
            yield listener
        finally:
            self._listeners[dialect].discard(listener)
            self._unwatch(listener)
            self._stop_reading_unless_heard()

    def _start_reading(self) -> None:
        if self._reading is None:
            self._catalogue_told = self._catalogue_now()
            changes = self._attention.enter_context(self._desk.history.subscribe())
            self._reading = asyncio.create_task(self._read(changes), name="event feed")
            self._look_at_downloads()

    def _stop_reading_unless_heard(self) -> None:
        if any(self._listeners.values()):
            return
        self._attention.close()
        if self._status_timer is not None:
            self._status_timer.cancel()
            self._status_timer = None
        if self._downloads_timer is not None:
            self._downloads_timer.cancel()
            self._downloads_timer = None
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look_at_downloads(self) -> None:
        """Once more after the last one: that it has ended is told too."""
        loop = asyncio.get_running_loop()
        self._downloads_timer = loop.call_later(DOWNLOADS_PERIOD_S, self._look_at_downloads)
        before, self._downloads_told = self._downloads_told, bool(self._desk.downloads.all())
        if before or self._downloads_told:
            self._status_is_due()

    def _watch(self, listener: Listener) -> None:
        self._watchers.add(listener)
        if self._requests_timer is None:
            self._requests_told = self._desk.activity.version
            self._look_at_requests()

    def _unwatch(self, listener: Listener) -> None:
        self._watchers.discard(listener)
        if not self._watchers and self._requests_timer is not None:
            self._requests_timer.cancel()
            self._requests_timer = None

    def _look_at_requests(self) -> None:
        """A number is looked at: what carries requests tells nobody, it has no time to."""
        loop = asyncio.get_running_loop()
        self._requests_timer = loop.call_later(STATUS_PERIOD_S, self._look_at_requests)
        if (version := self._desk.activity.version) == self._requests_told:
            return
        self._requests_told = version
        tell(self._watchers, self._requests_frame)

    async def _read(self, changes: Subscription) -> None:
        try:
            async for change in changes:
                self._pass_on(change)
        finally:
            for listener in self._listeners[Dialect.OURS]:
                listener.close(_goodbye())
            for listener in self._listeners[Dialect.ROUTER]:
                listener.close()  # llama.cpp's clients know no such event

    def _pass_on(self, change: Change) -> None:
        match change:
            case Decided() | Spanned():
                frame = self._frame(change)
                for listener in self._listeners[Dialect.OURS]:
                    if hears(change, listener.rights):
                        listener.hear(frame, change.sequence)
            case Noted():
                self._status_is_due()
            case Gap():
                for listener in self._all_listeners():
                    listener.lose()

    def _all_listeners(self) -> tuple[Listener, ...]:
        return tuple(one for listeners in self._listeners.values() for one in listeners)

    def _status_is_due(self) -> None:
        if self._status_timer is None:
            loop = asyncio.get_running_loop()
            at_s = max(loop.time(), self._status_sent_s + STATUS_PERIOD_S)
            self._status_timer = loop.call_at(at_s, self._send_status)

    def _send_status(self) -> None:
        self._status_timer = None
        self._status_sent_s = asyncio.get_running_loop().time()
        tell(self._listeners[Dialect.OURS], self._status_frame)
        if not _same_catalogue(now := self._catalogue_now(), self._catalogue_told):
            self._catalogue_told = now
            for listener in self._listeners[Dialect.OURS]:
                listener.hear(CATALOGUE)
        if self._listeners[Dialect.ROUTER]:
            self._tell_router_listeners()

    def _tell_router_listeners(self) -> None:
        before, self._router_told = self._router_told, self._router_statuses()
        changed = [
            (name, _router_frame(name, self._router_told.get(name, "unloaded")))
            for name in sorted(before.keys() | self._router_told.keys())
            if before.get(name, "unloaded") != self._router_told.get(name, "unloaded")
        ]
        for listener in self._listeners[Dialect.ROUTER]:
            for name, frame in changed:
                if listener.rights.sees(name):
                    listener.hear(frame)

    def _router_statuses(self) -> Mapping[str, str]:
        residents = shaping.residents_by_name(self._desk.snapshot())
        return {
            str(name): ROUTER_STATUS[shaping.LOADED_STATUS[resident.state]]
            for name, resident in residents.items()
        }

    def _first_of_router(self, rights: Rights) -> tuple[int, list[bytes]]:
        statuses = self._router_statuses().items()
        return 0, [_router_frame(name, said) for name, said in statuses if rights.sees(name)]

    def _catalogue_now(self) -> CatalogueSeen:
        """What GET /models tells besides the states of residents."""
        snapshot = self._desk.snapshot()
        return self._desk.catalogue, snapshot.breakers, snapshot.pinned

    def _first_of_ours(self, rights: Rights, *, requests: bool) -> tuple[int, list[bytes]]:
        history = self._desk.history
        decisions = [
            happenings.decision(record)
            for record in history.decisions()[-SNAPSHOT_DECISIONS_MAX:]
            if may_hear(record.decision.model, rights)
        ]
        spans = [
            happenings.span(span)
            for span in history.spans()[-SNAPSHOT_SPANS_MAX:]
            if sees_span(span, rights)
        ]
        past = encode({"decisions": decisions, "spans": spans})
        body = b'{"type":"snapshot",' + self._state(rights) + b"," + past[1:]
        frames = [_event(body, f"{history.epoch}-{history.sequence}")]
        return history.sequence, frames + ([self._requests_frame(rights)] if requests else [])

    def _state(self, rights: Rights) -> bytes:
        doubts = self._desk.doubts() if rights.sees_all else ()  # they name models
        reasons = encode({"reasons": [*self._desk.degraded(), *doubts]})
        return b'"status":' + self._board.status(rights) + b"," + reasons[1:-1]

    def _status_frame(self, rights: Rights) -> bytes:
        return _event(b'{"type":"status",' + self._state(rights) + b"}")

    def _requests_frame(self, rights: Rights) -> bytes:
        return _event(b'{"type":"requests",' + self._board.requests(rights)[1:])

    def _frame(self, change: Numbered) -> bytes:
        match change:
            case Decided(sequence, record):
                body = encode({"type": "decision", **happenings.decision(record)})
            case Spanned(sequence, span):
                body = encode({"type": "span", **happenings.span(span)})
        return _event(body, f"{self._desk.history.epoch}-{sequence}")

    def _missed(self, last_event_id: str | None) -> tuple[Numbered, ...] | None:
        """What came after a position of this life of the daemon, if it is still known."""
        epoch, _, sequence = (last_event_id or "").rpartition("-")
        if epoch != self._desk.history.epoch or not sequence.isdecimal() or len(sequence) > 18:
            return None
        missed = self._desk.history.since(int(sequence))
        return missed if missed is not None and len(missed) < FRAMES_MAX else None


def _same_catalogue(one: CatalogueSeen, other: CatalogueSeen) -> bool:
    """The catalogue itself is the same mapping until something of it changes."""
    return one[0] is other[0] and one[1:] == other[1:]


def _goodbye() -> bytes:
    return _event(encode({"type": "end", **happenings.refusal(shutting_down())}))


def _event(body: bytes, event_id: str | None = None) -> bytes:
    head = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
    return head + b"data: " + body + b"\n\n"


def _router_frame(name: str, status: str) -> bytes:
    return _event(encode({"model": name, "event": "model_status", "data": {"status": status}}))
