import asyncio

from orchestrator.registry.memory import MemoryRegistry
from orchestrator.registry.statements import FINISHED_OPERATIONS_KEPT_MAX
from tests.unit.registry.records import NOON, after, finished, pin


def test_lets_others_run_while_it_writes():
    async def acts():
        registry = MemoryRegistry()
        order = []

        async def write():
            order.append("asked")
            await registry.pins.put(pin("a", True))
            order.append("answered")

        await asyncio.gather(write(), write())
        assert order == ["asked", "asked", "answered", "answered"]

    asyncio.run(acts())


def test_finished_operations_that_are_too_many_go_oldest_first():
    async def acts():
        registry = MemoryRegistry()
        for number in range(FINISHED_OPERATIONS_KEPT_MAX + 2):
            await registry.operations.put(finished(f"o{number}", after(number)))
        assert await registry.prune(before=NOON, keep_decisions=10) == 2
        assert await registry.operations.get("o1") is None
        assert await registry.operations.get("o2") is not None

    asyncio.run(acts())
