"""The shortest way to say what a registry is given. Defaults are dull on purpose."""

from datetime import UTC, datetime, timedelta

from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.messages import Decide, DecisionKind
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Placement,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.ports import (
    DecisionRecord,
    Handle,
    LearnedRecord,
    Operation,
    OperationState,
    Page,
    Pin,
    ResidentRecord,
    Running,
)

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
ALL = Page(limit=1_000)


def after(minutes):
    return NOON + timedelta(minutes=minutes)


def running(pid=4711):
    handle = Handle(runtime="process", version=1, fields={"pid": pid, "started": 12.5, "id": "x"})
    return Running(handle=handle, endpoint=Endpoint("http://127.0.0.1:4711"))


def resident(name, state=ResidentState.READY, *, running=None, **fields):
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


def lease(id_, name, **fields):
    said = {"kind": LeaseKind.OWNER, "owner": "n8n", "expires_s": 99.5} | fields
    return Lease(
        id=LeaseId(id_),
        instance=InstanceId(f"{name}-1"),
        model=ModelName(name),
        priority=5,
        granted_s=1.0,
        ticket=Ticket(3),
        **said,
    )


def decision(id_, model="a", *, at=NOON, kind=DecisionKind.LOAD, **fields):
    said = {"text": f"said {id_}", "why": "because", "evicted": (ModelName("b"),)} | fields
    return DecisionRecord(id=id_, at=at, decision=Decide(kind=kind, model=model, **said))


def operation(id_, *, finished_at=None, state=OperationState.LOADING, created_at=NOON):
    return Operation(
        id=id_,
        kind="load",
        model=ModelName("a"),
        state=state,
        created_at=created_at,
        finished_at=finished_at,
    )


def finished(id_, at):
    return operation(id_, finished_at=at, state=OperationState.SUCCEEDED)


def pin(model, pinned):
    return Pin(model=ModelName(model), pinned=pinned)


def learned(model="a", settings="f16", device_bytes=GiB):
    return LearnedRecord(
        model=ModelName(model),
        settings=settings,
        footprint=Footprint(device_bytes=device_bytes, provenance=Provenance.MEASURED),
        load_s=3.5,
        measured_at=NOON,
    )
