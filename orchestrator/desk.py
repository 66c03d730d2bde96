"""Takes orders, tells the conductor, and hands out what came of them.

Everything a person or a workflow can ask of this daemon is one method here; HTTP, the terminal
and tests differ only in what they do with the answer.
"""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchestrator.catalogue import Body, Book
from orchestrator.conductor import Conductor
from orchestrator.config import Config
from orchestrator.core.eviction import Urgency
from orchestrator.core.grants import room_spec, serves
from orchestrator.core.leases import Lease, LeaseId, LeaseKind, Ticket
from orchestrator.core.messages import (
    CatalogueChanged,
    Finish,
    Grant,
    PinChanged,
    Released,
    Renewed,
    Requested,
    UnloadRequested,
)
from orchestrator.core.planner import Plan, Question, plan
from orchestrator.core.refusals import Refusal, RefusalCode
from orchestrator.core.residents import Resident, ResidentState
from orchestrator.core.snapshot import Snapshot
from orchestrator.core.specs import PRIORITY_DEFAULT, ModelName, ModelSpec
from orchestrator.core.vram import MiB
from orchestrator.errors import Denied, RegistryFailed
from orchestrator.gpu.fake import FakeDevices
from orchestrator.history import History
from orchestrator.orders import (
    Forecast,
    LoadOrder,
    LoadOutcome,
    ReloadOutcome,
    RoomOrder,
    RoomOutcome,
    UnloadOrder,
    UnloadOutcome,
)
from orchestrator.ports import Clock, DecisionRecord, Operation, OperationState

OPERATIONS_MAX = 1000  # kept in memory for those who ask later; the registry keeps the rest


@dataclass(slots=True)
class Loading:
    """An operation under way, with those who wait for it."""

    operation: Operation
    spec: ModelSpec
    ticket: Ticket
    began_s: float
    answer: asyncio.Future[Grant | Finish]
    named: bool  # somebody can still find the lease: by its owner, or by the operation
    listeners: int = 0


class Desk:
    def __init__(
        self,
        *,
        conductor: Conductor,
        book: Book,
        problems: Callable[[], tuple[str, ...]],
        fake_devices: FakeDevices | None = None,
    ) -> None:
        self._conductor = conductor
        self._book = book
        self._problems = problems
        self._fake_devices = fake_devices
        self._operations: OrderedDict[str, Loading] = OrderedDict()

    # --- what is ---------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        return self._book.config

    @property
    def clock(self) -> Clock:
        return self._conductor.clock

    @property
    def catalogue(self) -> Mapping[ModelName, ModelSpec]:
        return self._book.catalogue

    @property
    def history(self) -> History:
        return self._conductor.history

    @property
    def fake_devices(self) -> FakeDevices | None:
        """Devices that do what they are told; only with `devices.source: fake`."""
        return self._fake_devices

    def snapshot(self) -> Snapshot:
        return self._conductor.snapshot()

    def degraded(self) -> tuple[str, ...]:
        """Why this daemon should not be sent work now; empty: it should."""
        problems = list(self._problems())
        if self._conductor.scheduler.state.shutting_down:
            problems.append("the orchestrator is shutting down")
        accounts = self.snapshot().accounts
        if not accounts:
            problems.append("no device has been read yet")
        elif all(account.available_bytes is None for account in accounts):
            problems += [f"{a.reading.device.id}: {a.reading.problem}" for a in accounts]
        return tuple(problems)

    # --- loads -----------------------------------------------------------------------------------

    def begin_load(self, order: LoadOrder) -> Operation:
        """Register the wish. Raise Denied at once where no waiting is needed to know."""
        spec = self._book.spec_for(order)
        ticket = self._conductor.next_ticket()
        rules = self._conductor.scheduler.state.rules
        hold = LeaseKind.OWNER if order.owner or order.lease_s is not None else None
        lease_s = order.lease_s if order.lease_s is not None else rules.lease_s_default
        now = datetime.fromtimestamp(self.clock(), UTC)
        operation = Operation(
            id=uuid.uuid4().hex,
            kind="load",
            model=spec.name,
            state=OperationState.QUEUED,
            created_at=now,
        )
        answer = self._conductor.ask(
            ticket,
            Requested(
                ticket=ticket,
                spec=spec,
                priority=spec.priority if order.priority is None else order.priority,
                hold=hold,
                lease_s=lease_s if hold is not None else None,
                owner=order.owner,
                ttl_s=order.ttl_s,
                pin=order.pin,
            ),
        )
        loading = Loading(
            operation=operation,
            spec=spec,
            ticket=ticket,
            began_s=self.clock(),
            answer=answer,
            named=order.owner is not None,
        )
        self._remember(loading)
        answer.add_done_callback(lambda _: self._finish(loading))
        return operation

    async def load_outcome(self, operation_id: str, timeout_s: float) -> LoadOutcome:
        """Raise Denied, or TimeoutError at the deadline: the load goes on then."""
        loading = self._operations[operation_id]
        loading.listeners += 1
        try:
            async with asyncio.timeout(timeout_s):
                granted = await asyncio.shield(loading.answer)
        except TimeoutError:
            loading.named = True  # the caller is told the operation, and finds the lease there
            raise
        except asyncio.CancelledError:
            self._give_back_unheard(loading)
            raise
        finally:
            loading.listeners -= 1
        assert isinstance(granted, Grant)
        return self._outcome(loading, granted)

    def load_progress(self, operation_id: str) -> tuple[Operation, float | None]:
        """The operation and the seconds it may still take. Raise KeyError if not known."""
        loading = self._operations[operation_id]
        loading.named = True
        if loading.answer.done():
            return loading.operation, 0.0
        resident = self._conductor.scheduler.state.ledger.resident(loading.spec.name)
        if resident is None or resident.state is not ResidentState.LOADING:
            return loading.operation, None
        left_s = loading.spec.load_s - (self.clock() - resident.state_since_s)
        operation = replace(loading.operation, state=OperationState.LOADING)
        return operation, max(left_s, 0.0)

    async def operation(self, operation_id: str) -> Operation | None:
        if operation_id in self._operations:
            return self.load_progress(operation_id)[0]
        return await self._conductor.registry.operation(operation_id)

    def _remember(self, loading: Loading) -> None:
        self._operations[loading.operation.id] = loading
        self._conductor.write_operation(loading.operation)
        if len(self._operations) > OPERATIONS_MAX:
            oldest = next(
                (key for key, each in self._operations.items() if each.answer.done()), None
            )
            if oldest is not None:
                del self._operations[oldest]

    def _finish(self, loading: Loading) -> None:
        finished_at = datetime.fromtimestamp(self.clock(), UTC)
        error = None if loading.answer.cancelled() else loading.answer.exception()
        if error is None:
            operation = replace(
                loading.operation, state=OperationState.SUCCEEDED, finished_at=finished_at
            )
        else:
            refused = error.refusal if isinstance(error, Denied) else None
            operation = replace(
                loading.operation,
                state=OperationState.FAILED,
                finished_at=finished_at,
                code=refused.code if refused else None,
                detail=str(error),
            )
        loading.operation = operation
        self._conductor.write_operation(operation)

    def _give_back_unheard(self, loading: Loading) -> None:
        """The only caller left before it heard of its lease: the load goes on, unleased."""
        if loading.named or loading.listeners > 1:
            return

        def give_back(answer: asyncio.Future[Grant | Finish]) -> None:
            if answer.cancelled() or answer.exception() is not None:
                return
            granted = answer.result()
            if isinstance(granted, Grant) and granted.lease is not None:
                self._conductor.tell(Released(granted.lease.id))

        loading.answer.add_done_callback(give_back)

    def _outcome(self, loading: Loading, granted: Grant) -> LoadOutcome:
        return LoadOutcome(
            resident=granted.resident,
            lease=granted.lease,
            evicted=granted.evicted,
            already_loaded=granted.already_loaded,
            waited_s=self.clock() - loading.began_s,
        )

    # --- unloads ---------------------------------------------------------------------------------

    async def unload(self, order: UnloadOrder) -> UnloadOutcome:
        """Return when it is gone, or the owner's lease is. Raise Denied if it is in use."""
        spec = self._book.named(order.model)
        ticket = self._conductor.next_ticket()
        answer = self._conductor.ask(
            ticket,
            UnloadRequested(
                ticket=ticket,
                model=spec.name,
                force=order.force,
                owner=order.owner,
                lease=order.lease,
                deadline_s=self.clock() + order.wait_s,
            ),
        )
        try:
            finished = await answer
        except asyncio.CancelledError:
            self._conductor.withdraw(ticket)
            raise
        assert isinstance(finished, Finish)
        return UnloadOutcome(
            spec=spec,
            status=finished.status,
            freed_bytes=finished.freed_bytes,
            verified=finished.verified,
            remaining_leases=finished.remaining_leases,
        )

    # --- plans -----------------------------------------------------------------------------------

    def forecast(self, order: LoadOrder) -> Forecast:
        """What a load would do, without doing it: the scheduler's own plan."""
        spec = self._book.spec_for(order)
        state = self._conductor.scheduler.state
        resident = state.ledger.resident(spec.name)
        available_bytes = sum(account.available_bytes or 0 for account in self.snapshot().accounts)
        if resident is not None and _is_served_by(resident, spec):
            placed = Plan(spec, resident.placement)
            return Forecast(
                spec=spec,
                plan=placed,
                refusal=None,
                available_bytes=available_bytes,
                eta_s=0.0,
                already_loaded=True,
            )
        found = plan(
            Question(
                spec=spec,
                urgency=Urgency(
                    priority=spec.priority if order.priority is None else order.priority
                ),
                rules=state.rules,
                now_s=self.clock(),
                pinned=frozenset(state.pinned),
                policy=state.policy,
            ),
            state.ledger,
        )
        refused = isinstance(found, Refusal)
        return Forecast(
            spec=spec,
            plan=None if isinstance(found, Refusal) else found,
            refusal=found if isinstance(found, Refusal) else None,
            available_bytes=available_bytes,
            eta_s=None if refused else spec.load_s,
            already_loaded=False,
        )

    # --- leases ----------------------------------------------------------------------------------

    async def lease_room(self, order: RoomOrder) -> RoomOutcome:
        """Room for work that is not ours. If the caller is cancelled, nothing stays leased."""
        ticket = self._conductor.next_ticket()
        name = ModelName(f"lease-{uuid.uuid4().hex[:12]}")
        priority = PRIORITY_DEFAULT if order.priority is None else order.priority
        spec = room_spec(name, order.vram_bytes, order.device, priority)
        answer = self._conductor.ask(
            ticket,
            Requested(
                ticket=ticket,
                spec=spec,
                priority=spec.priority,
                hold=LeaseKind.ROOM,
                lease_s=order.lease_s,
                owner=order.owner,
                deadline_s=self.clock() + order.wait_s,
            ),
        )
        try:
            granted = await answer
        except asyncio.CancelledError:
            self._conductor.withdraw(ticket)
            raise
        assert isinstance(granted, Grant)
        assert granted.lease is not None
        return RoomOutcome(lease=granted.lease, resident=granted.resident, evicted=granted.evicted)

    def renew_lease(self, lease: LeaseId, lease_s: float) -> Lease:
        """Raise KeyError if it is not known, or has ended."""
        leases = self._conductor.scheduler.state.leases
        if lease not in leases:
            raise KeyError(lease)
        self._conductor.tell(Renewed(lease, self.clock() + lease_s))
        return leases[lease]

    def release_lease(self, lease: LeaseId) -> bool:
        """False if it had ended already."""
        known = lease in self._conductor.scheduler.state.leases
        self._conductor.tell(Released(lease))
        return known

    # --- the catalogue ---------------------------------------------------------------------------

    def set_pin(self, model: str, pinned: bool) -> ModelSpec:
        spec = self._book.named(model)
        self._conductor.tell(PinChanged(spec.name, pinned))
        return spec

    async def put_model(self, name: str, body: Body) -> ModelSpec:
        """Raise ConfigInvalid with every mistake in it."""
        spec = await self._book.put(name, body)
        self._conductor.tell(CatalogueChanged(self._book.catalogue))
        return spec

    async def delete_model(self, name: str) -> None:
        """Raise Denied while it is resident: unload it first."""
        spec = self._book.named(name)
        if self._conductor.scheduler.state.ledger.resident(spec.name) is not None:
            raise Denied(
                Refusal(
                    code=RefusalCode.CONFLICT,
                    detail=f"{spec.name} is resident.",
                    remedy="Unload it first (POST /models/unload).",
                )
            )
        await self._book.delete(spec.name)
        self._conductor.tell(CatalogueChanged(self._book.catalogue))

    async def reload(self) -> ReloadOutcome:
        """Raise ConfigInvalid; nothing has changed then."""
        outcome = await self._book.reload()
        self.apply_rules()
        self._conductor.tell(CatalogueChanged(self._book.catalogue))
        return outcome

    def apply_rules(self) -> None:
        """What the configuration says about waiting and about room holds from now on."""
        devices = self._book.config.devices
        budget = devices.budget_mb
        self._conductor.take_rules(
            self._book.config.scheduling.rules,
            headroom_bytes=devices.headroom_mb * MiB,
            budget_bytes=(
                {name: each * MiB for name, each in budget.items()}
                if isinstance(budget, dict)
                else None
                if budget is None
                else budget * MiB
            ),
        )

    # --- the past --------------------------------------------------------------------------------

    async def decisions(
        self, *, before_id: int | None, after_id: int | None, model: ModelName | None, limit: int
    ) -> tuple[DecisionRecord, ...]:
        """From the registry; from memory where the disk does not answer."""
        try:
            return await self._conductor.registry.decisions(
                before_id=before_id, after_id=after_id, model=model, limit=limit
            )
        except RegistryFailed:
            recent = [
                record
                for record in self.history.decisions()
                if model is None or record.decision.model == model
            ]
            return tuple(reversed(recent))[:limit]

    async def log_tail(self, model: str, lines: int) -> tuple[str, ...]:
        """Empty if it never ran."""
        return await self._conductor.log_tail(self._book.named(model).name, lines)


def _is_served_by(resident: Resident, spec: ModelSpec) -> bool:
    return resident.state is ResidentState.READY and serves(resident, spec)
