"""The daemon and its devices: health, readiness, reload, operations, devices."""

from typing import Any

from fastapi import APIRouter, Request, Response

from orchestrator.core.values.vram import DeviceId, MiB
from orchestrator.desk.desk import Desk
from orchestrator.orders import FakeDeviceOrder
from orchestrator.records import OperationState
from orchestrator.web.rest.docs import EVERY_WRITE, answers
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import (
    DeskOf,
    IdPath,
    RightsOf,
    answer,
    encoded,
    kept,
    not_found,
)
from orchestrator.web.wire import (
    event_shapes,
    examples,
    happenings,
    health_shapes,
    shapes,
    shaping,
)
from orchestrator.web.wire.devices import device
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, encode
from orchestrator.web.wire.instants import dated_or_none

HEALTHY: health_shapes.HealthAnswer = {"status": "healthy", "service": "model-orchestrator"}
HEALTHY_BODY = encode(HEALTHY)
UNFINISHED = frozenset({OperationState.QUEUED, OperationState.LOADING})

router = APIRouter(tags=["daemon"], route_class=JsonRoute)
fake_router = APIRouter(tags=["daemon"], route_class=JsonRoute)


@router.get(
    "/health",
    summary="The daemon runs",
    responses=answers(health_shapes.HealthAnswer, HEALTHY),
)
@router.get(
    "/api/health",
    summary="The same as /health",
    responses=answers(health_shapes.HealthAnswer, HEALTHY),
)
@router.get(
    "/healthz",
    summary="The same as /health",
    responses=answers(health_shapes.HealthAnswer, HEALTHY),
)
async def health() -> Response:
    return encoded(HEALTHY_BODY)


@router.get(
    "/health/ready",
    summary="The daemon can do its work",
    responses=answers(health_shapes.Ready, {"status": "ready", "reasons": []}, 503),
)
@router.get(
    "/readyz",
    summary="The same as /health/ready",
    responses=answers(health_shapes.Ready, {"status": "ready", "reasons": []}, 503),
)
async def ready(desk: DeskOf, request: Request) -> Response:
    """503 with `reasons` where work should not be sent here now."""
    reasons = desk.degraded()
    if not reasons:
        unwritten = request.app.state.audit.problem
        doubts = [*desk.doubts(), *([unwritten] if unwritten else [])]
        return answer({"status": "ready", "reasons": doubts})
    raise Answered(
        ErrorAnswer(
            code=WebCode.NOT_READY,
            detail=" ".join(reasons),
            remedy="Models that run are served meanwhile; orchestrator doctor says more.",
            members={"reasons": list(reasons)},
        )
    )


@router.post(
    "/admin/reload",
    summary="Read the configuration again",
    responses=answers(
        shapes.Reloaded,
        {
            "success": True,
            "changed": ["models.qwen3-vl-30b"],
            "restart_needed": [],
            "file": "/etc/orchestrator/orchestrator.yaml",
            "file_changed_at": "2026-01-15T16:36:35.000Z",
        },
        *EVERY_WRITE,
    ),
)
async def reload(desk: DeskOf) -> Response:
    """Touches only what changed. With a mistake in the file, nothing changes at all."""
    outcome = await desk.reload()
    return kept(
        {
            "success": True,
            "changed": list(outcome.changed),
            "restart_needed": list(outcome.needs_restart),
            "file": str(outcome.file),
            "file_changed_at": dated_or_none(outcome.file_changed_s),
        },
        outcome.durable,
    )


@router.get(
    "/admin/daemon",
    summary="What this daemon runs by",
    responses=answers(shapes.Itself, examples.ITSELF),
)
async def itself(desk: DeskOf) -> Response:
    """Where it reads and writes, and the engines of its services: what `orchestrator add` asks."""
    config = desk.config
    told: shapes.Itself = {
        "config": str(config.path),
        "state_dir": str(config.state_dir),
        "folders": list(config.discovery.folders),
        "services": {name: entry.engine for name, entry in config.services.items()},
        "service": config.home,
    }
    return answer(told)


@router.get(
    "/admin/jobs",
    summary="What the daemon does at fixed intervals",
    responses=answers(event_shapes.Jobs, examples.JOBS),
)
async def jobs(request: Request) -> Response:
    """When each of its jobs last ran and for how long, and when it will run again."""
    return answer({"jobs": [happenings.job(run) for run in request.app.state.jobs()]})


@router.get(
    "/operations/{operation_id}",
    summary="What became of a load or an unload",
    responses=answers(event_shapes.OperationShape, examples.OPERATION, 404, 422, 503),
)
async def operation(operation_id: IdPath, desk: DeskOf, rights: RightsOf) -> Response:
    """`status` is queued, loading, succeeded or failed; failed ones have a `code`."""
    known = await desk.operation(operation_id, rights)
    if known is None:
        raise not_found("operation", operation_id, "Old ones are forgotten; see GET /events.")
    return answer(shaping.operation(known, _eta_s(desk, operation_id, known.state)))


@router.get(
    "/devices",
    summary="Devices with their accounts",
    responses=answers(shapes.DeviceList, examples.DEVICES),
)
async def devices(desk: DeskOf) -> Response:
    """From the last reading: asking touches no driver."""
    return answer({"devices": [device(account) for account in desk.snapshot().accounts]})


@fake_router.put(
    "/devices/{device_id}/fake",
    summary="Change a fake device while it runs",
    responses=answers(shapes.DeviceList, examples.DEVICES, *EVERY_WRITE, 404),
)
async def set_fake(device_id: IdPath, order: FakeDeviceOrder, desk: DeskOf) -> Response:
    """Seen with the next reading. What is not mentioned stays as it is."""
    assert desk.fake_devices is not None
    try:
        desk.fake_devices.set(DeviceId(device_id), **_changes(order))
    except KeyError:
        raise not_found("device", device_id, "GET /devices lists those there are.") from None
    except ValueError as error:
        raise Answered(ErrorAnswer(code=WebCode.INVALID, detail=f"foreign_mb: {error}.")) from error
    return await devices(desk)


def _changes(order: FakeDeviceOrder) -> dict[str, Any]:
    """Only what was sent: a fault that is not mentioned stays as it is."""
    changes: dict[str, Any] = {}
    if (foreign_mb := order.get("foreign_mb")) is not None:
        changes["foreign_bytes"] = foreign_mb * MiB
    if "fault" in order:
        changes["fault"] = order["fault"]
    return changes


def _eta_s(desk: Desk, operation_id: str, state: OperationState) -> float | None:
    if state not in UNFINISHED:
        return None
    try:
        return desk.load_progress(operation_id)[1]
    except KeyError:  # it ended while we looked
        return None
