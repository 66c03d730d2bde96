"""Belief that outlives a disk that fails: what could not be written is kept and tried again.

Nobody who decides or acts fails for a full disk. The daemon goes on with what it knows, says loudly
that it is not written down, and writes it down as soon as the disk takes it.
"""

from datetime import datetime

from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.ports import (
    DecisionRecord,
    LearnedRecord,
    Memory,
    Operation,
    Registry,
    ResidentRecord,
)
from orchestrator.registry.paging import Page
from orchestrator.registry.unwritten import WRITE_PATIENCE_S, Unwritten

# Beyond these the oldest unwritten change is given up. A lost row of the state costs a question to
# a runtime or a new measurement after a restart; lost history is a gap in what can be explained.
STATE_UNWRITTEN_MAX = 10_000
OPERATIONS_UNWRITTEN_MAX = 1_000
DECISIONS_UNWRITTEN_MAX = 1_000  # an hour or more of a busy machine


class SteadyRegistry:
    """Keeps the contract of `inner`, except that no write raises RegistryFailed.

    A write returns when it is on the disk, was refused, or has waited for `patience_s`. What is not
    written waits for `retry`, which a timer calls. Reading may still raise RegistryFailed.
    """

    def __init__(self, inner: Registry, *, patience_s: float = WRITE_PATIENCE_S) -> None:
        self._inner = inner
        self._state = Unwritten[Lease | None](STATE_UNWRITTEN_MAX, patience_s)
        self._operations = Unwritten[Operation](OPERATIONS_UNWRITTEN_MAX, patience_s)
        self._decisions = Unwritten[DecisionRecord](DECISIONS_UNWRITTEN_MAX, patience_s)

    @property
    def problem(self) -> str | None:
        """Why not all that the daemon knows is written down; None when it is."""
        refusals = [
            *self._operations.refusals,
            *self._decisions.refusals,
            *self._state.refusals,
        ]
        if not refusals:
            return None
        lost = f" {self.given_up} older ones were given up." if self.given_up else ""
        return (
            f"{refusals[-1]} {len(refusals)} changes are kept until the disk takes them, and the "
            f"work goes on.{lost}"
        )

    @property
    def given_up(self) -> int:
        """How many changes were dropped since the start, because too many had to wait."""
        return self._state.given_up + self._operations.given_up + self._decisions.given_up

    async def retry(self) -> None:
        """Try again what the disk refused. With nothing to do it costs nothing."""
        await self._state.retry()
        await self._operations.retry()
        await self._decisions.retry()

    async def recall(self) -> Memory:
        return await self._inner.recall()

    async def put_resident(self, record: ResidentRecord) -> None:
        key = ("resident", record.resident.instance)
        await self._state.put(key, None, lambda: self._inner.put_resident(record))

    async def drop_resident(self, instance: InstanceId) -> None:
        for held, lease in self._state.values().items():
            if lease is not None and lease.instance == instance:
                self._state.forget(held)  # as the registry does with those that it holds
        key = ("resident", instance)
        await self._state.put(key, None, lambda: self._inner.drop_resident(instance))

    async def put_lease(self, lease: Lease) -> None:
        await self._state.put(("lease", lease.id), lease, lambda: self._inner.put_lease(lease))

    async def drop_lease(self, lease: LeaseId) -> None:
        await self._state.put(("lease", lease), None, lambda: self._inner.drop_lease(lease))

    async def put_operation(self, operation: Operation) -> None:
        await self._operations.put(
            (operation.id,), operation, lambda: self._inner.put_operation(operation)
        )

    async def operation(self, operation_id: str) -> Operation | None:
        unwritten = self._operations.values().get((operation_id,))
        return unwritten or await self._inner.operation(operation_id)

    async def add_decision(self, record: DecisionRecord) -> None:
        await self._decisions.put((record.id,), record, lambda: self._inner.add_decision(record))

    async def decisions(
        self, *, before_id: int | None, after_id: int | None, model: ModelName | None, limit: int
    ) -> tuple[DecisionRecord, ...]:
        page = Page(before_id=before_id, after_id=after_id, model=model, limit=limit)
        # Looked at first: what is written meanwhile is then seen twice, and not missed.
        unwritten = self._decisions.values().values()
        written = await self._inner.decisions(
            before_id=before_id, after_id=after_id, model=model, limit=limit
        )
        return page.of({record.id: record for record in (*written, *unwritten)}.values())

    async def put_learned(self, record: LearnedRecord) -> None:
        key = ("learned", record.model, record.settings)
        await self._state.put(key, None, lambda: self._inner.put_learned(record))

    async def put_pin(self, model: ModelName, pinned: bool) -> None:
        await self._state.put(("pin", model), None, lambda: self._inner.put_pin(model, pinned))

    async def prune(self, *, before: datetime, keep_decisions: int) -> int:
        """0 also if the disk refused: the next pruning makes up for it, or `retry` before that."""
        deleted = 0

        async def act() -> None:
            nonlocal deleted
            deleted = await self._inner.prune(before=before, keep_decisions=keep_decisions)

        await self._state.put(("prune",), None, act)
        return deleted

    async def close(self) -> None:
        """Try a last time, then close. Raise RegistryFailed if the disk hangs."""
        await self.retry()
        await self._inner.close()
