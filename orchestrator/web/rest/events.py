"""What happened and why: the history as JSON, and as a stream of events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from orchestrator.access.rights import Rights
from orchestrator.core.values.decisions import DecisionKind
from orchestrator.core.values.specs import ModelName
from orchestrator.desk.desk import Desk
from orchestrator.desk.permits import may_hear
from orchestrator.orders import NAME_CHARS_MAX
from orchestrator.web.live.feed import Listener
from orchestrator.web.live.sse import EventStream
from orchestrator.web.rest.docs import EVENT_STREAM, answers
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import DeskOf, FeedOf, RightsOf, answer
from orchestrator.web.wire import event_shapes, examples, happenings

EVENTS_MAX = 500
ID_MAX = (1 << 63) - 1  # what the registry can hold
# A rare kind is looked for in so many of the registry's pages per request; then the caller is
# told where to go on.
PAGES_MAX = 10

router = APIRouter(tags=["events"], route_class=JsonRoute)


def wants_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "").lower()


async def _listening(
    request: Request, feed: FeedOf, rights: RightsOf, requests: bool = False
) -> AsyncIterator[Listener | None]:
    """A place in the feed, given back at the request's own end, however it ends."""
    if not wants_stream(request):
        yield None
        return
    position = request.headers.get("last-event-id")
    with feed.admit(last_event_id=position, requests=requests, rights=rights) as listener:
        yield listener


DecisionId = Annotated[int | None, Query(ge=0, le=ID_MAX)]


class Wanted:
    """Which decisions are asked for."""

    def __init__(
        self,
        before: DecisionId = None,
        after: DecisionId = None,
        model: Annotated[str | None, Query(max_length=NAME_CHARS_MAX)] = None,
        kind: DecisionKind | None = None,
        limit: Annotated[int, Query(ge=1, le=EVENTS_MAX)] = 100,
    ) -> None:
        self.before = before
        self.after = after
        self.model = None if model is None else ModelName(model)
        self.kind = kind
        self.limit = limit


@router.get(
    "/events",
    summary="Decisions and their reasons; live with Accept: text/event-stream",
    responses=answers(event_shapes.Events, examples.EVENTS, 422, 503, **EVENT_STREAM),
)
async def events(
    desk: DeskOf,
    rights: RightsOf,
    wanted: Annotated[Wanted, Depends()],
    listener: Annotated[Listener | None, Depends(_listening, scope="request")],
) -> Response:
    """As JSON: newest first, or with `after` the oldest after it first.

    As a stream: unnamed events whose JSON has a `type`: `snapshot` (`status`, `reasons`,
    `decisions`, `spans`) first, then `status` (with `reasons`, at most 4 a second), `decision` and
    `span` as they come, `catalogue` when GET /models has other models or settings to tell, and
    `end` (`code`, `detail`, `remedy`, `retry_after_seconds`) when the daemon stops. With
    `requests=true` also `requests` (`running`, `running_total`, `ended`), at most 4 a second. A
    client that reconnects with `Last-Event-ID` gets what it missed in place of the snapshot.
    """
    if listener is not None:
        return EventStream(listener.frames())
    return answer(await _page(desk, wanted, rights))


async def _page(desk: Desk, wanted: Wanted, rights: Rights) -> event_shapes.Events:
    """As many as asked for, unless the registry has no more or is not worth more reading."""
    found: list[event_shapes.Decision] = []
    before, after, more = wanted.before, wanted.after, True
    for _ in range(PAGES_MAX):
        page = await desk.decisions(
            before_id=before, after_id=after, model=wanted.model, limit=wanted.limit
        )
        matching = (
            record
            for record in page
            if wanted.kind in (None, record.decision.kind)
            and may_hear(record.decision.model, rights)
        )
        found += [happenings.decision(record) for record in matching]
        more = len(page) == wanted.limit
        if not more or len(found) >= wanted.limit:
            break
        before, after = (page[-1].id, None) if after is None else (before, page[-1].id)
    shown = found[: wanted.limit]
    more = more or len(found) > len(shown)
    return {"events": shown, "next_before": _next_before(wanted, shown, before, more=more)}


def _next_before(
    wanted: Wanted, shown: list[event_shapes.Decision], read_to: int | None, *, more: bool
) -> int | None:
    if wanted.after is not None or not more:
        return None
    return shown[-1]["id"] if len(shown) == wanted.limit else read_to
