"""The shortest way to say what a registry is given. Defaults are dull on purpose."""

from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Placement,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName, Serving
from orchestrator.core.values.speeds import Speeds
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.ports import Handle, Running
from orchestrator.records import (
    BenchmarkRecord,
    DecisionRecord,
    LearnedRecord,
    Operation,
    OperationState,
    Page,
    Pin,
    ResidentRecord,
)

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
ALL = Page(limit=1_000)


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def running(pid: int = 4711) -> Running:
    handle = Handle(runtime="process", version=1, fields={"pid": pid, "started": 12.5, "id": "x"})
    return Running(handle=handle, endpoint=Endpoint("http://127.0.0.1:4711"))


def resident(
    name: str,
    state: ResidentState = ResidentState.READY,
    *,
    running: Running | None = None,
    **fields: Any,
) -> ResidentRecord:
    spec = ModelSpec(
        name=ModelName(name),
        service=ServiceName("local"),
        footprint=Footprint(device_bytes=8 * GiB),
        aliases=("alias",),
    )
    return ResidentRecord(
        resident=Resident(
            instance=InstanceId(f"{name}-1"),
            spec=spec,
            placement=Placement(((DeviceId("g0"), 8 * GiB),)),
            state=state,
            state_since_s=1.5,
            last_used_s=2.25,
            priority=5,
            **fields,
        ),
        runtime="process",
        running=running,
    )


def lease(id_: str, name: str, **fields: Any) -> Lease:
    said: dict[str, Any] = {"kind": LeaseKind.OWNER, "owner": "n8n", "expires_s": 99.5} | fields
    return Lease(
        id=LeaseId(id_),
        instance=InstanceId(f"{name}-1"),
        model=ModelName(name),
        priority=5,
        granted_s=1.0,
        ticket=Ticket(3),
        **said,
    )


def decision(
    id_: int,
    model: str = "a",
    *,
    at: datetime = NOON,
    kind: DecisionKind = DecisionKind.LOAD,
    **fields: Any,
) -> DecisionRecord:
    said: dict[str, Any] = {
        "text": f"said {id_}",
        "why": "because",
        "evicted": (ModelName("b"),),
    } | fields
    return DecisionRecord(id=id_, at=at, decision=Decide(kind=kind, model=ModelName(model), **said))


def operation(
    id_: str,
    *,
    finished_at: datetime | None = None,
    state: OperationState = OperationState.LOADING,
    created_at: datetime = NOON,
) -> Operation:
    return Operation(
        id=id_,
        kind="load",
        model=ModelName("a"),
        state=state,
        created_at=created_at,
        finished_at=finished_at,
    )


def finished(id_: str, at: datetime) -> Operation:
    return operation(id_, finished_at=at, state=OperationState.SUCCEEDED)


def pin(model: str, pinned: bool) -> Pin:
    return Pin(model=ModelName(model), pinned=pinned)


def learned(model: str = "a", settings: str = "f16", device_bytes: int = GiB) -> LearnedRecord:
    return LearnedRecord(
        model=ModelName(model),
        settings=settings,
        footprint=Footprint(device_bytes=device_bytes, provenance=Provenance.MEASURED),
        load_s=3.5,
        measured_at=NOON,
    )


def benchmark(model: str = "a", devices: str = "g0", rate: float | None = None) -> BenchmarkRecord:
    return BenchmarkRecord(
        model=ModelName(model),
        settings="f16",
        devices=devices,
        measured_at=NOON,
        serving=Serving(context_size=2048),
        speeds=Speeds(generation_tokens_per_second=rate),
        prompt_tokens=512,
        answer_tokens=128,
        requests=3,
    )
