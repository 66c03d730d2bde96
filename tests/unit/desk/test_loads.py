"""Loads as things to be waited for and looked up, in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.values.messages import PinChanged, Renewed
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure
from orchestrator.desk.loads import OPERATIONS_MAX, Operations
from orchestrator.errors import Denied
from orchestrator.orders import LoadOrder
from orchestrator.records import OperationState
from tests import machine
from tests.simulation.virtual_time import run
from tests.standins.memory import MemoryRegistry

LOAD_S = 20.0
A = replace(machine.model("a", behaviour=FakeBehaviour(load_s=LOAD_S)), load_s=LOAD_S)
LARGE = machine.model("large", gib=20)
BROKEN = machine.model("x", behaviour=FakeBehaviour(load_s=1.0, fail=FakeFailure.EXITS))


def play(scene, registry=None):
    async def played():
        there = machine.world()
        async with machine.conducting(there, A, LARGE, BROKEN, registry=registry) as conductor:
            await scene(Operations(conductor), conductor)

    run(played())


def begin(operations, spec=A, **order):
    return operations.begin(spec, LoadOrder(model=spec.name, **order)).id


def test_a_load_waits_for_who_is_there():
    async def scene(operations, conductor):
        async with conductor.lease(LARGE):
            key = begin(operations)
            await asyncio.sleep(5)
            operation, left_s = operations.progress(key)
            assert (operation.state, left_s) == (OperationState.QUEUED, None)

    play(scene)


def test_a_load_is_loading_then_succeeded():
    async def scene(operations, conductor):
        key = begin(operations)
        await asyncio.sleep(5)
        operation, left_s = operations.progress(key)
        assert operation.state is OperationState.LOADING
        assert left_s == pytest.approx(LOAD_S - 5, abs=1)
        outcome = await operations.outcome(key, 100)
        assert not outcome.already_loaded
        assert outcome.waited_s == pytest.approx(LOAD_S, abs=1)
        await asyncio.sleep(0)
        operation, left_s = operations.progress(key)
        assert (operation.state, left_s) == (OperationState.SUCCEEDED, 0.0)
        assert operation.finished_at > operation.created_at

    play(scene)


def test_a_deadline_ends_the_wait_and_not_the_load():
    async def scene(operations, conductor):
        key = begin(operations)
        with pytest.raises(TimeoutError):
            await operations.outcome(key, 3)
        outcome = await operations.outcome(key, 100)
        assert outcome.resident.state is ResidentState.READY

    play(scene)


def test_a_load_that_failed_is_told_to_who_waits_and_to_who_asks_later():
    async def scene(operations, conductor):
        key = begin(operations, BROKEN)
        with pytest.raises(Denied):
            await operations.outcome(key, 100)
        await asyncio.sleep(0)
        operation, _ = operations.progress(key)
        assert operation.state is OperationState.FAILED
        assert operation.code == RefusalCode.LOAD_FAILED
        assert "did not come up" in operation.detail

    play(scene)


def test_a_plain_load_keeps_no_lease_and_an_owners_keeps_one():
    async def scene(operations, conductor):
        assert (await operations.outcome(begin(operations), 100)).lease is None
        held = (await operations.outcome(begin(operations, owner="flow"), 100)).lease
        assert held.owner == "flow"
        assert held.expires_s == pytest.approx(
            conductor.clock() + conductor.scheduler.state.rules.lease_s_default
        )
        short = (await operations.outcome(begin(operations, lease_s=5.0), 100)).lease
        assert short.expires_s == pytest.approx(conductor.clock() + 5)

    play(scene)


@pytest.mark.parametrize("order", [{"lease_s": 600.0}, {"owner": "flow"}, {"pin": True}, {}])
@pytest.mark.parametrize("leaves_after_s", [1, LOAD_S + 5])
def test_a_caller_who_leaves_before_the_answer_keeps_nothing(order, leaves_after_s):
    """While it waits, or with an answer that never reached it; the load itself goes on."""

    async def scene(operations, conductor):
        key = begin(operations, **order)
        caller = asyncio.create_task(operations.outcome(key, 100))
        await asyncio.sleep(leaves_after_s)
        if caller.done():
            operations.unheard(key)
        caller.cancel()
        await asyncio.sleep(LOAD_S + 5)
        state = conductor.scheduler.state
        assert (state.leases, state.pinned) == ({}, set())
        assert state.ledger.resident("a").state is ResidentState.READY

    play(scene)


def test_what_was_used_meanwhile_is_kept():
    """A renewal, or a pin that was set again: somebody has heard of it."""

    async def scene(operations, conductor):
        key = begin(operations, owner="flow", pin=True)
        held = (await operations.outcome(key, 100)).lease
        conductor.tell(Renewed(held.id, conductor.clock() + 60))
        conductor.tell(PinChanged("a", pinned=True))
        operations.unheard(key)
        assert list(conductor.scheduler.state.leases) == [held.id]
        assert conductor.scheduler.state.pinned == {"a"}

    play(scene)


def test_an_operation_whose_caller_was_never_told_of_it_holds_nothing():
    async def scene(operations, conductor):
        key = begin(operations, owner="flow")
        with pytest.raises(TimeoutError):
            await operations.outcome(key, 0)
        operations.unheard(key)
        await asyncio.sleep(LOAD_S + 5)
        assert conductor.scheduler.state.leases == {}
        assert operations.progress(key)[0].state is OperationState.SUCCEEDED

    play(scene)


def test_a_lease_stays_for_those_who_still_listen():
    async def scene(operations, conductor):
        key = begin(operations, lease_s=600.0)
        callers = [asyncio.create_task(operations.outcome(key, 100)) for _ in range(2)]
        await asyncio.sleep(1)
        callers[0].cancel()
        assert (await callers[1]).lease is not None
        assert len(conductor.scheduler.state.leases) == 1

    play(scene)


def test_whoever_was_told_the_operation_can_still_find_its_lease():
    async def scene(operations, conductor):
        key = begin(operations, lease_s=600.0)
        with pytest.raises(TimeoutError):
            await operations.outcome(key, 1)
        retry = asyncio.create_task(operations.outcome(key, 100))
        await asyncio.sleep(1)
        retry.cancel()
        await asyncio.sleep(LOAD_S + 5)
        assert len(conductor.scheduler.state.leases) == 1

    play(scene)


def test_what_is_no_longer_in_memory_is_found_in_the_registry():
    registry = MemoryRegistry()

    async def scene(operations, conductor):
        key = begin(operations)
        await operations.outcome(key, 100)
        await asyncio.sleep(1)
        found = await Operations(conductor).find(key)
        assert found.state is OperationState.SUCCEEDED
        assert await operations.find(key) == found
        assert await operations.find("nobody") is None
        with pytest.raises(KeyError):
            operations.progress("nobody")

    play(scene, registry)


def test_memory_keeps_the_latest_loads_and_those_under_way():
    async def scene(operations, conductor):
        first = begin(operations)
        await operations.outcome(first, 100)
        under_way = begin(operations, BROKEN)
        for _ in range(OPERATIONS_MAX):
            await operations.outcome(begin(operations), 100)
        await asyncio.sleep(0)
        assert operations.progress(under_way)[0].state is OperationState.LOADING
        with pytest.raises(KeyError):
            operations.progress(first)

    play(scene)
