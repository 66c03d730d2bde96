"""A daemon of plain values behind the web: it loads at once, or as a test tells it to."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import httpx
from fastapi import FastAPI
from starlette.types import Message

from orchestrator.catalogue.sizing import Appraisal
from orchestrator.conductor.history import History
from orchestrator.config.sections import ServerSettings
from orchestrator.core.room.planner import Plan
from orchestrator.core.values.failures import Breaker
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.messages import Decide, DecisionKind, UnloadStatus
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Placement,
    Resident,
    ResidentState,
)
from orchestrator.core.values.snapshot import DeviceAccount, Snapshot, Waiting
from orchestrator.core.values.specs import PLAIN_ROOM, ModelName, ModelSpec, ServiceName
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, MiB, Reading
from orchestrator.errors import ConfigInvalid, Denied
from orchestrator.gguf.footprint import Estimate, Method, Share
from orchestrator.orders import (
    EstimateOrder,
    Forecast,
    LoadOrder,
    LoadOutcome,
    ReloadOutcome,
    RoomOrder,
    RoomOutcome,
    UnloadOrder,
    UnloadOutcome,
)
from orchestrator.ports import DecisionRecord, Operation, OperationState
from orchestrator.web.app import create_app
from orchestrator.web.desk import Desk
from orchestrator.web.live.cache import Board
from orchestrator.web.live.feed import Feed

NOW_S = 1_768_473_000.0  # 2026-01-15T10:30:00Z
GPU = DeviceId("fake-0")


def spec(name: str, mb: int = 6000, **more: Any) -> ModelSpec:
    footprint = Footprint(device_bytes=mb * MiB)
    return ModelSpec(
        name=ModelName(name), service=ServiceName("rehearsal"), footprint=footprint, **more
    )


def resident(of: ModelSpec, state: ResidentState = ResidentState.READY, **more: Any) -> Resident:
    return Resident(
        instance=InstanceId(f"{of.name}-1"),
        spec=of,
        placement=Placement(((GPU, of.footprint.device_bytes),)),
        state=state,
        state_since_s=NOW_S,
        last_used_s=NOW_S,
        priority=of.priority,
        ready_s=NOW_S if state is ResidentState.READY else None,
        endpoint=Endpoint("http://127.0.0.1:4000") if state is ResidentState.READY else None,
        **{"ttl_s": of.ttl_s, **more},
    )


def account(
    device_id: str = GPU,
    *,
    state: DeviceState = DeviceState.OK,
    kind: DeviceKind = DeviceKind.GPU,
    total_mb: int = 32768,
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


@dataclass(frozen=True)
class Settings:
    server: ServerSettings = field(default_factory=ServerSettings)


class PretendedDevices:
    def __init__(self) -> None:
        self.told: list[tuple[str, int | None, str | None]] = []

    def set(
        self,
        device_id: DeviceId,
        *,
        foreign_bytes: int | None = None,
        fault: str | None = "untouched",
    ) -> None:
        if device_id != GPU:
            raise KeyError(device_id)
        if foreign_bytes is not None and foreign_bytes > 32768 * MiB:
            raise ValueError("foreign bytes must be at most what there is")
        self.told.append((device_id, foreign_bytes, fault))


class FakeDesk:
    """The surface of the conductor, on one device, with nothing behind it."""

    def __init__(self, *models: ModelSpec, server: ServerSettings | None = None) -> None:
        self.config = Settings(server or ServerSettings())
        self.now_s = NOW_S
        self.catalogue: Mapping[ModelName, ModelSpec] = {
            each.name: each for each in models or (spec("a"), spec("b", aliases=("bee",)))
        }
        self.history = History("life1")
        self.fake_devices = PretendedDevices()
        self.residents: dict[ModelName, Resident] = {}
        self.leases: dict[LeaseId, Lease] = {}
        self.pinned: set[ModelName] = set()
        self.breakers: dict[ModelName, Breaker] = {}
        self.queue: tuple[Waiting, ...] = ()
        self.accounts: tuple[DeviceAccount, ...] = (account(),)
        self.version = 1
        self.operations: dict[str, tuple[Operation, LoadOrder]] = {}
        # Every load and lease of room is refused with it.
        self.refusal: Refusal | None = None
        self.unload_refusal: Refusal | None = None
        self.left: list[str] = []  # operations whose callers did not wait for the end
        self.slow: asyncio.Event | None = None  # loads wait for it
        self.reasons: tuple[str, ...] = ()
        self.amiss: tuple[str, ...] = ()
        self.reload_mistakes: tuple[str, ...] = ()
        self.records: list[DecisionRecord] = []
        self.numbers = itertools.count(1)

    def clock(self) -> float:
        return self.now_s

    def changed(self) -> None:
        self.version += 1
        self.history.note(self.snapshot())

    def snapshot(self) -> Snapshot:
        return Snapshot(
            now_s=self.now_s,
            version=self.version,
            accounts=self.accounts,
            residents=tuple(self.residents.values()),
            leases=tuple(self.leases.values()),
            queue=self.queue,
            pinned=frozenset(self.pinned),
            breakers=self.breakers,
        )

    def state(self) -> tuple[object, ...]:
        """Everything a caller could have changed."""
        return (
            dict(self.catalogue),
            dict(self.residents),
            dict(self.leases),
            set(self.pinned),
            dict(self.operations),
            list(self.fake_devices.told),
            self.version,
        )

    def decide(
        self, text: str, kind: DecisionKind = DecisionKind.LOAD, model: str = "a"
    ) -> DecisionRecord:
        record = DecisionRecord(
            id=len(self.records) + 1,
            at=datetime.fromtimestamp(self.now_s, UTC),
            decision=Decide(kind=kind, text=text, model=ModelName(model)),
        )
        self.records.append(record)
        self.history.publish(record)
        return record

    def lookup(self, name: str) -> ModelSpec:
        found = self.catalogue.get(ModelName(name)) or next(
            (each for each in self.catalogue.values() if name in each.aliases), None
        )
        if found is None:
            raise Denied(
                Refusal(code=RefusalCode.UNKNOWN_MODEL, detail=f"There is no model {name[:80]}.")
            )
        return found

    async def begin_load(self, order: LoadOrder) -> Operation:
        wanted = self.lookup(order.model)
        operation = Operation(
            id=f"op-{next(self.numbers)}",
            kind="load",
            model=wanted.name,
            state=OperationState.LOADING,
            created_at=datetime.fromtimestamp(self.now_s, UTC),
        )
        self.operations[operation.id] = operation, order
        return operation

    async def load_outcome(self, operation_id: str, timeout_s: float) -> LoadOutcome:
        operation, order = self.operations[operation_id]
        if self.refusal is not None:
            raise Denied(self.refusal)
        if self.slow is not None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self.slow.wait()
            except asyncio.CancelledError:
                self.left.append(operation_id)
                raise
        already = operation.model in self.residents
        if timeout_s == 0 and not already:
            raise TimeoutError
        loaded = self.residents.setdefault(operation.model, resident(self.lookup(operation.model)))
        lease = None
        if order.owner is not None or order.lease_s is not None:
            lease = self._lease(loaded, LeaseKind.OWNER, order.owner, order.lease_s)
        finished = replace(operation, state=OperationState.SUCCEEDED)
        self.operations[operation_id] = finished, order
        self.changed()
        return LoadOutcome(
            resident=loaded, lease=lease, evicted=(), already_loaded=already, waited_s=0.01
        )

    def _lease(
        self, held: Resident, kind: LeaseKind, owner: str | None, lease_s: float | None
    ) -> Lease:
        lease = Lease(
            id=LeaseId(f"lease-{next(self.numbers)}"),
            instance=held.instance,
            model=held.name,
            kind=kind,
            owner=owner,
            priority=5,
            granted_s=self.now_s,
            expires_s=self.now_s + (lease_s or 3600),
            ticket=Ticket(1),
        )
        self.leases[lease.id] = lease
        return lease

    def load_progress(self, operation_id: str) -> tuple[Operation, float | None]:
        return self.operations[operation_id][0], 2.5

    async def unload(self, order: UnloadOrder) -> UnloadOutcome:
        wanted = self.lookup(order.model)
        if self.unload_refusal is not None:
            raise Denied(self.unload_refusal)
        left = self.residents.pop(wanted.name, None)
        self.changed()
        return UnloadOutcome(
            spec=wanted,
            status=UnloadStatus.UNLOADED if left else UnloadStatus.NOT_LOADED,
            freed_bytes=left.placement.total_bytes if left else 0,
            verified=True,
            remaining_leases=0,
        )

    async def forecast(self, order: LoadOrder) -> Forecast:
        wanted = self.lookup(order.model)
        plan = Plan(wanted, Placement(((GPU, wanted.footprint.device_bytes),)))
        return Forecast(
            spec=wanted,
            plan=None if self.refusal else plan,
            refusal=self.refusal,
            available_bytes=32256 * MiB,
            eta_s=None if self.refusal else 10.0,
            already_loaded=wanted.name in self.residents,
        )

    async def estimate(self, order: EstimateOrder) -> Appraisal:
        if order.file is not None and not order.file.startswith("/models/"):
            raise ConfigInvalid((f"file: {order.file} lies outside /models",))
        wanted = replace(self.lookup(order.model or "a"), file="/models/a.gguf")
        on_gpu = Share(400 * MiB, 100 * MiB, 50 * MiB, 600 * MiB)
        parts = Estimate("llama", Method.HEADER, (on_gpu,), Share(compute_bytes=30 * MiB))
        self.estimated = order
        return Appraisal(wanted, parts, Footprint(device_bytes=1150 * MiB))

    async def lease_room(self, order: RoomOrder) -> RoomOutcome:
        if self.refusal is not None:
            raise Denied(self.refusal)
        if self.slow is not None:
            await self.slow.wait()
        room = ModelSpec(
            name=ModelName(f"room-{next(self.numbers)}"),
            service=PLAIN_ROOM,
            footprint=Footprint(device_bytes=order.vram_bytes),
        )
        held = resident(room)
        self.residents[room.name] = held
        lease = self._lease(held, LeaseKind.ROOM, order.owner, order.lease_s)
        self.changed()
        return RoomOutcome(lease=lease, resident=held, evicted=())

    def renew_lease(self, lease: LeaseId, lease_s: float) -> Lease:
        self.leases[lease] = replace(self.leases[lease], expires_s=self.now_s + lease_s)
        self.changed()
        return self.leases[lease]

    def release_lease(self, lease: LeaseId) -> bool:
        ended = self.leases.pop(lease, None)
        if ended is not None:
            self.changed()
        return ended is not None

    def set_pin(self, model: str, pinned: bool) -> ModelSpec:
        wanted = self.lookup(model)
        (self.pinned.add if pinned else self.pinned.discard)(wanted.name)
        self.changed()
        return wanted

    async def put_model(self, name: str, body: Mapping[str, object]) -> ModelSpec:
        if "service" not in body:
            raise ConfigInvalid((f"models.{name[:80]}.service is required",))
        made = spec(name)
        self.catalogue = {**self.catalogue, made.name: made}
        self.changed()
        return made

    async def delete_model(self, name: str) -> None:
        gone = self.lookup(name)
        self.catalogue = {n: each for n, each in self.catalogue.items() if n != gone.name}
        self.changed()

    async def operation(self, operation_id: str) -> Operation | None:
        known = self.operations.get(operation_id)
        return known[0] if known else None

    async def decisions(
        self, *, before_id: int | None, after_id: int | None, model: ModelName | None, limit: int
    ) -> tuple[DecisionRecord, ...]:
        found = [
            each
            for each in self.records
            if (before_id is None or each.id < before_id)
            and (after_id is None or each.id > after_id)
            and model in (None, each.decision.model)
        ]
        return tuple((found if after_id is not None else found[::-1])[:limit])

    async def log_tail(self, model: str, lines: int) -> tuple[str, ...]:
        return ("server is listening",)[:lines]

    def degraded(self) -> tuple[str, ...]:
        return self.reasons

    def doubts(self) -> tuple[str, ...]:
        return self.amiss

    async def reload(self) -> ReloadOutcome:
        if self.reload_mistakes:
            raise ConfigInvalid(self.reload_mistakes)
        return ReloadOutcome(changed=("models.a",), needs_restart=())


class Reception:
    """Stands before whichever desk a test has set up, so that one application serves them all."""

    def __init__(self) -> None:
        self.desk = FakeDesk()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk, name)


RECEPTION = Reception()
APP = create_app(cast("Desk", RECEPTION))


def app_of(desk: FakeDesk) -> FastAPI:
    RECEPTION.desk = desk
    APP.state.board = Board(desk)
    APP.state.feed = Feed(desk, APP.state.board)
    return APP


@asynccontextmanager
async def client_of(desk: FakeDesk) -> AsyncIterator[httpx.AsyncClient]:
    """A client in the same process. A crash of the app is an answer, as it is over a socket."""
    transport = httpx.ASGITransport(app_of(desk), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def asked(desk: FakeDesk, method: str, path: str, **more: Any) -> httpx.Response:
    """One request, one answer."""

    async def ask() -> httpx.Response:
        async with client_of(desk) as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


async def leave_after_asking(desk: FakeDesk, path: str, body: bytes) -> None:
    """A caller that sends its request and closes the connection."""
    messages: list[Message] = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }
    async with asyncio.timeout(5):
        await app_of(desk)(scope, receive, send)


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Every (method, path) of the routing table, those that the docs do not show included."""
    found: set[tuple[str, str]] = set()
    waiting: list[Any] = list(app.routes)
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting.extend(inner.routes)
        else:
            found.update((method, route.path) for method in route.methods or ())
    return sorted(found)


def filled(path: str) -> str:
    """A path with something in place of its parameters."""
    return (
        path.replace("{name:path}", "a")
        .replace("{name}", "a")
        .replace("{device_id}", "fake-0")
        .replace("{lease_id}", "lease-1")
        .replace("{operation_id}", "op-1")
        .replace("{asset}", "swagger-ui.css")
    )
