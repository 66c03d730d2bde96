"""A registry without a disk, as fast and as orderly as a simulation needs it."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from orchestrator.errors import RegistryFailed
from orchestrator.records import (
    BENCHMARKS_KEPT_MAX,
    BenchmarkRecord,
    DecisionRecord,
    LearnedRecord,
    Operation,
    Page,
    RequestPage,
    RequestRecord,
)
from orchestrator.registry.statements import (
    FINISHED_OPERATIONS_KEPT_MAX,
    LEARNED_KEPT_MAX,
    LEARNED_OF_A_MODEL_KEPT_MAX,
    REQUESTS_KEPT_MAX,
)
from orchestrator.registry.tables import (
    BENCHMARKS,
    DECISIONS,
    LEARNED,
    OPERATIONS,
    REQUESTS,
    Table,
    Tables,
)

K = TypeVar("K")
V = TypeVar("V")


class MemoryRegistry(Tables):
    """Keeps the contract of the real one (`tests/contracts/test_registry.py`)."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = False
        self._values: defaultdict[str, dict[Any, Any]] = defaultdict(dict)

    async def change(self, table: Table[K, V], key: K, value: V | None) -> bool:
        if self._closed:
            return False
        await asyncio.sleep(0)  # others run meanwhile, as with a disk: their turn may matter
        if value is not None:
            self._values[table.name][key] = value
            return True
        self._values[table.name].pop(key, None)
        for owned, owner in table.owned.items():
            records = self._values[owned.name]
            for own_key in [at for at, record in records.items() if owner(record) == key]:
                del records[own_key]
        return True

    async def find(self, table: Table[K, V], key: K) -> V | None:
        records: dict[K, V] = await self._read(table)
        return records.get(key)

    async def everything(self, table: Table[K, V]) -> tuple[V, ...]:
        records: dict[K, V] = await self._read(table)
        return tuple(records.values())

    async def last_decision_id(self) -> int:
        return max(await self._read(DECISIONS), default=0)

    async def page(self, page: Page) -> tuple[DecisionRecord, ...]:
        return page.of((await self._read(DECISIONS)).values())

    async def last_request_id(self) -> int:
        return max(await self._read(REQUESTS), default=0)

    async def add_requests(self, records: Sequence[RequestRecord]) -> None:
        kept: dict[int, RequestRecord] = await self._read(REQUESTS)
        kept.update((record.id, record) for record in records)
        self._prune_requests()

    async def page_of_requests(self, page: RequestPage) -> tuple[RequestRecord, ...]:
        return page.of((await self._read(REQUESTS)).values())

    async def prune(self, *, before: datetime, keep_decisions: int) -> int:
        decisions: dict[int, DecisionRecord] = await self._read(DECISIONS)
        operations: dict[str, Operation] = await self._read(OPERATIONS)
        surplus = [
            decision_id
            for position, decision_id in enumerate(sorted(decisions, reverse=True))
            if position > 0 and (decisions[decision_id].at < before or position >= keep_decisions)
        ]
        ended = sorted((at, key) for key, one in operations.items() if (at := one.finished_at))
        aged = sum(at < before for at, _ in ended)
        finished = ended[: max(aged, len(ended) - FINISHED_OPERATIONS_KEPT_MAX)]
        for decision_id in surplus:
            del decisions[decision_id]
        for _, operation_id in finished:
            del operations[operation_id]
        forgotten = self._surplus_learned()
        for learned_key in forgotten:
            del self._values[LEARNED.name][learned_key]
        asked = self._prune_requests(before) + self._prune_benchmarks()
        return len(surplus) + len(finished) + len(forgotten) + asked

    def _prune_requests(self, before: datetime | None = None) -> int:
        requests: dict[int, RequestRecord] = self._values[REQUESTS.name]
        ended = sorted((at, key) for key, one in requests.items() if (at := one.ended_at))
        aged = sum(before is not None and at < before for at, _ in ended)
        surplus = {key for _, key in ended[: max(aged, len(ended) - REQUESTS_KEPT_MAX)]}
        surplus.discard(max(requests, default=0))
        for request_id in surplus:
            del requests[request_id]
        return len(surplus)

    def _prune_benchmarks(self) -> int:
        kept: dict[Any, BenchmarkRecord] = self._values[BENCHMARKS.name]
        oldest_first = sorted(kept, key=lambda key: kept[key].measured_at)
        surplus = oldest_first[: max(len(kept) - BENCHMARKS_KEPT_MAX, 0)]
        for key in surplus:
            del kept[key]
        return len(surplus)

    def _surplus_learned(self) -> list[tuple[str, str]]:
        learned: dict[tuple[str, str], LearnedRecord] = self._values[LEARNED.name]
        seen: Counter[str] = Counter()
        surplus = []
        newest_first = sorted(learned, key=lambda key: learned[key].measured_at, reverse=True)
        for position, key in enumerate(newest_first, 1):
            seen[key[0]] += 1
            if position > LEARNED_KEPT_MAX or seen[key[0]] > LEARNED_OF_A_MODEL_KEPT_MAX:
                surplus.append(key)
        return surplus

    async def close(self) -> None:
        self._closed = True

    async def _read(self, table: Table[Any, Any]) -> dict[Any, Any]:
        await asyncio.sleep(0)
        if self._closed:
            raise RegistryFailed("the registry is closed")
        return self._values[table.name]
