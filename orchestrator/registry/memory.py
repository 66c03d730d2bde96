"""A registry that forgets everything with its process: for tests, simulation and trials."""

import asyncio
from datetime import datetime

from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.errors import RegistryFailed
from orchestrator.ports import DecisionRecord, LearnedRecord, Memory, Operation, ResidentRecord
from orchestrator.registry.paging import FINISHED_OPERATIONS_KEPT_MAX, Page


class MemoryRegistry:
    """Keeps the contract of the real one. `fault`, while it is set, is why writes fail."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self._closed = False
        self._residents: dict[InstanceId, ResidentRecord] = {}
        self._leases: dict[LeaseId, Lease] = {}
        self._operations: dict[str, Operation] = {}
        self._decisions: dict[int, DecisionRecord] = {}
        self._learned: dict[tuple[ModelName, str], LearnedRecord] = {}
        self._pins: dict[ModelName, bool] = {}

    async def recall(self) -> Memory:
        await self._answer()
        return Memory(
            residents=tuple(self._residents.values()),
            leases=tuple(self._leases.values()),
            learned=tuple(self._learned.values()),
            pins=dict(self._pins),
            last_decision_id=max(self._decisions, default=0),
        )

    async def put_resident(self, record: ResidentRecord) -> None:
        await self._take()
        self._residents[record.resident.instance] = record

    async def drop_resident(self, instance: InstanceId) -> None:
        await self._take()
        self._residents.pop(instance, None)
        for lease in [held for held in self._leases.values() if held.instance == instance]:
            del self._leases[lease.id]

    async def put_lease(self, lease: Lease) -> None:
        await self._take()
        if lease.instance not in self._residents:
            raise RegistryFailed(f"lease {lease.id} is of {lease.instance}, which was never put")
        self._leases[lease.id] = lease

    async def drop_lease(self, lease: LeaseId) -> None:
        await self._take()
        self._leases.pop(lease, None)

    async def put_operation(self, operation: Operation) -> None:
        await self._take()
        self._operations[operation.id] = operation

    async def operation(self, operation_id: str) -> Operation | None:
        await self._answer()
        return self._operations.get(operation_id)

    async def add_decision(self, record: DecisionRecord) -> None:
        await self._take()
        self._decisions[record.id] = record

    async def decisions(
        self, *, before_id: int | None, after_id: int | None, model: ModelName | None, limit: int
    ) -> tuple[DecisionRecord, ...]:
        await self._answer()
        page = Page(before_id=before_id, after_id=after_id, model=model, limit=limit)
        return page.of(self._decisions.values())

    async def put_learned(self, record: LearnedRecord) -> None:
        await self._take()
        self._learned[record.model, record.settings] = record

    async def put_pin(self, model: ModelName, pinned: bool) -> None:
        await self._take()
        self._pins[model] = pinned

    async def prune(self, *, before: datetime, keep_decisions: int) -> int:
        await self._take()
        newest_first = sorted(self._decisions.values(), key=lambda record: -record.id)
        surplus = [
            record.id
            for position, record in enumerate(newest_first)
            if position > 0 and (record.at < before or position >= keep_decisions)
        ]
        ended = sorted(
            (at, key) for key, one in self._operations.items() if (at := one.finished_at)
        )
        aged = sum(at < before for at, _ in ended)
        finished = ended[: max(aged, len(ended) - FINISHED_OPERATIONS_KEPT_MAX)]
        for record_id in surplus:
            del self._decisions[record_id]
        for _, key in finished:
            del self._operations[key]
        return len(surplus) + len(finished)

    async def close(self) -> None:
        self._closed = True

    async def _answer(self) -> None:
        """Let others run, as a registry with a disk does: their turn may matter."""
        if self._closed:
            raise RegistryFailed("the registry is closed")
        await asyncio.sleep(0)

    async def _take(self) -> None:
        await self._answer()
        if self.fault is not None:
            raise RegistryFailed(self.fault)
