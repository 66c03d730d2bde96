"""What is written, in which order, and what waits for it."""

import asyncio

from orchestrator.conductor.history import History
from orchestrator.conductor.journal import Journal
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.residents import ResidentState
from orchestrator.records import Page, ResidentRecord
from tests.asynchronous import run
from tests.factories import resident
from tests.standins.memory import MemoryRegistry


class SlowRegistry(MemoryRegistry):
    """The one defect: a change takes as long as the test wants."""

    def __init__(self):
        super().__init__()
        self.disk = asyncio.Event()

    async def change(self, table, key, value):
        await self.disk.wait()
        return await super().change(table, key, value)


def opened(registry, tasks):
    history = History(epoch="test")
    journal = Journal(
        registry, history, lambda: 1000.0, lambda work, name: tasks.create_task(work, name=name)
    )
    return journal, history


def row(state=ResidentState.LOADING):
    return ResidentRecord(resident=resident("a", gib=1, state=state), runtime="fake", running=None)


def test_an_act_waits_until_its_intent_is_on_the_disk():
    async def play():
        registry = SlowRegistry()
        async with asyncio.TaskGroup() as tasks:
            journal, _ = opened(registry, tasks)
            record = row()
            journal.write(record)
            waiting = tasks.create_task(journal.until_written(record.resident.instance))
            await asyncio.sleep(0)
            assert not waiting.done()
            registry.disk.set()
            await waiting
        return await registry.recall()

    assert [each.resident.name for each in run(play()).residents] == ["a"]


def test_a_start_waits_for_its_first_row_and_for_no_later_one():
    async def play():
        registry = SlowRegistry()
        async with asyncio.TaskGroup() as tasks:
            journal, _ = opened(registry, tasks)
            reserved = row(ResidentState.RESERVED)
            journal.write(reserved)
            known = tasks.create_task(journal.until_known(reserved.resident.instance))
            await asyncio.sleep(0)
            assert not known.done()
            registry.disk.set()
            await known
            registry.disk.clear()
            journal.write(row(ResidentState.LOADING))
            await journal.until_known(reserved.resident.instance)
            written = tasks.create_task(journal.until_written(reserved.resident.instance))
            await asyncio.sleep(0)
            assert not written.done()
            registry.disk.set()
            journal.forget(reserved.resident.instance)
            await journal.until_known(reserved.resident.instance)  # nothing to wait for

    run(play())


def test_the_last_of_several_writes_is_what_is_kept():
    async def play():
        registry = MemoryRegistry()
        async with asyncio.TaskGroup() as tasks:
            journal, _ = opened(registry, tasks)
            journal.write(row(ResidentState.LOADING))
            journal.write(row(ResidentState.READY))
        return await registry.recall()

    assert [each.resident.state for each in run(play()).residents] == [ResidentState.READY]


def test_who_is_forgotten_is_not_remembered():
    async def play():
        registry = MemoryRegistry()
        async with asyncio.TaskGroup() as tasks:
            journal, _ = opened(registry, tasks)
            record = row()
            journal.write(record)
            journal.forget(record.resident.instance)
            await journal.until_written(record.resident.instance)  # nothing to wait for
        return await registry.recall()

    assert run(play()).residents == ()


def test_decisions_are_numbered_on_after_a_restart_and_told_to_the_history():
    async def play():
        registry = MemoryRegistry()
        async with asyncio.TaskGroup() as tasks:
            journal, history = opened(registry, tasks)
            journal.go_on_after(41)
            journal.say(Decide(kind=DecisionKind.LOAD, text="Loading a."))
        written = await registry.page(Page(limit=5))
        return written, history.decisions()

    written, told = run(play())
    assert [each.id for each in written] == [42]
    assert list(written) == list(told)
