"""Loads that were ordered: under way, waited for, looked up afterwards."""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.conductor.conductor import Conductor
from orchestrator.core.life.outages import refusal_by_server
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import Grant, Requested
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.core.values.tickets import Ticket
from orchestrator.desk import permits
from orchestrator.errors import Denied
from orchestrator.orders import LoadOrder, LoadOutcome
from orchestrator.records import Operation, OperationState
from orchestrator.wall import WALL

OPERATIONS_MAX = 1000  # ended ones kept in memory; the registry keeps the rest


@dataclass(slots=True)
class Loading:
    """One ordered load, and how many callers wait for it."""

    operation: Operation
    ticket: Ticket
    spec: ModelSpec
    order: LoadOrder
    began_s: float
    answer: asyncio.Future[Grant]
    told: bool = False  # its caller knows the operation, and finds the lease there
    listeners: int = 0


class Operations:
    """A load belongs to the model, not to its caller: it goes on when the caller leaves (R4)."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._known: dict[str, Loading] = {}  # under way, and so many that have ended
        self._ended: deque[str] = deque()
        self.ended: Callable[[Operation, LoadOrder], None] = lambda *_: None

    def begin(self, spec: ModelSpec, order: LoadOrder, rights: Rights = EVERYTHING) -> Operation:
        ticket = self._conductor.next_ticket()
        rules = self._conductor.scheduler.state.rules
        hold = LeaseKind.OWNER if order.owner or order.lease_s is not None else None
        lease_s = order.lease_s if order.lease_s is not None else rules.lease_s_default
        now_s = self._conductor.clock()
        operation = Operation(
            id=uuid.uuid4().hex,
            kind="load",
            model=spec.name,
            state=OperationState.QUEUED,
            created_at=WALL.moment(now_s),
            key=rights.id,
        )
        answer = self._conductor.wish(
            Requested(
                ticket=ticket,
                spec=spec,
                priority=permits.priority(order.priority, spec.priority, rights),
                hold=hold,
                lease_s=lease_s if hold is not None else None,
                owner=order.owner,
                ttl_s=order.ttl_s,
                pin=order.pin,
                evicts=order.evict is None,
                key=rights.id,
                bounds=permits.bounds(rights),
            ),
        )
        loading = Loading(operation, ticket, spec, order, now_s, answer)
        self._keep(loading)
        answer.add_done_callback(lambda _: self._finish(loading))
        return operation

    def order(self, operation_id: str) -> LoadOrder:
        """What was ordered. Raise KeyError if it is not known."""
        return self._known[operation_id].order

    async def outcome(self, operation_id: str, timeout_s: float) -> LoadOutcome:
        """Raise Denied, or TimeoutError at the deadline: the load goes on then."""
        loading = self._known[operation_id]
        loading.listeners += 1
        try:
            async with asyncio.timeout(timeout_s):
                granted = await asyncio.shield(loading.answer)
        except TimeoutError:
            loading.told = True
            raise
        except asyncio.CancelledError:
            if not loading.told and loading.listeners <= 1:
                self._conductor.disown(loading.ticket)
            raise
        finally:
            loading.listeners -= 1
        return LoadOutcome(
            resident=granted.resident,
            lease=granted.lease,
            evicted=granted.evicted,
            already_loaded=granted.already_loaded,
            waited_s=self._conductor.clock() - loading.began_s,
            durable=granted.durable,
        )

    def silent(self, operation_id: str) -> Refusal | None:
        """Why a load has not ended although its model is loaded, if that is so."""
        resident = self._conductor.scheduler.state.ledger.resident(
            self._known[operation_id].spec.name
        )
        if resident is None or resident.silent_since_s is None:
            return None
        return refusal_by_server(resident, self._conductor.clock())

    def progress(self, operation_id: str) -> tuple[Operation, float | None]:
        """The operation and the seconds it may still take. Raise KeyError if not known."""
        loading = self._known[operation_id]
        loading.told = True
        if loading.answer.done():
            return loading.operation, 0.0
        resident = self._conductor.scheduler.state.ledger.resident(loading.spec.name)
        if resident is None or resident.state is not ResidentState.LOADING:
            return loading.operation, None
        left_s = loading.spec.load_s - (self._conductor.clock() - resident.state_since_s)
        return replace(loading.operation, state=OperationState.LOADING), max(left_s, 0.0)

    def unheard(self, operation_id: str) -> None:
        """The answer did not reach its caller: the load goes on, and what came with it is not kept.

        Unless that was used meanwhile: a lease that was renewed has a holder.
        """
        if (loading := self._known.get(operation_id)) is not None:
            self._conductor.disown(loading.ticket)

    async def find(self, operation_id: str) -> Operation | None:
        if operation_id in self._known:
            return self.progress(operation_id)[0]
        return await self._conductor.registry.operations.get(operation_id)

    def _keep(self, loading: Loading) -> None:
        self._known[loading.operation.id] = loading
        self._conductor.write_operation(loading.operation)

    def _finish(self, loading: Loading) -> None:
        error = None if loading.answer.cancelled() else loading.answer.exception()
        refusal = error.refusal if isinstance(error, Denied) else None
        loading.operation = replace(
            loading.operation,
            state=OperationState.SUCCEEDED if error is None else OperationState.FAILED,
            finished_at=WALL.moment(self._conductor.clock()),
            code=refusal.code if refusal else None,
            detail=str(error or ""),
        )
        self._conductor.write_operation(loading.operation)
        self.ended(loading.operation, loading.order)
        self._ended.append(loading.operation.id)
        if len(self._ended) > OPERATIONS_MAX:
            del self._known[self._ended.popleft()]
