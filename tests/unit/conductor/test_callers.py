"""Who is told when, and what becomes of those who left."""

import asyncio
from dataclasses import replace

import pytest

from orchestrator.conductor.callers import Callers, ended_by, given_by
from orchestrator.conductor.journal import of_lease, of_pin
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import (
    DropLease,
    Finish,
    ForgetPin,
    Grant,
    KeepLease,
    SavePin,
)
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.tickets import UnloadStatus
from orchestrator.errors import Denied
from tests.asynchronous import run
from tests.factories import resident
from tests.unit.conductor.test_journal import SlowRegistry, opened
from tests.unit.core.life.test_state import lease

THERE = resident("a", gib=1)
PLAIN = Grant(ticket=1, resident=THERE, lease=None, evicted=(), already_loaded=True)
LEASED = replace(PLAIN, lease=lease())
PINNED = replace(PLAIN, pinned=True)
RELEASED = Finish(
    ticket=1,
    status=UnloadStatus.RELEASED,
    freed_bytes=0,
    verified=True,
    remaining_leases=0,
    released=(lease().id,),
)


@pytest.mark.parametrize(
    ("grant", "promises"),
    [
        (PLAIN, []),
        (replace(PLAIN, lease=lease(kind=LeaseKind.REQUEST)), []),
        (LEASED, [of_lease(lease().id)]),
        (PINNED, [of_pin("a")]),
    ],
)
def test_what_outlives_a_restart_is_promised(grant, promises):
    assert given_by(grant) == promises


def play(scene):
    async def played():
        registry = SlowRegistry()
        async with asyncio.TaskGroup() as tasks:
            journal, _ = opened(registry, tasks)
            callers = Callers(journal, lambda work, name: tasks.create_task(work, name=name))
            try:
                return await scene(callers, journal, registry)
            finally:
                registry.disk.set()

    return run(played())


@pytest.mark.parametrize(
    ("write", "answer", "promises"),
    [
        (KeepLease(lease()), LEASED, given_by(LEASED)),
        (SavePin("a", pinned=True), PINNED, given_by(PINNED)),
        (ForgetPin("a"), PINNED, given_by(PINNED)),
        (DropLease(lease().id), RELEASED, ended_by(RELEASED)),
    ],
)
def test_a_promise_is_told_when_it_is_on_the_disk(write, answer, promises):
    async def scene(callers, journal, registry):
        told, plain = callers.expect(1), callers.expect(2)
        journal.promise(write)
        callers.tell(1, answer, promises)
        callers.tell(2, replace(answer, ticket=2), [])
        assert plain.done(), "who is promised nothing does not wait"
        await asyncio.sleep(0.01)
        assert not told.done()
        registry.disk.set()
        assert (await told).durable

    play(scene)


def test_what_the_disk_does_not_take_is_told_as_such():
    async def scene(callers, journal, registry):
        told = callers.expect(1)
        await registry.close()
        registry.disk.set()
        journal.promise(KeepLease(lease()))
        callers.tell(1, LEASED, given_by(LEASED))
        assert not (await told).durable

    play(scene)


def test_who_has_left_is_not_told():
    async def scene(callers, journal, registry):
        told = callers.expect(1)
        journal.promise(KeepLease(lease()))
        callers.tell(1, LEASED, given_by(LEASED))
        callers.forget(1)
        registry.disk.set()
        await asyncio.sleep(0.01)
        assert not told.done()
        callers.tell(1, LEASED, [])
        callers.refuse(1, Refusal(code=RefusalCode.CONFLICT, detail="x."))
        assert not told.done()

    play(scene)


def test_a_refusal_is_told_at_once():
    async def scene(callers, journal, registry):
        told = callers.expect(1)
        callers.refuse(1, Refusal(code=RefusalCode.CONFLICT, detail="x."))
        with pytest.raises(Denied):
            await told

    play(scene)
