"""What every registry promises, asked of each one of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.core.values.messages import DecisionKind
from orchestrator.core.values.residents import ResidentState
from orchestrator.errors import RegistryFailed
from orchestrator.ports import OperationState, Registry
from orchestrator.registry.durable import SteadyRegistry
from orchestrator.registry.memory import MemoryRegistry
from orchestrator.registry.sqlite import SqliteRegistry
from tests.unit.registry.records import (
    ALL,
    NOON,
    after,
    decision,
    finished,
    learned,
    lease,
    operation,
    resident,
    running,
)

MAKERS = {
    "memory": lambda _state_dir: MemoryRegistry(),
    "sqlite": SqliteRegistry.open,
    "steady": lambda state_dir: SteadyRegistry(SqliteRegistry.open(state_dir)),
}


@pytest.fixture(params=MAKERS)
def scene(request, tmp_path):
    """Run one scene of a play on a fresh registry, and close it whatever comes."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Registry]:
        registry = MAKERS[request.param](tmp_path)
        try:
            yield registry
        finally:
            await registry.close()

    def play(acts):
        async def whole():
            async with opened() as registry:
                await acts(registry)

        asyncio.run(whole())

    play.steady = request.param == "steady"
    return play


def test_a_new_registry_remembers_nothing(scene):
    async def acts(registry):
        memory = await registry.recall()
        assert (memory.residents, memory.leases, memory.learned) == ((), (), ())
        assert (dict(memory.pins), memory.last_decision_id) == ({}, 0)
        assert await registry.decisions(**ALL) == ()
        assert await registry.operation("none") is None

    scene(acts)


def test_recalls_what_was_put(scene):
    async def acts(registry):
        await registry.put_resident(resident("a", running=running()))
        await registry.put_resident(resident("b", ResidentState.RESERVED, ttl_s=5.0, busy=True))
        await registry.put_lease(lease("l1", "a"))
        await registry.put_lease(lease("l2", "b", owner=None, expires_s=None))
        await registry.put_learned(learned())
        await registry.put_pin("a", pinned=True)
        await registry.put_pin("b", pinned=False)
        await registry.add_decision(decision(7))
        memory = await registry.recall()
        assert memory.residents == (
            resident("a", running=running()),
            resident("b", ResidentState.RESERVED, ttl_s=5.0, busy=True),
        )
        assert memory.leases == (
            lease("l1", "a"),
            lease("l2", "b", owner=None, expires_s=None),
        )
        assert memory.learned == (learned(),)
        assert dict(memory.pins) == {"a": True, "b": False}
        assert memory.last_decision_id == 7

    scene(acts)


def test_the_newest_word_counts(scene):
    async def acts(registry):
        await registry.put_resident(resident("a", ResidentState.LOADING))
        await registry.put_resident(resident("b"))
        await registry.put_resident(resident("a", running=running()))
        await registry.put_lease(lease("l1", "a", expires_s=1.0))
        await registry.put_lease(lease("l1", "a", expires_s=2.0))
        await registry.put_learned(learned(device_bytes=1))
        await registry.put_learned(learned(device_bytes=2))
        await registry.put_learned(learned(settings="q8_0"))
        await registry.put_pin("a", pinned=True)
        await registry.put_pin("a", pinned=False)
        memory = await registry.recall()
        assert memory.residents == (resident("a", running=running()), resident("b"))
        assert memory.leases == (lease("l1", "a", expires_s=2.0),)
        assert set(memory.learned) == {learned(device_bytes=2), learned(settings="q8_0")}
        assert dict(memory.pins) == {"a": False}

    scene(acts)


def test_writing_a_resident_again_keeps_its_leases(scene):
    async def acts(registry):
        await registry.put_resident(resident("a", ResidentState.LOADING))
        await registry.put_lease(lease("l1", "a"))
        await registry.put_resident(resident("a"))
        assert (await registry.recall()).leases == (lease("l1", "a"),)

    scene(acts)


def test_forgets_a_resident_with_its_leases(scene):
    async def acts(registry):
        for name in ("a", "b"):
            await registry.put_resident(resident(name))
            await registry.put_lease(lease(f"of-{name}", name))
        await registry.drop_resident("a-1")
        await registry.drop_lease("of-a")
        memory = await registry.recall()
        assert memory.residents == (resident("b"),)
        assert memory.leases == (lease("of-b", "b"),)
        await registry.drop_lease("of-b")
        assert (await registry.recall()).leases == ()

    scene(acts)


def test_forgetting_what_is_not_there_is_no_error(scene):
    async def acts(registry):
        await registry.drop_resident("nobody-1")
        await registry.drop_lease("none")

    scene(acts)


def test_a_lease_of_an_unknown_resident_is_refused(scene):
    async def acts(registry):
        if scene.steady:
            await registry.put_lease(lease("l1", "a"))
            assert "wait" in registry.problem or "kept" in registry.problem
            await registry.put_resident(resident("a"))
            await registry.retry()
            assert registry.problem is None
            assert (await registry.recall()).leases == (lease("l1", "a"),)
        else:
            with pytest.raises(RegistryFailed):
                await registry.put_lease(lease("l1", "a"))
            await registry.put_resident(resident("a"))
            assert (await registry.recall()).leases == ()

    scene(acts)


def test_looks_an_operation_up(scene):
    async def acts(registry):
        await registry.put_operation(operation("o1", state=OperationState.QUEUED))
        await registry.put_operation(operation("o1"))
        assert await registry.operation("o1") == operation("o1")
        await registry.put_operation(finished("o1", after(1)))
        assert await registry.operation("o1") == finished("o1", after(1))
        assert await registry.operation("o2") is None

    scene(acts)


def test_pages_through_decisions(scene):
    async def page(registry, **question):
        found = await registry.decisions(**(ALL | question))
        return [record.id for record in found]

    async def acts(registry):
        for id_ in range(1, 11):
            await registry.add_decision(decision(id_, "a" if id_ % 2 else None))
        assert await page(registry, limit=3) == [10, 9, 8]
        assert await page(registry, before_id=8, limit=3) == [7, 6, 5]
        assert await page(registry, before_id=2, limit=3) == [1]
        assert await page(registry, before_id=1) == []
        assert await page(registry, after_id=0, limit=3) == [1, 2, 3]
        assert await page(registry, after_id=3, limit=3) == [4, 5, 6]
        assert await page(registry, after_id=10) == []
        assert await page(registry, after_id=2, before_id=5) == [3, 4]
        assert await page(registry, model="a", limit=2) == [9, 7]
        assert await page(registry, model="a", after_id=3, limit=2) == [5, 7]
        assert await page(registry, model="unknown") == []
        assert await page(registry, limit=0) == []
        assert await page(registry, limit=-1) == []

    scene(acts)


def test_a_decision_comes_back_word_for_word(scene):
    said = decision(
        1,
        None,
        kind=DecisionKind.FAIL,
        text='"quoted" \n é 🦙',
        why="",
        evicted=(),
        remedy="do this",
        at=after(0.001),
    )

    async def acts(registry):
        await registry.add_decision(said)
        assert await registry.decisions(**ALL) == (said,)

    scene(acts)


def test_adding_a_decision_again_is_not_a_second_one(scene):
    async def acts(registry):
        await registry.add_decision(decision(1))
        await registry.add_decision(decision(1))
        assert await registry.decisions(**ALL) == (decision(1),)

    scene(acts)


def test_prunes_what_is_old(scene):
    async def acts(registry):
        for minute in range(5):
            await registry.add_decision(decision(minute + 1, at=after(minute)))
            await registry.put_operation(finished(f"o{minute}", after(minute)))
        await registry.put_operation(operation("still running", created_at=after(-999)))
        assert await registry.prune(before=after(2), keep_decisions=100) == 4
        kept = await registry.decisions(**ALL)
        assert [record.id for record in kept] == [5, 4, 3]
        assert await registry.operation("o1") is None
        assert await registry.operation("o2") == finished("o2", after(2))
        assert await registry.operation("still running") is not None
        assert await registry.prune(before=after(2), keep_decisions=100) == 0

    scene(acts)


def test_prunes_decisions_that_are_too_many(scene):
    async def acts(registry):
        for id_ in range(1, 11):
            await registry.add_decision(decision(id_))
        assert await registry.prune(before=NOON, keep_decisions=4) == 6
        kept = await registry.decisions(**ALL)
        assert [record.id for record in kept] == [10, 9, 8, 7]

    scene(acts)


def test_ids_go_on_after_everything_was_pruned(scene):
    async def acts(registry):
        for id_ in range(1, 4):
            await registry.add_decision(decision(id_))
        assert await registry.prune(before=after(999), keep_decisions=0) == 2
        assert (await registry.recall()).last_decision_id == 3

    scene(acts)


def test_many_at_once_are_all_there(scene):
    async def acts(registry):
        async with asyncio.TaskGroup() as together:
            for number in range(300):
                together.create_task(registry.put_resident(resident(f"m{number}")))
                together.create_task(registry.add_decision(decision(number + 1)))
        memory = await registry.recall()
        assert len(memory.residents) == 300
        assert memory.last_decision_id == 300

    scene(acts)


def test_closing_performs_what_was_asked_before_and_twice_is_no_error(scene):
    async def acts(registry):
        writes = [asyncio.ensure_future(registry.put_pin("a", pinned=True)) for _ in range(5)]
        await asyncio.sleep(0)
        await registry.close()
        assert await asyncio.gather(*writes) == [None] * 5
        await registry.close()

    scene(acts)


def test_after_closing_it_says_so(scene):
    async def acts(registry):
        await registry.close()
        with pytest.raises(RegistryFailed, match="closed"):
            await registry.recall()

    scene(acts)
