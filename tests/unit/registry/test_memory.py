import asyncio

import pytest

from orchestrator.errors import RegistryFailed
from orchestrator.registry.memory import MemoryRegistry
from orchestrator.registry.paging import FINISHED_OPERATIONS_KEPT_MAX
from tests.unit.registry.records import NOON, after, finished


def test_fails_on_request_and_recovers():
    async def acts():
        registry = MemoryRegistry()
        registry.fault = "full"
        with pytest.raises(RegistryFailed, match="full"):
            await registry.put_pin("a", pinned=True)
        assert (await registry.recall()).pins == {}
        registry.fault = None
        await registry.put_pin("a", pinned=True)
        assert (await registry.recall()).pins == {"a": True}

    asyncio.run(acts())


def test_lets_others_run_while_it_writes():
    async def acts():
        registry = MemoryRegistry()
        order = []

        async def write():
            order.append("asked")
            await registry.put_pin("a", pinned=True)
            order.append("answered")

        await asyncio.gather(write(), write())
        assert order == ["asked", "asked", "answered", "answered"]

    asyncio.run(acts())


def test_finished_operations_that_are_too_many_go_oldest_first():
    async def acts():
        registry = MemoryRegistry()
        for number in range(FINISHED_OPERATIONS_KEPT_MAX + 2):
            await registry.put_operation(finished(f"o{number}", after(number)))
        assert await registry.prune(before=NOON, keep_decisions=10) == 2
        assert await registry.operation("o1") is None
        assert await registry.operation("o2") is not None

    asyncio.run(acts())
