import asyncio

import pytest

from orchestrator.core.values.residents import ResidentState
from orchestrator.registry import durable
from orchestrator.registry.durable import SteadyRegistry
from orchestrator.registry.memory import MemoryRegistry
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
)

FULL = "The disk is full: free some space."


@pytest.fixture
def play():
    def run(acts):
        async def whole():
            disk = MemoryRegistry()
            steady = SteadyRegistry(disk)
            await acts(steady, disk)
            await steady.close()

        asyncio.run(whole())

    return run


def test_nobody_fails_for_a_full_disk_and_everything_is_written_when_it_recovers(play):
    async def acts(steady, disk):
        disk.fault = FULL
        await steady.put_resident(resident("a", ResidentState.LOADING))
        await steady.put_resident(resident("a"))
        await steady.put_lease(lease("l1", "a"))
        await steady.put_learned(learned())
        await steady.put_pin("a", pinned=True)
        await steady.put_operation(operation("o1"))
        await steady.add_decision(decision(1))
        assert steady.problem == (
            f"{FULL} 6 changes are kept until the disk takes them, and the work goes on."
        )
        disk.fault = None
        await steady.retry()
        assert steady.problem is None
        memory = await disk.recall()
        assert memory.residents == (resident("a"),)
        assert memory.leases == (lease("l1", "a"),)
        assert memory.learned == (learned(),)
        assert memory.pins == {"a": True}
        assert await disk.operation("o1") == operation("o1")
        assert await disk.decisions(**ALL) == (decision(1),)

    play(acts)


def test_what_is_not_written_can_be_read(play):
    async def acts(steady, disk):
        await steady.add_decision(decision(1))
        await steady.put_operation(operation("o1"))
        disk.fault = FULL
        await steady.add_decision(decision(2, "b"))
        await steady.add_decision(decision(3))
        await steady.put_operation(finished("o1", NOON))
        assert [one.id for one in await steady.decisions(**ALL)] == [3, 2, 1]
        assert [one.id for one in await steady.decisions(**(ALL | {"limit": 2}))] == [3, 2]
        assert [one.id for one in await steady.decisions(**(ALL | {"after_id": 1}))] == [2, 3]
        assert [one.id for one in await steady.decisions(**(ALL | {"model": "a"}))] == [3, 1]
        assert await steady.operation("o1") == finished("o1", NOON)

    play(acts)


def test_a_resident_that_left_while_the_disk_was_full_is_forgotten_with_its_leases(play):
    async def acts(steady, disk):
        await steady.put_resident(resident("a"))
        disk.fault = FULL
        await steady.put_lease(lease("l1", "a"))
        await steady.drop_resident("a-1")
        await steady.put_resident(resident("b"))
        disk.fault = None
        await steady.retry()
        memory = await disk.recall()
        assert (memory.residents, memory.leases) == ((resident("b"),), ())
        assert steady.problem is None

    play(acts)


def test_a_lease_that_was_released_meanwhile_does_not_come_back(play):
    async def acts(steady, disk):
        await steady.put_resident(resident("a"))
        disk.fault = FULL
        await steady.put_lease(lease("l1", "a"))
        await steady.drop_lease("l1")
        disk.fault = None
        await steady.retry()
        assert (await disk.recall()).leases == ()

    play(acts)


def test_a_pruning_that_was_refused_is_done_later(play):
    async def acts(steady, disk):
        await steady.add_decision(decision(1))
        await steady.add_decision(decision(2))
        disk.fault = FULL
        assert await steady.prune(before=after(1), keep_decisions=9) == 0
        disk.fault = None
        await steady.retry()
        assert [one.id for one in await disk.decisions(**ALL)] == [2]
        assert steady.problem is None

    play(acts)


def test_history_beyond_its_bound_is_given_up_oldest_first_and_counted(play):
    async def acts(steady, disk):
        disk.fault = FULL
        for id_ in range(1, durable.DECISIONS_UNWRITTEN_MAX + 4):
            await steady.add_decision(decision(id_))
        await steady.put_resident(resident("a"))
        assert steady.given_up == 3
        assert "3 older ones were given up" in steady.problem
        disk.fault = None
        await steady.retry()
        assert steady.problem is None
        assert (await disk.recall()).residents == (resident("a"),)
        oldest = await disk.decisions(**(ALL | {"after_id": 0, "limit": 1}))
        assert oldest == (decision(4),)

    play(acts)


def test_a_write_that_succeeds_clears_nothing_that_still_waits(play):
    async def acts(steady, disk):
        disk.fault = FULL
        await steady.put_pin("a", pinned=True)
        disk.fault = None
        await steady.put_pin("b", pinned=True)
        assert "1 changes" in steady.problem

    play(acts)


def test_closing_tries_a_last_time():
    async def acts():
        disk = MemoryRegistry()
        steady = SteadyRegistry(disk)
        disk.fault = FULL
        await steady.put_pin("a", pinned=True)
        disk.fault = None
        await steady.close()
        assert steady.problem is None

    asyncio.run(acts())
