"""Values for tests of the web: one card, models that fit, one instant."""

from typing import Any

from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Placement,
    Resident,
    ResidentState,
)
from orchestrator.core.values.snapshot import DeviceAccount, Snapshot
from orchestrator.core.values.specs import FakeBehaviour, ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, MiB, Reading

NOW_S = 1_768_473_000.0  # 2026-01-15T10:30:00Z
GPU = DeviceId("fake-0")
TOTAL_MB = 32768


def spec(name: str, mb: int = 6000, **more: Any) -> ModelSpec:
    footprint = Footprint(device_bytes=mb * MiB)
    return ModelSpec(
        name=ModelName(name),
        service=ServiceName("rehearsal"),
        footprint=footprint,
        fake=FakeBehaviour(load_s=0),
        **more,
    )


def resident(of: ModelSpec, state: ResidentState = ResidentState.READY, **more: Any) -> Resident:
    ready = state is ResidentState.READY
    said: dict[str, Any] = {
        "instance": InstanceId(f"{of.name}-1"),
        "spec": of,
        "placement": Placement(((GPU, of.footprint.device_bytes),)),
        "state": state,
        "state_since_s": NOW_S,
        "last_used_s": NOW_S,
        "priority": of.priority,
        "ready_s": NOW_S if ready else None,
        "endpoint": Endpoint("http://127.0.0.1:4000") if ready else None,
        "ttl_s": of.ttl_s,
    }
    return Resident(**{**said, **more})


def account(
    device_id: str = GPU,
    *,
    state: DeviceState = DeviceState.OK,
    kind: DeviceKind = DeviceKind.GPU,
    total_mb: int = TOTAL_MB,
    free_mb: int | None = None,
) -> DeviceAccount:
    ok = state is DeviceState.OK
    free_mb = total_mb if free_mb is None else free_mb
    reading = Reading(
        device=Device(id=DeviceId(device_id), name=f"Fake {device_id}", kind=kind),
        read_s=NOW_S,
        state=state,
        problem="" if ok else "fallen off the bus",
        total_bytes=total_mb * MiB if ok else None,
        free_bytes=free_mb * MiB if ok else None,
        utilization_percent=45.2 if ok else None,
    )
    return DeviceAccount(
        reading=reading,
        foreign_bytes=0 if ok else None,
        headroom_bytes=512 * MiB,
        available_bytes=max(free_mb - 512, 0) * MiB if ok else None,
        charged_bytes=(total_mb - free_mb) * MiB,
    )


def snapshot(*residents: Resident, **more: Any) -> Snapshot:
    said: dict[str, Any] = {
        "now_s": NOW_S,
        "version": 1,
        "accounts": (account(),),
        "residents": residents,
        "leases": (),
        "queue": (),
        "pinned": frozenset(),
        "breakers": {},
    }
    return Snapshot(**{**said, **more})
