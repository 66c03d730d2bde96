"""Routes of tools that exist: llama.cpp's router, llama-swap.

Their dashboards and scripts work unchanged, except where they change state by GET: any web page
could do that, so it is refused with a hint.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from orchestrator.access.rights import Forbidden, Rights
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import Resident
from orchestrator.desk.desk import Desk
from orchestrator.desk.permits import seen
from orchestrator.errors import Denied
from orchestrator.orders import NAME_CHARS_MAX, UnloadOrder
from orchestrator.web.live.feed import Dialect, Listener
from orchestrator.web.live.sse import EventStream
from orchestrator.web.rest.docs import EVERY_WRITE, answers, streamed
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import DeskOf, FeedOf, RightsOf, answer, unless_gone
from orchestrator.web.wire import examples, shaping
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, clip

UNLOAD_WAIT_S = 30.0  # llama-swap's callers expect an answer at once; a drain is cut short here
SWAP_STATE: Mapping[str, str] = {
    "loading": "starting",
    "loaded": "ready",
    "draining": "ready",
    "unloading": "stopping",
    "stuck": "stopping",
}
INSTEAD: Mapping[str, str] = {
    "/unload": "/api/models/unload",
    "/models/load": "/models/load",
    "/models/unload": "/models/unload",
    "/models/plan": "/models/plan",
    "/models/estimate": "/models/estimate",
}

router = APIRouter(tags=["for other tools"], route_class=JsonRoute)
ModelTail = Annotated[str, Path(min_length=1, max_length=NAME_CHARS_MAX, pattern=r"\S")]


def _running(resident: Resident) -> dict[str, object]:
    return {
        "model": resident.name,
        "state": SWAP_STATE[shaping.LOADED_STATUS[resident.state]],
        "cmd": "",
        "proxy": resident.endpoint.named if resident.endpoint else "",
        "ttl": int(resident.ttl_s or 0),
        "name": resident.name,
        "description": "",
    }


async def _listening(feed: FeedOf, rights: RightsOf) -> AsyncIterator[Listener]:
    with feed.admit(Dialect.ROUTER, rights=rights) as listener:
        yield listener


@router.get(
    "/models/sse",
    summary="llama.cpp: states of models as they change",
    response_class=EventStream,
    status_code=200,
    responses=streamed(503),
)
async def router_events(
    listener: Annotated[Listener, Depends(_listening, scope="request")],
) -> Response:
    """`{"model", "event": "model_status", "data": {"status"}}`, those that are loaded first."""
    return EventStream(listener.frames())


@router.get(
    "/running",
    summary="llama-swap: what runs",
    responses=answers(dict[str, Any], {"running": [_running(examples.RESIDENT)]}),
)
async def running(desk: DeskOf, rights: RightsOf) -> Response:
    residents = shaping.residents_by_name(seen(desk.snapshot(), rights))
    return answer({"running": [_running(resident) for resident in residents.values()]})


@router.post(
    "/api/models/unload",
    summary="llama-swap: unload everything",
    responses=answers(
        dict[str, Any], {"msg": "ok", "unloaded": ["whisperx"], "kept": []}, *EVERY_WRITE
    ),
)
async def unload_all(request: Request, desk: DeskOf, rights: RightsOf) -> Response:
    """What is in use or pinned stays and is named under `kept`."""
    there = shaping.residents_by_name(seen(desk.snapshot(), rights))
    names = [str(name) for name in there]
    kept = await unless_gone(request, _let_all_go(desk, names, rights))
    staying = {refused["model"] for refused in kept}
    gone = [name for name in names if name not in staying]
    return answer({"msg": "ok", "unloaded": gone, "kept": kept})


@router.post(
    "/api/models/unload/{name:path}",
    summary="llama-swap: unload one model",
    responses=answers(dict[str, Any], {"msg": "ok"}, *EVERY_WRITE, 404, 409, 503),
)
async def unload_one(name: ModelTail, request: Request, desk: DeskOf, rights: RightsOf) -> Response:
    order = UnloadOrder(model=name, wait_s=UNLOAD_WAIT_S)
    await unless_gone(request, desk.unload(order, rights))
    return answer({"msg": "ok"})


async def refuse_get(request: Request) -> Response:
    raise Answered(method_refused(request.scope["path"], ("POST",)))


for path in INSTEAD:
    router.add_api_route(path, refuse_get, methods=["GET"], include_in_schema=False)


def method_refused(path: str, allowed: Sequence[str]) -> ErrorAnswer:
    """The 405 of a path where only the `allowed` methods do something.

    No method does at `/unload`; what it names instead takes a POST.
    """
    methods = ", ".join(allowed or ("POST",))
    return ErrorAnswer(
        code=WebCode.METHOD_NOT_ALLOWED,
        detail="This method does not do anything here; no GET changes state.",
        remedy=f"Use {methods} {clip(INSTEAD.get(path, path))}.",
        headers={"Allow": methods},
    )


async def _let_all_go(desk: Desk, names: Sequence[str], rights: Rights) -> list[dict[str, str]]:
    """What did not go, and why."""
    told = await asyncio.gather(*(_let_go(desk, name, rights) for name in names))
    return [said for said in told if said]


async def _let_go(desk: Desk, name: str, rights: Rights) -> dict[str, str] | None:
    if name in desk.snapshot().pinned:
        return {"model": name, "code": RefusalCode.PINNED, "detail": f"{name} is pinned."}
    try:
        await desk.unload(UnloadOrder(model=name, wait_s=UNLOAD_WAIT_S), rights)
    except Forbidden as error:
        return {"model": name, "code": error.why.code, "detail": error.why.detail}
    except Denied as denied:
        if denied.refusal.code is RefusalCode.SHUTTING_DOWN:
            raise  # of all of them
        return {"model": name, "code": denied.refusal.code, "detail": denied.refusal.detail}
    return None
