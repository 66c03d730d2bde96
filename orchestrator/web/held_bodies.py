"""What requests and their answers take in memory together, and its bound.

A body that waits for its model has been read, a translated one is decoded too, and an answer whose
client does not take it waits as well. The bound is a part of what this process may have, so that a
small container refuses in words instead of being killed.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive, Scope

from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode

log = logging.getLogger("orchestrator")

FULL_RETRY_S = 5.0  # requests end all the time, and their bodies with them
SHARE = "orchestrator.share"  # of a scope
MEMORY_PART = 4  # of what the process may have: the rest is the daemon's own, and its peaks
MOST_BYTES = 512 << 20  # more is for whoever asks for it (`server.bodies_limit_bytes`)
# Of an answer that its client does not take: what was read of its server, and what waits to be
# written. Measured: 0.7 MB, because much is read at once of a server that is fast.
SLOW_BYTES = 768 << 10
SLOW_PART = 2  # of the bound, for all of those
SLOW_MIN = 16  # clients that may be slow at once, however small the bound

# What a decoder makes of JSON, measured with CPython 3.11 and pydantic: lists and objects take
# far more than the two signs of an empty one, and a single sign beyond the first 256 makes all of
# its string wider.
_OBJECT_BYTES, _LIST_BYTES, _ITEM_BYTES, _QUOTE_BYTES = 280, 72, 40, 30
_COPIES = 2  # besides those of its strings: the question in the other form, and its growth
_STRINGS = 2.5  # copies of the strings
# With what a sign begins that makes its string wider. Each is looked for by itself: an expression
# takes a second for a body of 32 MB, in which nobody else is answered.
_WIDEST = (*(bytes([lead]) for lead in range(0xF0, 0xF5)), rb"\ud", rb"\uD")
_WIDE = (*(bytes([lead]) for lead in range(0xC4, 0xF0)), rb"\u")
_WIDEST_ASCII, _WIDE_ASCII = _WIDEST[-2:], _WIDE[-1:]


def bytes_max(allowed_bytes: int) -> int:
    """What requests may hold together where the operator does not say."""
    return min(MOST_BYTES, allowed_bytes // MEMORY_PART)


def decoded_bytes(body: bytes) -> int:
    """What it takes at most to decode a body of JSON and to encode it anew."""
    return round(len(body) * (_COPIES + _STRINGS * _width(body))) + _parts_bytes(body)


def parsed_bytes(body: bytes) -> int:
    """What it takes at most to decode a body of JSON alone, for a look at it."""
    return len(body) * (1 + _width(body)) + _parts_bytes(body)


def _parts_bytes(body: bytes) -> int:
    parts = body.count(b"{") * _OBJECT_BYTES + body.count(b"[") * _LIST_BYTES
    return parts + body.count(b",") * _ITEM_BYTES + body.count(b'"') * _QUOTE_BYTES


def _width(body: bytes) -> int:
    ascii_alone = body.isascii()
    if any(sign in body for sign in (_WIDEST_ASCII if ascii_alone else _WIDEST)):
        return 4
    return 2 if any(sign in body for sign in (_WIDE_ASCII if ascii_alone else _WIDE)) else 1


class HeldBodies:
    """Of requests that are carried to models, and of their answers."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self.slow: dict[HeldShare, Callable[[], None]] = {}  # the longest first
        self._warned = False

    @contextmanager
    def of_request(self, scope: Scope, bytes_max: int) -> Iterator["HeldShare"]:
        """The share of one request, until it ends; `share_of` its scope too."""
        share = scope[SHARE] = HeldShare(self, bytes_max)
        try:
            yield share
        finally:
            share.give_back(share.own_bytes)

    def warn(self) -> None:
        """Once, until all clients take their answers again."""
        if not self._warned:
            log.warning(
                "%d clients do not take their answers: beyond that, the one that has taken nothing "
                "for the longest is cut off (see server.bodies_limit_bytes)",
                len(self.slow) - 1,
            )
        self._warned = True

    def ended(self, share: "HeldShare") -> None:
        """It takes its answer again, or is gone."""
        self.slow.pop(share, None)
        self._warned &= bool(self.slow)


class HeldShare:
    """Of one request."""

    def __init__(self, bodies: HeldBodies, bytes_max: int) -> None:
        self.own_bytes = 0
        self._bodies = bodies
        self._bytes_max = bytes_max

    def counting(self, receive: Receive) -> Receive:
        """Whoever receives the piece that is too much gets Answered in its place."""

        async def receive_held() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self.take(len(message.get("body", b"")))
            return message

        return receive_held

    def take(self, size: int) -> None:
        """Raise Answered where it is more than all may hold, or than this one alone ever could."""
        self._add(size)
        if self._bodies.held_bytes > self._bytes_max:
            alone = self.own_bytes > self._bytes_max
            raise Answered(_never(self._bytes_max) if alone else _full(self._bytes_max))

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """For as long as the block runs. Raise Answered as `take` does."""
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    def give_back(self, size: int) -> None:
        self._add(-size)

    def _add(self, size: int) -> None:
        self.own_bytes += size
        self._bodies.held_bytes += size

    @contextmanager
    def slow(self, cut: Callable[[], None]) -> Iterator[None]:
        """While the client does not take its answer. Where too many do not, the one that has taken
        nothing for the longest is cut.
        """
        slow = self._bodies.slow
        slow[self] = cut
        self._add(SLOW_BYTES)
        try:
            if len(slow) > max(SLOW_MIN, self._bytes_max // SLOW_PART // SLOW_BYTES):
                self._bodies.warn()
                slow.pop(next(iter(slow)))()
            yield
        finally:
            self._bodies.ended(self)
            self.give_back(SLOW_BYTES)


def share_of(scope: Scope) -> HeldShare:
    share: HeldShare = scope[SHARE]
    return share


def _full(bytes_max: int) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.TOO_MANY_BYTES,
        detail=f"Requests that wait or are answered take {bytes_max} bytes of memory already.",
        remedy="Retry when some have ended, or raise server.bodies_limit_bytes where there is "
        "the memory for it.",
        retry_after_s=FULL_RETRY_S,
        members={"limit_bytes": bytes_max},
    )


def _never(bytes_max: int) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.TOO_LARGE,
        detail=f"To read it takes more than the {bytes_max} bytes of memory that all requests "
        "may take.",
        remedy="Send less, or raise server.bodies_limit_bytes where there is the memory for it.",
        members={"limit_bytes": bytes_max},
    )
