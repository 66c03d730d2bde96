"""Core values into the shapes of the answers. Pure: what it is given is all it knows."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import cast

from orchestrator.catalogue.sizing import Appraisal
from orchestrator.core.life.outages import mark, mark_server, what_comes
from orchestrator.core.values.leases import Lease, LeaseKind
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.residents import Placement, Resident, ResidentState
from orchestrator.core.values.snapshot import RunsAs, Snapshot, Waiting
from orchestrator.core.values.specs import ModelName, ModelSpec, Serving
from orchestrator.core.values.vram import DeviceId, to_mb
from orchestrator.desk.speeds import Speed
from orchestrator.downloads import Download
from orchestrator.orders import LoadOutcome, Preview, RoomOutcome, UnloadOutcome
from orchestrator.records import Operation
from orchestrator.web.wire import error_shapes, event_shapes, happenings, shapes, speed_shapes
from orchestrator.web.wire.devices import counted_accounts, device, figures, host_devices
from orchestrator.web.wire.error_answers import error_of, fitting_file
from orchestrator.web.wire.instants import instant, instant_or_none, moment

_S = ResidentState
LOADED_STATUS: Mapping[ResidentState, shapes.LoadedStatus] = {
    _S.RESERVED: "loading",
    _S.LOADING: "loading",
    _S.READY: "loaded",
    _S.DRAINING: "draining",
    _S.UNLOADING: "unloading",
    _S.RELEASING: "unloading",
    _S.STUCK: "stuck",
}
_SERVING = tuple(field.name for field in fields(Serving))


def status(
    snapshot: Snapshot, downloads: Iterable[Download] = (), speeds: Iterable[Speed] = ()
) -> shapes.Status:
    counted = counted_accounts(snapshot.accounts)
    host = host_devices(snapshot.accounts)
    holds = _by_instance(snapshot.leases)
    return {
        **figures(counted),
        "loaded_models": {
            str(name): loaded(resident, snapshot, holds.get(resident.instance, []), host)
            for name, resident in residents_by_name(snapshot).items()
        },
        "now": instant(snapshot.now_s),
        "devices": [device(account) for account in snapshot.accounts],
        "leases": room_leases(snapshot),
        "queue": [_waiter(waiting) for waiting in snapshot.queue],
        "downloads": [happenings.download(one) for one in downloads],
        "speeds": speed_shapes.speeds(speeds),
    }


def _arrival(resident: Resident) -> bool:
    return LOADED_STATUS[resident.state] not in ("unloading", "stuck")


def residents_by_name(snapshot: Snapshot) -> Mapping[ModelName, Resident]:
    """Of two lives of one model, the one that comes hides the one that leaves."""
    models = (one for one in snapshot.residents if not one.spec.plain_room)
    return {resident.name: resident for resident in sorted(models, key=_arrival)}


def _by_instance(leases: Iterable[Lease]) -> Mapping[str, list[Lease]]:
    by_instance: defaultdict[str, list[Lease]] = defaultdict(list)
    for lease in leases:
        by_instance[lease.instance].append(lease)
    return by_instance


def _in_flight(resident: Resident, snapshot: Snapshot, leases: list[Lease]) -> int:
    """Requests by way of the daemon; those that had to wait for their model hold a lease too."""
    held = sum(1 for lease in leases if lease.kind is LeaseKind.REQUEST)
    return max(held, snapshot.passing.get(resident.instance, 0))


def loaded(
    resident: Resident, snapshot: Snapshot, leases: list[Lease], host: frozenset[DeviceId]
) -> shapes.LoadedModel:
    pinned = resident.name in snapshot.pinned
    loading = resident.state is ResidentState.LOADING
    runs_as = snapshot.runs_as.get(resident.instance, RunsAs())
    foretold = resident.spec.predicted or resident.spec.footprint
    return {
        "model": resident.name,
        "service": resident.spec.service,
        "loaded_at": instant_or_none(resident.ready_s),
        "status": LOADED_STATUS[resident.state],
        "loading_since": instant(resident.state_since_s) if loading else None,
        "ready_at": _expected(resident, snapshot.now_s) if loading else None,
        "usual_seconds": round(resident.spec.load_s, 3) if resident.spec.load_known else None,
        "vram_mb": _vram_mb(resident.placement, host),
        "vram_provenance": resident.spec.footprint.provenance,
        "estimated_mb": None if foretold.unknown else to_mb(foretold.device_bytes),
        "process_id": runs_as.process_id,
        "container_id": runs_as.container_id,
        "priority": resident.priority,
        "pinned": pinned,
        "in_flight": _in_flight(resident, snapshot, leases),
        "busy": resident.busy,
        "leases": [hold(lease) for lease in leases if lease.kind is LeaseKind.OWNER],
        "last_used_at": instant(resident.last_used_s),
        "expires_at": None if pinned else expiry(resident),
        "endpoint": resident.endpoint.named if resident.endpoint else None,
        "devices": shares(resident.placement),
        "serving": serving_of(resident.spec),
        **slots(resident.spec, resident),
        "why_leaving": resident.why_leaving,
        "problem": _problem(resident, snapshot),
        "silent_since": instant_or_none(resident.silent_since_s),
        "given_up": list(resident.spec.given_up),
    }


def _problem(resident: Resident, snapshot: Snapshot) -> str:
    silence = snapshot.silent.get(resident.spec.service)
    if silence is not None:
        return mark(silence)
    if (silent := mark_server(resident, snapshot.now_s)) == "":
        return resident.problem
    return f"{silent} {what_comes(resident, snapshot.now_s, snapshot.restart_hung_s)}"


def _expected(resident: Resident, now_s: float) -> str:
    return instant(max(now_s, resident.state_since_s + resident.spec.load_s))


def expiry(resident: Resident) -> str | None:
    if resident.ttl_s is None or resident.in_use or resident.state is not ResidentState.READY:
        return None
    return instant(resident.last_used_s + resident.ttl_s)


def _vram_mb(placement: Placement, host: frozenset[DeviceId]) -> int:
    return to_mb(sum(share for at, share in placement.shares if at not in host))


def shares(placement: Placement) -> list[shapes.DeviceShare]:
    return [{"device": at, "vram_mb": to_mb(share)} for at, share in placement.shares]


def serving_of(spec: ModelSpec) -> dict[str, object] | None:
    """What it is served with; None where its settings are not ours to choose, and not known."""
    return serving(spec.serving) if spec.settings_ours else None


def slots(spec: ModelSpec, resident: Resident | None) -> shapes.Slots:
    """How many requests at once, and the tokens that one may have; by its server's own word."""
    if resident is not None and resident.slots:
        return {"slots": len(resident.slots), "context_per_slot": min(resident.slots)}
    if not spec.settings_ours:
        return {"slots": None, "context_per_slot": None}
    return {"slots": spec.serving.slots, "context_per_slot": spec.serving.context_size}


def serving(values: Serving) -> dict[str, object]:
    return {name: getattr(values, name) for name in _SERVING}


def _waiter(waiting: Waiting) -> shapes.Waiter:
    return {
        "model": waiting.model,
        "priority": waiting.priority,
        "callers": waiting.callers,
        "waited_seconds": round(waiting.waited_s, 3),
        "bound_seconds": round(waiting.bound_s, 3),
        "waits_for": waiting.waits_for,
        "possible_at": instant_or_none(waiting.possible_s),
    }


# --- leases ----------------------------------------------------------------------------------


def hold(lease: Lease) -> shapes.Hold:
    return {
        "lease_id": lease.id,
        "owner": lease.owner,
        "priority": lease.priority,
        "granted_at": instant(lease.granted_s),
        "expires_at": instant_or_none(lease.expires_s),
    }


def room_leases(snapshot: Snapshot) -> list[shapes.RoomLease]:
    rooms = {resident.instance: resident for resident in snapshot.residents}
    return [
        {**hold(lease), **_room(rooms.get(lease.instance))}
        for lease in snapshot.leases
        if lease.kind is LeaseKind.ROOM
    ]


def _room(resident: Resident | None) -> shapes.Room:
    if resident is None:
        return {"vram_mb": 0, "device": None}
    placement = resident.placement
    return {"vram_mb": to_mb(placement.total_bytes), "device": ",".join(placement.devices) or None}


def model_leases(snapshot: Snapshot) -> list[shapes.ModelLease]:
    return [
        {**hold(lease), "model": lease.model, "kind": lease.kind}
        for lease in snapshot.leases
        if lease.kind is not LeaseKind.ROOM
    ]


def renewed(lease: Lease) -> shapes.RenewAnswer:
    return {
        "lease_id": lease.id,
        "owner": lease.owner,
        "expires_at": instant_or_none(lease.expires_s),
    }


def room_answer(outcome: RoomOutcome) -> shapes.RoomAnswer:
    return {
        **renewed(outcome.lease),
        **_room(outcome.resident),
        "evicted": [str(name) for name in outcome.evicted],
    }


# --- answers to orders -----------------------------------------------------------------------


def load_answer(outcome: LoadOutcome, host: frozenset[DeviceId]) -> shapes.LoadAnswer:
    resident = outcome.resident
    answer: shapes.LoadAnswer = {
        "success": True,
        "model": resident.name,
        "service": resident.spec.service,
        "status": "loaded",
        "loaded_at": instant_or_none(resident.ready_s),
        "endpoint": resident.endpoint.named if resident.endpoint else None,
        "vram_mb": _vram_mb(resident.placement, host),
        "devices": shares(resident.placement),
        "evicted": [str(name) for name in outcome.evicted],
        "already_loaded": outcome.already_loaded,
        "waited_seconds": round(outcome.waited_s, 3),
    }
    if resident.spec.given_up:
        answer["given_up"] = list(resident.spec.given_up)
    if outcome.lease is not None:
        answer["lease_id"] = outcome.lease.id
        answer["expires_at"] = instant_or_none(outcome.lease.expires_s)
    return answer


def accepted(pending: Operation, eta_s: float | None) -> shapes.Accepted:
    return {
        "success": True,
        "model": pending.model,
        "status": pending.state,
        "operation_id": pending.id,
        "status_url": f"/operations/{pending.id}",
        "eta_seconds": _rounded(eta_s),
    }


def unload_answer(outcome: UnloadOutcome) -> shapes.UnloadAnswer:
    said: shapes.UnloadAnswer = {
        "success": True,
        "status": outcome.status.value,
        "model": outcome.spec.name,
        "service": outcome.spec.service,
        "freed_mb": to_mb(outcome.freed_bytes),
        "verified": outcome.verified,
        "remaining_leases": outcome.remaining_leases,
    }
    return {**said, "note": outcome.note} if outcome.note else said


def plan_answer(preview: Preview, host: frozenset[DeviceId]) -> shapes.PlanAnswer:
    plan = preview.plan
    return {
        "fits": plan is not None or preview.already_loaded,
        "model": preview.spec.name,
        "vram_mb": _planned_mb(preview, host),
        "vram_provenance": preview.spec.footprint.provenance,
        "available_mb": to_mb(preview.available_bytes),
        "evict": [
            {
                "model": leaving.name,
                "vram_mb": _vram_mb(leaving.placement, host),
                "reason": plan.reasons.get(leaving.name, ""),
            }
            for leaving in (plan.evict if plan else ())
            if plan
        ],
        "placement": shares(plan.placement) if plan else [],
        "eta_seconds": _rounded(preview.eta_s),
        "already_loaded": preview.already_loaded,
        "drains": plan.drains if plan else False,
        "given_up": list(preview.spec.given_up),
        "refusal": refusal(preview.refusal) if preview.refusal else None,
        "suggestions": [
            cast("error_shapes.Suggestion", dict(settings))
            for settings in (preview.refusal.suggestions if preview.refusal else ())
        ],
        "fitting_file": fitting_file(preview.refusal.fitting_file if preview.refusal else None),
    }


def _planned_mb(preview: Preview, host: frozenset[DeviceId]) -> int | None:
    footprint = preview.spec.footprint
    if footprint.unknown:
        return None
    if preview.plan is not None:
        return _vram_mb(preview.plan.placement, host)
    refused = preview.refusal
    needed_bytes = refused.needed_bytes if refused and not refused.short_beside else None
    return to_mb(footprint.device_bytes if needed_bytes is None else needed_bytes)


def estimate_answer(found: Appraisal) -> Mapping[str, object]:
    footprint = found.footprint
    return {
        "model": found.spec.name,
        "file": found.spec.file,
        "hub": found.spec.hub,
        **found.estimate.to_json(),
        "vram_mb": to_mb(footprint.spread_bytes(found.spec.span)),
        "host_mb": to_mb(footprint.host_bytes),
        "without_gpu_mb": to_mb(footprint.without_gpu_bytes),
        "serving": serving(found.spec.serving),
        "fitting_file": fitting_file(found.fitting_file),
    }


def refusal(value: Refusal) -> shapes.RefusalShape:
    error = error_of(value)
    shape: shapes.RefusalShape = {
        "code": value.code,
        "detail": value.detail,
        "remedy": error.remedy,
        **error.members,  # type: ignore[typeddict-item]  # the same members as in an error body
    }
    if value.retry_after_s is not None:
        shape["retry_after_seconds"] = round(value.retry_after_s, 3)
    return shape


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def operation(value: Operation, eta_s: float | None) -> event_shapes.OperationShape:
    return {
        "operation_id": value.id,
        "kind": value.kind,
        "model": value.model,
        "status": value.state,
        "created_at": moment(value.created_at),
        "finished_at": None if value.finished_at is None else moment(value.finished_at),
        "code": value.code,
        "detail": value.detail,
        "eta_seconds": _rounded(eta_s),
    }
