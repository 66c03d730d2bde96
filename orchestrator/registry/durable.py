"""Belief that outlives a disk that fails: what could not be written is kept and tried again.

Nobody who decides or acts fails for a full disk. The daemon goes on with what it knows, says loudly
that it is not written down, and writes it down as soon as the disk takes it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.leases import Lease, LeaseId
from orchestrator.core.residents import InstanceId
from orchestrator.core.specs import ModelName
from orchestrator.errors import RegistryFailed
from orchestrator.ports import (
    DecisionRecord,
    LearnedRecord,
    Memory,
    Operation,
    Registry,
    ResidentRecord,
)
from orchestrator.registry.paging import Page

# How long a load waits for its intent to be written: thrice the slowest fsync we have seen. After
# that it goes on unwritten: `discover` finds what runs, and a disk that hangs must not stop a house.
WRITE_PATIENCE_S = 5.0
# What is kept of what could not be written, beyond which the oldest is given up. State is small and
# keyed; a lost row of it costs at most a re-measurement or a question to a runtime at restart.
STATE_UNWRITTEN_MAX = 10_000
DECISIONS_UNWRITTEN_MAX = 1_000  # an hour or more of a busy machine's history
OPERATIONS_UNWRITTEN_MAX = 1_000

RETRY_TOGETHER_MAX = 1_000  # a tenth of what the registry lets wait: new writes find room beside it

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class _Write(Generic[V]):
    """The newest thing to be written about one key."""

    value: V
    act: Callable[[], Awaitable[object]]
    task: asyncio.Task[None] | None = None
    failed: bool = False

    @property
    def waits(self) -> bool:
        return self.failed and (self.task is None or self.task.done())


class _Shelf(Generic[K, V]):
    """Writes that are not known to be on the disk, oldest first, one per key."""

    def __init__(self, length_max: int) -> None:
        self._length_max = length_max
        self.writes: dict[K, _Write[V]] = {}
        self.given_up = 0

    def put(self, key: K, write: _Write[V]) -> None:
        self.writes[key] = write

    def took(self, key: K, write: _Write[V]) -> None:
        if self.writes.get(key) is write:  # otherwise there is something newer to say
            del self.writes[key]

    def trim(self) -> None:
        while len(self.writes) > self._length_max:
            del self.writes[next(iter(self.writes))]
            self.given_up += 1


class SteadyRegistry:
    """Keeps the contract of `inner`, except that no write ever raises RegistryFailed.

    A write returns when it is on the disk, or has failed, or has waited for WRITE_PATIENCE_S. What
    is not written waits for `retry`, which a timer calls. Reading may still raise RegistryFailed.
    """

    def __init__(self, inner: Registry, *, patience_s: float = WRITE_PATIENCE_S) -> None:
        self._inner = inner
        self._patience_s = patience_s
        self._cause = ""
        self._state: _Shelf[tuple[str, ...], Lease | None] = _Shelf(STATE_UNWRITTEN_MAX)
        self._operations: _Shelf[str, Operation] = _Shelf(OPERATIONS_UNWRITTEN_MAX)
        self._decisions: _Shelf[int, DecisionRecord] = _Shelf(DECISIONS_UNWRITTEN_MAX)

    @property
    def unwritten(self) -> int:
        """How many changes the disk has refused so far or has not answered for in time."""
        return sum(write.failed for write in self._all_writes())

    @property
    def given_up(self) -> int:
        """How many changes were dropped since the start because too many waited."""
        return self._state.given_up + self._operations.given_up + self._decisions.given_up

    @property
    def problem(self) -> str | None:
        """Why what the daemon knows is not all written down; None when it is."""
        unwritten = self.unwritten
        if unwritten == 0:
            return None
        lost = f" {self.given_up} older ones were given up." if self.given_up else ""
        return f"{self._cause} {unwritten} changes wait to be written; nothing stops for it.{lost}"

    async def retry(self) -> None:
        """Try again what waits. With nothing to do it costs nothing; calls may overlap."""
        waiting = [attempt for attempt in self._attempts() if attempt[0].waits]
        for start in range(0, len(waiting), RETRY_TOGETHER_MAX):
            together = waiting[start : start + RETRY_TOGETHER_MAX]
            await self._try(together)
            if all(write.failed for write, _ in together):
                return  # the disk has not recovered: the rest would only wait for the same answer

    async def recall(self) -> Memory:
        return await self._inner.recall()

    async def put_resident(self, record: ResidentRecord) -> None:
        key = ("resident", record.resident.instance)
        await self._keep(self._state, key, None, lambda: self._inner.put_resident(record))

    async def drop_resident(self, instance: InstanceId) -> None:
        for key, write in list(self._state.writes.items()):
            if write.value is not None and write.value.instance == instance:
                del self._state.writes[key]  # as the registry does with those it holds
        key = ("resident", instance)
        await self._keep(self._state, key, None, lambda: self._inner.drop_resident(instance))

    async def put_lease(self, lease: Lease) -> None:
        key = ("lease", lease.id)
        await self._keep(self._state, key, lease, lambda: self._inner.put_lease(lease))

    async def drop_lease(self, lease: LeaseId) -> None:
        key = ("lease", lease)
        await self._keep(self._state, key, None, lambda: self._inner.drop_lease(lease))

    async def put_operation(self, operation: Operation) -> None:
        await self._keep(
            self._operations,
            operation.id,
            operation,
            lambda: self._inner.put_operation(operation),
        )

    async def operation(self, operation_id: str) -> Operation | None:
        waiting = self._operations.writes.get(operation_id)
        return waiting.value if waiting else await self._inner.operation(operation_id)

    async def add_decision(self, record: DecisionRecord) -> None:
        await self._keep(
            self._decisions, record.id, record, lambda: self._inner.add_decision(record)
        )

    async def decisions(
        self, *, before_id: int | None, after_id: int | None, model: ModelName | None, limit: int
    ) -> tuple[DecisionRecord, ...]:
        written = await self._inner.decisions(
            before_id=before_id, after_id=after_id, model=model, limit=limit
        )
        page = Page(before_id=before_id, after_id=after_id, model=model, limit=limit)
        waiting = [write.value for write in self._decisions.writes.values()]
        return page.of({record.id: record for record in (*written, *waiting)}.values())

    async def put_learned(self, record: LearnedRecord) -> None:
        key = ("learned", record.model, record.settings)
        await self._keep(self._state, key, None, lambda: self._inner.put_learned(record))

    async def put_pin(self, model: ModelName, pinned: bool) -> None:
        key = ("pin", model)
        await self._keep(self._state, key, None, lambda: self._inner.put_pin(model, pinned))

    async def prune(self, *, before: datetime, keep_decisions: int) -> int:
        """0 if the disk refused: it is owed, and done by a later `retry`."""
        deleted = 0

        async def act() -> None:
            nonlocal deleted
            deleted = await self._inner.prune(before=before, keep_decisions=keep_decisions)

        await self._keep(self._state, ("prune",), None, act)
        return deleted

    async def close(self) -> None:
        """Try a last time, then close. Raise RegistryFailed if the disk hangs."""
        await self.retry()
        await self._inner.close()

    async def _keep(
        self, shelf: _Shelf[K, V], key: K, value: V, act: Callable[[], Awaitable[object]]
    ) -> None:
        write = _Write(value, act)
        shelf.put(key, write)
        await self._try([(write, lambda: self._perform(shelf, key, write))])

    def _all_writes(self) -> Iterator[_Write[Any]]:
        for shelf in (self._state, self._operations, self._decisions):
            yield from shelf.writes.values()

    async def _perform(self, shelf: _Shelf[K, V], key: K, write: _Write[V]) -> None:
        try:
            await write.act()
        except RegistryFailed as failed:
            self._cause = str(failed)
            write.failed = True
            shelf.trim()
        else:
            write.failed = False
            shelf.took(key, write)
