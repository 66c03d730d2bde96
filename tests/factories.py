"""The shortest way to say a situation. Defaults are dull on purpose."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.config.sections import SchedulingSettings
from orchestrator.core.life.consistency import consistent
from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.room.eviction import Policy, Urgency, least_regretted
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.question import Question
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.messages import (
    AskUse,
    Effect,
    Event,
    Requested,
    Sampled,
    UnloadRequested,
    UseAnswered,
)
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Placement,
    Resident,
    ResidentState,
    UseAnswer,
)
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, GiB, Reading

ENDPOINT = Endpoint("http://127.0.0.1:1")


def gpu(
    uuid: str = "g0",
    *,
    gib: float,
    used_gib: float = 0,
    at_s: float = 0,
    kind: DeviceKind = DeviceKind.GPU,
) -> Reading:
    total_bytes = int(gib * GiB)
    return Reading(
        device=Device(id=DeviceId(uuid), name=f"card {uuid}", kind=kind),
        read_s=at_s,
        state=DeviceState.OK,
        total_bytes=total_bytes,
        free_bytes=total_bytes - int(used_gib * GiB),
    )


def unreadable(uuid: str = "g0", *, at_s: float = 0, lost: bool = False) -> Reading:
    return Reading(
        device=Device(id=DeviceId(uuid), name=f"card {uuid}", kind=DeviceKind.GPU),
        read_s=at_s,
        state=DeviceState.LOST if lost else DeviceState.UNREADABLE,
        problem="the driver does not answer",
    )


def spec(
    name: str,
    *,
    gib: float,
    host_gib: float = 0,
    priority: int = 5,
    devices: tuple[str, ...] = (),
    span: int = 1,
    ttl_s: float | None = None,
    load_s: float = 1.0,
) -> ModelSpec:
    return ModelSpec(
        name=ModelName(name),
        service=ServiceName("rehearsal"),
        footprint=Footprint(device_bytes=int(gib * GiB), host_bytes=int(host_gib * GiB)),
        priority=priority,
        devices=devices,
        span=span,
        ttl_s=ttl_s,
        load_s=load_s,
    )


def resident(
    name: str,
    *,
    gib: float,
    on: str = "g0",
    state: ResidentState = ResidentState.READY,
    used_s: float = 0,
    since_s: float = 0,
    priority: int = 5,
    leases: int = 0,
    load_s: float = 1.0,
    settled_until_s: float = 0,
) -> Resident:
    wanted = spec(name, gib=gib, priority=priority, load_s=load_s)
    return Resident(
        instance=InstanceId(f"{name}-1"),
        spec=wanted,
        placement=Placement(((DeviceId(on), int(gib * GiB)),)),
        state=state,
        state_since_s=since_s,
        last_used_s=used_s,
        priority=priority,
        ready_s=since_s if state is ResidentState.READY else None,
        endpoint=ENDPOINT,
        lease_count=leases,
        settled_until_s=settled_until_s,
    )


def ledger(*parts: Reading | Resident, headroom_gib: float = 0) -> Ledger:
    """Devices as they read with those residents on them: each holds exactly its charge."""
    account = Ledger(headroom_bytes=int(headroom_gib * GiB))
    residents = [part for part in parts if isinstance(part, Resident)]
    for each in residents:
        account.put(each)
    readings = [part for part in parts if isinstance(part, Reading)]
    account.observe([holding(reading, residents) for reading in readings], {})
    return account


def holding(reading: Reading, residents: list[Resident]) -> Reading:
    """The reading with the bytes of everybody who is there added to what it says is used."""
    if reading.free_bytes is None or reading.total_bytes is None:
        return reading
    held = sum(
        each.placement.on(reading.device.id)
        for each in residents
        if each.state is not ResidentState.RESERVED
    )
    return Reading(
        device=reading.device,
        read_s=reading.read_s,
        state=reading.state,
        total_bytes=reading.total_bytes,
        free_bytes=max(0, reading.free_bytes - held),
    )


def rules(**changes: object) -> Rules:
    """As the configuration ships them, but for what a test is about."""
    return replace(SchedulingSettings().rules, **changes)  # type: ignore[arg-type]


def scheduler(
    *parts: Reading | Resident | ModelSpec,
    changes: Mapping[str, object] | None = None,
    servers_answer: bool = True,
) -> Scheduler:
    """Its servers say that they are idle when they are asked; or a test answers for them."""
    specs = {part.name: part for part in parts if isinstance(part, ModelSpec)}
    account = ledger(*(part for part in parts if not isinstance(part, ModelSpec)))
    kind = IdleServers if servers_answer else CheckedScheduler
    made = kind(specs, account, rules(**(changes or {})))
    for part in parts:
        if isinstance(part, Resident):
            for number in range(part.lease_count):
                held = lease(part, number)
                made.state.leases[held.id] = held
    return made


class CheckedScheduler(Scheduler):
    """Looks for contradictions after every event."""

    def handle(self, event: Event, *, now_s: float) -> list[Effect]:
        effects = super().handle(event, now_s=now_s)
        wrong = consistent(self.state)
        assert not wrong, f"after {event}: {wrong}"
        return effects


class IdleServers(CheckedScheduler):
    """Its residents' servers answer at once that they are idle, when they are asked."""

    def handle(self, event: Event, *, now_s: float) -> list[Effect]:
        effects = super().handle(event, now_s=now_s)
        for effect in list(effects):
            if isinstance(effect, AskUse):
                effects.remove(effect)
                effects += self.handle(answered(effect), now_s=now_s)
        return effects


def answered(asked: AskUse, **busy: bool | None) -> UseAnswered:
    """All of them are idle but those that are named."""
    return UseAnswered(
        asked.look,
        {
            resident.instance: UseAnswer(busy=busy.get(resident.name, False))
            for resident in asked.residents
        },
    )


def ask(
    wanted: ModelSpec,
    *,
    due: bool = False,
    priority: int = 5,
    now_s: float = 1000.0,
    pinned: Sequence[str] = (),
    policy: Policy = least_regretted,
    **changes: object,
) -> Question:
    """What the planner is asked."""
    return Question(
        spec=wanted,
        urgency=Urgency(priority=priority, due=due),
        rules=rules(**changes),
        now_s=now_s,
        pinned=frozenset(ModelName(name) for name in pinned),
        policy=policy,
    )


def lease(held: Resident, number: int = 0) -> Lease:
    return Lease(
        id=LeaseId(f"{held.instance}-l{number}"),
        ticket=Ticket(-1000 - number),
        instance=held.instance,
        model=held.name,
        kind=LeaseKind.REQUEST,
        owner=None,
        priority=held.priority,
        granted_s=0.0,
        expires_s=None,
    )


def request(ticket: int, wanted: ModelSpec, **changes: object) -> Requested:
    said = {"priority": wanted.priority, "hold": LeaseKind.REQUEST, **changes}
    return Requested(ticket=Ticket(ticket), spec=wanted, **said)  # type: ignore[arg-type]


def unload(ticket: int, name: str, *, by_s: float = 100, **changes: object) -> UnloadRequested:
    return UnloadRequested(
        ticket=Ticket(ticket),
        model=ModelName(name),
        deadline_s=by_s,
        **changes,  # type: ignore[arg-type]
    )


def sampled(*readings: Reading, **held: Mapping[DeviceId, int]) -> Sampled:
    return Sampled(readings, {InstanceId(name): by_device for name, by_device in held.items()})
