import asyncio
import threading
import time

import pytest

from orchestrator.devices.driver_thread import DriverThread
from tests.unit.devices.nvml_trials import wait_until

LONG_S = 5  # nothing here takes it unless something is wrong


@pytest.fixture
def gate():
    """A call that hangs until the gate is open."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def thread():
    before = threading.active_count()
    thread = DriverThread("test")
    yield thread
    thread.end()
    wait_until(lambda: threading.active_count() == before)


def test_answer_and_error_come_back(thread):
    async def scenario():
        assert await thread.ask(lambda: 7, 1) == 7
        with pytest.raises(ZeroDivisionError):
            await thread.ask(lambda: 1 / 0, 1)
        assert await thread.ask(threading.get_ident, 1) != threading.get_ident()

    asyncio.run(scenario())


def test_loop_runs_on_while_a_call_hangs(thread, gate):
    async def scenario():
        hung = asyncio.create_task(thread.ask(gate.wait, LONG_S))
        while not hung.done():
            await asyncio.sleep(0)  # the loop that turns here opens the gate itself
            gate.set()
        assert await hung

    asyncio.run(scenario())


def test_nothing_piles_up_behind_a_call_that_hangs(thread, gate):
    called = []

    async def scenario():
        with pytest.raises(TimeoutError):
            await thread.ask(gate.wait, 0.01)
        began_s = time.monotonic()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await thread.ask(lambda: called.append("late"), LONG_S)
        assert time.monotonic() - began_s < LONG_S  # refused at once
        gate.set()
        await until_answered(thread)

    asyncio.run(scenario())
    assert called == []


def test_whoever_waits_behind_a_call_gives_up_at_the_own_deadline(thread, gate):
    async def scenario():
        first = asyncio.create_task(thread.ask(gate.wait, LONG_S))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await thread.ask(lambda: None, 0.01)
        gate.set()
        assert await first

    asyncio.run(scenario())


def test_cancelled_caller_does_not_end_the_call(thread, gate):
    async def scenario():
        leaving = asyncio.create_task(thread.ask(gate.wait, LONG_S))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gate.set()
        assert await thread.ask(lambda: "next", LONG_S) == "next"

    asyncio.run(scenario())


def test_callers_at_once_are_served_one_after_the_other(thread):
    inside = []
    most = []

    def call():
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    async def scenario():
        await asyncio.gather(*(thread.ask(call, LONG_S) for _ in range(50)))

    asyncio.run(scenario())
    assert most == [1] * 50


def test_call_that_comes_back_after_its_loop_has_ended_hurts_nobody(thread, gate, caplog):
    with pytest.raises(TimeoutError):
        asyncio.run(thread.ask(gate.wait, 0.01))
    gate.set()
    asyncio.run(until_answered(thread))
    assert caplog.records == []  # what a callback raises is only logged


async def until_answered(thread):
    async with asyncio.timeout(LONG_S):
        while True:
            try:
                return await thread.ask(lambda: "again", LONG_S)
            except TimeoutError:
                await asyncio.sleep(0)
