"""Requests of clients to models: their figures, and an end to one that is under way."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from orchestrator.access.rights import Rights
from orchestrator.desk.desk import Desk
from orchestrator.orders import NAME_CHARS_MAX
from orchestrator.records import Outcome, RequestPage
from orchestrator.web.rest.docs import EVERY_WRITE, answers
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import DeskOf, RightsOf, answer, not_found
from orchestrator.web.wire import examples, happenings, request_shapes
from orchestrator.web.wire.error_answers import Answered

REQUESTS_MAX = 500
ID_MAX = (1 << 63) - 1  # what the registry can hold

router = APIRouter(tags=["requests"], route_class=JsonRoute)

Word = Annotated[str | None, Query(max_length=NAME_CHARS_MAX)]
RequestPath = Annotated[int, Path(ge=0, le=ID_MAX, examples=[4711])]


class RequestsWanted:
    """Which requests are asked for."""

    def __init__(
        self,
        before: Annotated[int | None, Query(ge=0, le=ID_MAX)] = None,
        model: Word = None,
        client: Word = None,
        owner: Word = None,
        outcome: Outcome | None = None,
        protocol: Word = None,
        limit: Annotated[int, Query(ge=1, le=REQUESTS_MAX)] = 100,
    ) -> None:
        self.page = RequestPage(
            before_id=before,
            model=model,
            client=client,
            owner=owner,
            outcome=outcome,
            protocol=protocol,
            limit=limit,
        )


@router.get(
    "/requests",
    summary="Requests under way, then those that have ended",
    responses=answers(request_shapes.RequestList, examples.REQUESTS, 422),
)
async def requests(
    desk: DeskOf, rights: RightsOf, wanted: Annotated[RequestsWanted, Depends()]
) -> Response:
    """Newest first. Figures only: what was asked and what was answered are not kept.

    `running` comes with the first page; `running_total` says how many there are in all. Where
    more have ended than fit, `next_before` is the `before` of the next page. `not_kept` counts
    those since the daemon's start that are in no page: too many in one second, or refused by
    the disk.
    """
    page = wanted.page if rights.sees_all else replace(wanted.page, key=rights.id)
    running = desk.requests.running(page) if page.before_id is None else ()
    ended = await desk.requests.ended(page)
    now_s = desk.clock()
    shown: request_shapes.RequestList = {
        "running": [happenings.request(record, now_s) for record in running],
        "running_total": sum(rights.owns(run.key) for run in desk.activity.running),
        "ended": [happenings.request(record, now_s) for record in ended],
        "next_before": ended[-1].id if len(ended) == page.limit else None,
        "not_kept": desk.requests.not_kept,
    }
    return answer(shown)


@router.get(
    "/requests/{request_id}",
    summary="The figures of one request",
    responses=answers(request_shapes.RequestFigures, examples.REQUEST, 404, 422, 503),
)
async def request(request_id: RequestPath, desk: DeskOf, rights: RightsOf) -> Response:
    record = await desk.requests.find(request_id)
    if record is None or not rights.owns(record.key):
        raise _unknown(request_id)
    return answer(happenings.request(record, desk.clock()))


@router.post(
    "/requests/{request_id}/cancel",
    summary="End a request that is under way",
    responses=answers(request_shapes.Cancelled, examples.CANCELLED, *EVERY_WRITE, 404, 503),
)
async def cancel(request_id: RequestPath, desk: DeskOf, rights: RightsOf) -> Response:
    """Its client's connection is closed and its model's server stops working on it.

    `over`: it had ended already, which is not an error.
    """
    return answer({"id": request_id, "status": await _cancel(desk, request_id, rights)})


async def _cancel(desk: Desk, request_id: int, rights: Rights) -> str:
    run = desk.activity.find(request_id)
    if run is not None and not rights.owns(run.key):
        raise _unknown(request_id)
    if desk.activity.cancel(request_id):
        return "ending"
    record = await desk.requests.find(request_id)
    if record is None or not rights.owns(record.key):
        raise _unknown(request_id)
    return "over"


def _unknown(request_id: int) -> Answered:
    return not_found(
        "request", str(request_id), "The oldest are forgotten; GET /requests lists those known."
    )
