"""Leases: of models by their owners, and of plain VRAM for work that is not a model server."""

from fastapi import APIRouter, Request, Response

from orchestrator.core.values.leases import LeaseId
from orchestrator.desk.permits import seen
from orchestrator.orders import RenewOrder, RoomOrder
from orchestrator.web.rest.docs import EVERY_WRITE, answers, error_responses
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import (
    NO_CONTENT,
    UNDURABLE,
    DeskOf,
    Giving,
    IdPath,
    RightsOf,
    answer,
    done,
    kept,
    not_found,
    place_of,
    unless_gone,
)
from orchestrator.web.wire import examples, shapes, shaping

router = APIRouter(tags=["leases"], route_class=JsonRoute)


@router.get(
    "/vram/leases",
    summary="Leases of plain VRAM",
    responses=answers(shapes.RoomLeases, examples.ROOMS),
)
async def rooms(desk: DeskOf, rights: RightsOf) -> Response:
    return answer({"leases": shaping.room_leases(seen(desk.snapshot(), rights))})


@router.post(
    "/vram/leases",
    summary="Have room for work that is not a model server",
    status_code=201,
    responses=answers(shapes.RoomAnswer, examples.ROOM, *EVERY_WRITE, 404, 503, 507, status=201),
)
async def lease_room(
    order: RoomOrder, request: Request, desk: DeskOf, rights: RightsOf
) -> Response:
    """Evicts as a load would, and keeps the room free until the lease ends.

    A caller that leaves before the answer gets nothing, and nothing stays leased.
    """
    with place_of(request):
        outcome = await unless_gone(request, desk.lease_room(order, rights))
    location = {"Location": f"/vram/leases/{outcome.lease.id}"}
    given = kept(shaping.room_answer(outcome), outcome.durable, 201, location)
    return Giving(given, lambda: desk.room_unheard(outcome))


@router.delete(
    "/vram/leases/{lease_id}",
    summary="Give VRAM back",
    status_code=NO_CONTENT,
    responses=answers(shapes.Undurable, UNDURABLE) | error_responses(*EVERY_WRITE),
)
async def release_room(lease_id: IdPath, desk: DeskOf, rights: RightsOf) -> Response:
    """Giving back what has ended already is not an error."""
    return done(await desk.release_lease(LeaseId(lease_id), rights))


@router.get(
    "/leases",
    summary="Leases of models",
    responses=answers(shapes.ModelLeases, examples.MODEL_LEASES),
)
async def model_leases(desk: DeskOf, rights: RightsOf) -> Response:
    return answer({"leases": shaping.model_leases(seen(desk.snapshot(), rights))})


@router.put(
    "/vram/leases/{lease_id}",
    summary="Renew a lease of VRAM",
    responses=answers(shapes.RenewAnswer, examples.RENEWED, *EVERY_WRITE, 404),
)
@router.put(
    "/leases/{lease_id}",
    summary="Renew a lease of a model",
    responses=answers(shapes.RenewAnswer, examples.RENEWED, *EVERY_WRITE, 404),
)
async def renew(lease_id: IdPath, order: RenewOrder, desk: DeskOf, rights: RightsOf) -> Response:
    try:
        outcome = await desk.renew_lease(LeaseId(lease_id), order.lease_s, rights)
    except KeyError:
        raise not_found(
            "lease", lease_id, "It has ended, or never was: ask for a new one."
        ) from None
    return kept(shaping.renewed(outcome.lease), outcome.durable)


@router.delete(
    "/leases/{lease_id}",
    summary="End a lease of a model",
    status_code=NO_CONTENT,
    responses=answers(shapes.Undurable, UNDURABLE) | error_responses(*EVERY_WRITE),
)
async def release(lease_id: IdPath, desk: DeskOf, rights: RightsOf) -> Response:
    """The model stays until another needs its room or it has been idle for its time."""
    return done(await desk.release_lease(LeaseId(lease_id), rights))
