"""A daemon of plain values behind the web: it loads at once, or as a test tells it to."""

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import httpx

from orchestrator.catalogue.sizing import Appraisal
from orchestrator.conductor.history import History
from orchestrator.config.sections import ServerSettings
from orchestrator.core.room.planner import Plan
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
from orchestrator.core.values.snapshot import DeviceAccount, Snapshot
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
from orchestrator.web.live.cache import Board
from orchestrator.web.live.feed import Feed

NOW_S = 1_768_473_000.0  # 2026-01-15T10:30:00Z
GPU = DeviceId("fake-0")


def spec(name, mb=6000, **more):
    footprint = Footprint(device_bytes=mb * MiB)
    return ModelSpec(
        name=ModelName(name), service=ServiceName("rehearsal"), footprint=footprint, **more
    )


def resident(of, state=ResidentState.READY, **more):
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
    device_id=GPU, *, state=DeviceState.OK, kind=DeviceKind.GPU, total_mb=32768, free_mb=None
):
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
    def __init__(self):
        self.told = []

    def set(self, device_id, *, foreign_bytes=None, fault="untouched"):
        if device_id != GPU:
            raise KeyError(device_id)
        if foreign_bytes is not None and foreign_bytes > 32768 * MiB:
            raise ValueError("foreign bytes must be at most what there is")
        self.told.append((device_id, foreign_bytes, fault))


class FakeDesk:
    """The surface of the conductor, on one device, with nothing behind it."""

    def __init__(self, *models, server=None):
        self.config = Settings(server or ServerSettings())
        self.now_s = NOW_S
        self.catalogue: Mapping[ModelName, ModelSpec] = {
            each.name: each for each in models or (spec("a"), spec("b", aliases=("bee",)))
        }
        self.history = History("life1")
        self.fake_devices = PretendedDevices()
        self.residents = {}
        self.leases = {}
        self.pinned = set()
        self.breakers = {}
        self.queue = ()
        self.accounts = (account(),)
        self.version = 1
        self.operations = {}
        self.refusal = None  # every load and lease of room is refused with it
        self.unload_refusal = None
        self.left = []  # operations whose callers did not wait for the end
        self.slow = None  # an Event: loads wait for it
        self.reasons = ()
        self.amiss = ()
        self.reload_mistakes = ()
        self.records = []
        self.numbers = itertools.count(1)

    def clock(self):
        return self.now_s

    def changed(self):
        self.version += 1
        self.history.note(self.snapshot())

    def snapshot(self):
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

    def state(self):
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

    def decide(self, text, kind=DecisionKind.LOAD, model="a"):
        record = DecisionRecord(
            id=len(self.records) + 1,
            at=datetime.fromtimestamp(self.now_s, UTC),
            decision=Decide(kind=kind, text=text, model=ModelName(model)),
        )
        self.records.append(record)
        self.history.publish(record)
        return record

    def lookup(self, name):
        found = self.catalogue.get(name) or next(
            (each for each in self.catalogue.values() if name in each.aliases), None
        )
        if found is None:
            raise Denied(
                Refusal(code=RefusalCode.UNKNOWN_MODEL, detail=f"There is no model {name[:80]}.")
            )
        return found

    async def begin_load(self, order: LoadOrder):
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

    async def load_outcome(self, operation_id, timeout_s):
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

    def _lease(self, held, kind, owner, lease_s):
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

    def load_progress(self, operation_id):
        return self.operations[operation_id][0], 2.5

    async def unload(self, order: UnloadOrder):
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

    async def forecast(self, order: LoadOrder):
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

    async def estimate(self, order: EstimateOrder):
        if order.file is not None and not order.file.startswith("/models/"):
            raise ConfigInvalid((f"file: {order.file} lies outside /models",))
        wanted = replace(self.lookup(order.model or "a"), file="/models/a.gguf")
        on_gpu = Share(400 * MiB, 100 * MiB, 50 * MiB, 600 * MiB)
        parts = Estimate("llama", Method.HEADER, (on_gpu,), Share(compute_bytes=30 * MiB))
        self.estimated = order
        return Appraisal(wanted, parts, Footprint(device_bytes=1150 * MiB))

    async def lease_room(self, order: RoomOrder):
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

    def renew_lease(self, lease, lease_s):
        self.leases[lease] = replace(self.leases[lease], expires_s=self.now_s + lease_s)
        self.changed()
        return self.leases[lease]

    def release_lease(self, lease):
        ended = self.leases.pop(lease, None)
        if ended is not None:
            self.changed()
        return ended is not None

    def set_pin(self, model, pinned):
        wanted = self.lookup(model)
        (self.pinned.add if pinned else self.pinned.discard)(wanted.name)
        self.changed()
        return wanted

    async def put_model(self, name, body):
        if "service" not in body:
            raise ConfigInvalid((f"models.{name[:80]}.service is required",))
        self.catalogue = {**self.catalogue, name: spec(name)}
        self.changed()
        return self.catalogue[name]

    async def delete_model(self, name):
        gone = self.lookup(name)
        self.catalogue = {n: each for n, each in self.catalogue.items() if n != gone.name}
        self.changed()

    async def operation(self, operation_id):
        known = self.operations.get(operation_id)
        return known[0] if known else None

    async def decisions(self, *, before_id, after_id, model, limit):
        found = [
            each
            for each in self.records
            if (before_id is None or each.id < before_id)
            and (after_id is None or each.id > after_id)
            and model in (None, each.decision.model)
        ]
        return tuple((found if after_id is not None else found[::-1])[:limit])

    async def log_tail(self, model, lines):
        return ("server is listening",)[:lines]

    def degraded(self):
        return self.reasons

    def doubts(self):
        return self.amiss

    async def reload(self):
        if self.reload_mistakes:
            raise ConfigInvalid(self.reload_mistakes)
        return ReloadOutcome(changed=("models.a",), needs_restart=())


class Reception:
    """Stands before whichever desk a test has set up, so that one application serves them all."""

    def __init__(self):
        self.desk = FakeDesk()

    def __getattr__(self, name):
        return getattr(self.desk, name)


RECEPTION = Reception()
APP = create_app(RECEPTION)


def app_of(desk):
    RECEPTION.desk = desk
    APP.state.board = Board(desk)
    APP.state.feed = Feed(desk, APP.state.board)
    return APP


@asynccontextmanager
async def client_of(desk):
    """A client in the same process. A crash of the app is an answer, as it is over a socket."""
    transport = httpx.ASGITransport(app_of(desk), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def asked(desk, method, path, **more):
    """One request, one answer."""

    async def ask():
        async with client_of(desk) as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


async def leave_after_asking(desk, path, body):
    """A caller that sends its request and closes the connection."""
    messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
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


def routes_of(app):
    """Every (method, path) of the routing table, those that the docs do not show included."""
    found = set()
    waiting = list(app.routes)
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting.extend(inner.routes)
        else:
            found.update((method, route.path) for method in route.methods or ())
    return sorted(found)


def filled(path):
    """A path with something in place of its parameters."""
    return (
        path.replace("{name:path}", "a")
        .replace("{name}", "a")
        .replace("{device_id}", "fake-0")
        .replace("{lease_id}", "lease-1")
        .replace("{operation_id}", "op-1")
        .replace("{asset}", "swagger-ui.css")
    )
