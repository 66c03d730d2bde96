"""What every registry promises, asked of each one of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from orchestrator.core.values.decisions import DecisionKind
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ModelName
from orchestrator.errors import RegistryFailed
from orchestrator.records import OperationState, Registry
from orchestrator.registry import statements
from orchestrator.registry.sqlite import SqliteRegistry
from orchestrator.registry.statements import (
    FINISHED_OPERATIONS_KEPT_MAX,
    LEARNED_OF_A_MODEL_KEPT_MAX,
)
from tests.standins import memory
from tests.standins.memory import MemoryRegistry
from tests.unit.registry.records import (
    ALL,
    NOON,
    after,
    benchmark,
    decision,
    finished,
    learned,
    lease,
    operation,
    pin,
    resident,
    running,
)

MAKERS = {
    "memory": lambda _state_dir: MemoryRegistry(),
    "sqlite": SqliteRegistry.open,
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

    return play


def test_a_new_registry_remembers_nothing(scene):
    async def acts(registry):
        memory = await registry.recall()
        assert (memory.residents, memory.leases, memory.learned) == ((), (), ())
        assert (dict(memory.pins), memory.last_decision_id) == ({}, 0)
        assert await registry.page(ALL) == ()
        assert await registry.operations.get("none") is None

    scene(acts)


def test_recalls_what_was_put(scene):
    async def acts(registry):
        await registry.residents.put(resident("a", running=running()))
        await registry.residents.put(resident("b", ResidentState.RESERVED, ttl_s=5.0, busy=True))
        await registry.leases.put(lease("l1", "a"))
        await registry.leases.put(lease("l2", "b", owner=None, expires_s=None))
        await registry.learned.put(learned())
        await registry.pins.put(pin("a", True))
        await registry.pins.put(pin("b", False))
        await registry.decisions.put(decision(7))
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
        await registry.residents.put(resident("a", ResidentState.LOADING))
        await registry.residents.put(resident("b"))
        await registry.residents.put(resident("a", running=running()))
        await registry.leases.put(lease("l1", "a", expires_s=1.0))
        await registry.leases.put(lease("l1", "a", expires_s=2.0))
        await registry.learned.put(learned(device_bytes=1))
        await registry.learned.put(learned(device_bytes=2))
        await registry.learned.put(learned(settings="q8_0"))
        await registry.pins.put(pin("a", True))
        await registry.pins.put(pin("a", False))
        memory = await registry.recall()
        assert memory.residents == (resident("a", running=running()), resident("b"))
        assert memory.leases == (lease("l1", "a", expires_s=2.0),)
        assert set(memory.learned) == {learned(device_bytes=2), learned(settings="q8_0")}
        assert dict(memory.pins) == {"a": False}

    scene(acts)


def test_writing_a_resident_again_keeps_its_leases(scene):
    async def acts(registry):
        await registry.residents.put(resident("a", ResidentState.LOADING))
        await registry.leases.put(lease("l1", "a"))
        await registry.residents.put(resident("a"))
        assert (await registry.recall()).leases == (lease("l1", "a"),)

    scene(acts)


def test_forgets_a_resident_with_its_leases(scene):
    async def acts(registry):
        for name in ("a", "b"):
            await registry.residents.put(resident(name))
            await registry.leases.put(lease(f"of-{name}", name))
        await registry.residents.drop("a-1")
        await registry.leases.drop("of-a")
        memory = await registry.recall()
        assert memory.residents == (resident("b"),)
        assert memory.leases == (lease("of-b", "b"),)
        await registry.leases.drop("of-b")
        assert (await registry.recall()).leases == ()

    scene(acts)


def test_forgetting_what_is_not_there_is_no_error(scene):
    async def acts(registry):
        assert await registry.residents.drop("nobody-1")
        assert await registry.leases.drop("none")

    scene(acts)


def test_every_table_gives_back_one_and_all(scene):
    async def acts(registry):
        for table, key, value in (
            (registry.residents, "a-1", resident("a")),
            (registry.leases, "l1", lease("l1", "a")),
            (registry.learned, ("a", "f16"), learned()),
            (registry.pins, "a", pin("a", pinned=True)),
            (registry.operations, "o1", operation("o1")),
            (registry.decisions, 1, decision(1)),
        ):
            assert await table.get(key) is None
            assert await table.put(value)
            assert await table.get(key) == value
            assert await table.all() == (value,)
        for table, key in ((registry.pins, "a"), (registry.learned, ("a", "f16"))):
            assert await table.drop(key)
            assert await table.get(key) is None
            assert await table.all() == ()

    scene(acts)


def test_looks_an_operation_up(scene):
    async def acts(registry):
        await registry.operations.put(operation("o1", state=OperationState.QUEUED))
        await registry.operations.put(operation("o1"))
        assert await registry.operations.get("o1") == operation("o1")
        await registry.operations.put(finished("o1", after(1)))
        assert await registry.operations.get("o1") == finished("o1", after(1))
        assert await registry.operations.get("o2") is None

    scene(acts)


def test_pages_through_decisions(scene):
    async def page(registry, **question):
        found = await registry.page(replace(ALL, **question))
        return [record.id for record in found]

    async def acts(registry):
        for id_ in range(1, 11):
            await registry.decisions.put(decision(id_, "a" if id_ % 2 else None))
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
        await registry.decisions.put(said)
        assert await registry.page(ALL) == (said,)

    scene(acts)


def test_adding_a_decision_again_is_not_a_second_one(scene):
    async def acts(registry):
        await registry.decisions.put(decision(1))
        await registry.decisions.put(decision(1))
        assert await registry.page(ALL) == (decision(1),)

    scene(acts)


def test_prunes_what_is_old(scene):
    async def acts(registry):
        for minute in range(5):
            await registry.decisions.put(decision(minute + 1, at=after(minute)))
            await registry.operations.put(finished(f"o{minute}", after(minute)))
        await registry.operations.put(operation("still running", created_at=after(-999)))
        assert await registry.prune(before=after(2), keep_decisions=100) == 4
        kept = await registry.page(ALL)
        assert [record.id for record in kept] == [5, 4, 3]
        assert await registry.operations.get("o1") is None
        assert await registry.operations.get("o2") == finished("o2", after(2))
        assert await registry.operations.get("still running") is not None
        assert await registry.prune(before=after(2), keep_decisions=100) == 0

    scene(acts)


def test_prunes_decisions_that_are_too_many(scene):
    async def acts(registry):
        for id_ in range(1, 11):
            await registry.decisions.put(decision(id_))
        assert await registry.prune(before=NOON, keep_decisions=4) == 6
        kept = await registry.page(ALL)
        assert [record.id for record in kept] == [10, 9, 8, 7]

    scene(acts)


def test_prunes_the_oldest_of_what_was_learned_of_one_model(scene):
    async def acts(registry):
        for number in range(LEARNED_OF_A_MODEL_KEPT_MAX + 2):
            record = learned(settings=f"s{number}")
            await registry.learned.put(replace(record, measured_at=after(-number)))
        await registry.learned.put(replace(learned("b"), measured_at=after(-999)))
        assert await registry.prune(before=after(-99_999), keep_decisions=100) == 2
        kept = {(record.model, record.settings) for record in await registry.learned.all()}
        assert kept == {
            ("b", "f16"),
            *(("a", f"s{number}") for number in range(LEARNED_OF_A_MODEL_KEPT_MAX)),
        }
        assert await registry.prune(before=after(-99_999), keep_decisions=100) == 0

    scene(acts)


def test_a_benchmark_takes_the_place_of_the_one_before_it(scene):
    async def acts(registry):
        await registry.benchmarks.put(benchmark(rate=44.0))
        await registry.benchmarks.put(benchmark(devices="g1"))
        await registry.benchmarks.put(benchmark(rate=45.0))
        kept = {
            one.devices: one.speeds.generation_tokens_per_second
            for one in (await registry.recall()).benchmarks
        }
        assert kept == {"g0": 45.0, "g1": None}
        assert await registry.benchmarks.get((ModelName("a"), "f16", "g0")) == benchmark(rate=45.0)

    scene(acts)


def test_prunes_the_oldest_benchmarks_that_are_too_many(scene, monkeypatch):
    for module in (statements, memory):
        monkeypatch.setattr(module, "BENCHMARKS_KEPT_MAX", 3)

    async def acts(registry):
        for number in range(5):
            record = benchmark(devices=f"g{number}")
            await registry.benchmarks.put(replace(record, measured_at=after(-number)))
        assert await registry.prune(before=after(-99_999), keep_decisions=100) == 2
        assert {one.devices for one in await registry.benchmarks.all()} == {"g0", "g1", "g2"}

    scene(acts)


def test_ids_go_on_after_everything_was_pruned(scene):
    async def acts(registry):
        for id_ in range(1, 4):
            await registry.decisions.put(decision(id_))
        assert await registry.prune(before=after(999), keep_decisions=0) == 2
        assert (await registry.recall()).last_decision_id == 3

    scene(acts)


def test_many_at_once_are_all_there(scene):
    async def acts(registry):
        async with asyncio.TaskGroup() as together:
            for number in range(300):
                together.create_task(registry.residents.put(resident(f"m{number}")))
                together.create_task(registry.decisions.put(decision(number + 1)))
        memory = await registry.recall()
        assert len(memory.residents) == 300
        assert memory.last_decision_id == 300

    scene(acts)


def test_closing_performs_what_was_asked_before_and_twice_is_no_error(scene):
    async def acts(registry):
        writes = [asyncio.ensure_future(registry.pins.put(pin("a", True))) for _ in range(5)]
        await asyncio.sleep(0)
        await registry.close()
        assert await asyncio.gather(*writes) == [True] * 5
        await registry.close()

    scene(acts)


def test_after_closing_it_says_so(scene):
    async def acts(registry):
        await registry.close()
        with pytest.raises(RegistryFailed, match="closed"):
            await registry.recall()

    scene(acts)


# --- the one without a disk -------------------------------------------------------------------


def test_the_stand_in_lets_others_run_while_it_writes():
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


def test_the_stand_in_prunes_finished_operations_that_are_too_many_oldest_first():
    async def acts():
        registry = MemoryRegistry()
        for number in range(FINISHED_OPERATIONS_KEPT_MAX + 2):
            await registry.operations.put(finished(f"o{number}", after(number)))
        assert await registry.prune(before=NOON, keep_decisions=10) == 2
        assert await registry.operations.get("o1") is None
        assert await registry.operations.get("o2") is not None

    asyncio.run(acts())
