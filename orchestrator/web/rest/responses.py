"""Small pieces every route answers with."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.access.rights import Rights, waiting
from orchestrator.desk.desk import Desk
from orchestrator.orders import NAME_CHARS_MAX, NAME_RULE
from orchestrator.web.connection import CALLER, HttpConnection
from orchestrator.web.gate import Gate, rights_of
from orchestrator.web.live.cache import Board
from orchestrator.web.live.feed import Feed
from orchestrator.web.live.places import Places
from orchestrator.web.wire import shapes
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, clip, encode

JSON = "application/json"
NO_CONTENT = 204
UNDURABLE: shapes.Undurable = {"durable": False}

T = TypeVar("T")


async def _desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def _board_of(request: Request) -> Board:
    board: Board = request.app.state.board
    return board


async def _feed_of(request: Request) -> Feed:
    feed: Feed = request.app.state.feed
    return feed


async def _rights_of(request: Request) -> Rights:
    return rights_of(request.scope)


RightsOf = Annotated[Rights, Depends(_rights_of)]
DeskOf = Annotated[Desk, Depends(_desk_of)]
BoardOf = Annotated[Board, Depends(_board_of)]
FeedOf = Annotated[Feed, Depends(_feed_of)]
ModelPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=NAME_CHARS_MAX,
        examples=["qwen3-vl-30b"],
        json_schema_extra=dict(NAME_RULE),
    ),
]
IdPath = Annotated[str, Path(min_length=1, max_length=NAME_CHARS_MAX)]


def answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return encoded(encode(body), status, headers)


def kept(
    body: Mapping[str, Any],
    durable: bool,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """What was changed, and where that is so, that a restart may undo it."""
    return answer(body if durable else {**body, **UNDURABLE}, status, headers)


def done(durable: bool) -> Response:
    return Response(status_code=NO_CONTENT) if durable else answer(UNDURABLE)


def encoded(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers, JSON)


class Giving(Response):
    """An answer that gives something, which a caller who has left before it came does not keep.

    Over a real connection only: nothing else can tell.
    """

    def __init__(self, given: Response, take_back: Callable[[], None]) -> None:
        super().__init__()
        self._given = given
        self._take_back = take_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("extensions", {}).get(CALLER)
        if caller is not None:
            connection: HttpConnection = caller["connection"]
            connection.unless_heard(self._take_back)
        await self._given(scope, receive, send)


def not_found(what: str, name: str, remedy: str) -> Answered:
    return Answered(
        ErrorAnswer(
            code=WebCode.NOT_FOUND, detail=f"There is no {what} {clip(name)}.", remedy=remedy
        )
    )


@contextmanager
def place_of(request: Request) -> Iterator[None]:
    """Held while a caller waits. Entering it raises Answered where too many do already, and
    Forbidden where too many of its key do.
    """
    places: Places = request.app.state.places
    gate: Gate = request.app.state.gate
    rates = None if gate.keys is None else gate.keys.rates
    with places.one(), waiting(rights_of(request.scope), rates):
        yield


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work for as long as the caller is there; raise ClientDisconnect once it is not.

    The work is cancelled then. It may just have come to its end: its value is lost, so it must
    be of a kind that undoes itself when cancelled, or expires.
    """
    working = asyncio.create_task(work, name=f"answer {request.scope['path']}")
    leaving = asyncio.create_task(_until_gone(request), name="watch for the caller")
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
