"""What every runtime promises, tried on each: see the docstrings of `ports.Runtime`."""

import asyncio
import json

import pytest

from orchestrator.errors import StartFailed, Unreachable
from orchestrator.ports import Handle
from tests.asynchronous import eventually
from tests.contracts.docker_case import DOCKER_CASES
from tests.contracts.runtime_cases import CASES, LINE, named

GRACE_S = 5.0
SHORT_GRACE_S = 0.3


@pytest.fixture(params=[*CASES, *DOCKER_CASES])
def case(request, tmp_path):
    with request.param(tmp_path) as opened:
        yield opened


def test_what_was_started_runs(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.for_ever)
            assert await runtime.alive(running.handle)
            assert running.handle.runtime == runtime.name
            assert running.endpoint.url
            assert bool(await runtime.pids(running.handle)) == case.sees_pids
            await runtime.stop(running.handle, grace_s=GRACE_S)

    case.run(scenario())


def test_what_was_stopped_is_gone(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.for_ever)
            await runtime.stop(running.handle, grace_s=GRACE_S)
            assert not await runtime.alive(running.handle)
            assert await runtime.discover() == []
            assert await runtime.pids(running.handle) == frozenset()

    case.run(scenario())


def test_stopping_what_is_gone_is_no_error(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.ends_with_code_3)
            await runtime.wait(running.handle)
            await runtime.stop(running.handle, grace_s=GRACE_S)
            await runtime.stop(running.handle, grace_s=GRACE_S)

    case.run(scenario())


def test_two_who_stop_the_same_thing_both_return(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.for_ever)
            await asyncio.gather(*(runtime.stop(running.handle, grace_s=GRACE_S) for _ in range(2)))
            assert not await runtime.alive(running.handle)

    case.run(scenario())


def test_who_ignores_the_polite_signal_is_killed_after_the_grace(case):
    async def scenario():
        async with case.open() as runtime:
            loop = asyncio.get_running_loop()
            running = await runtime.start(case.ignores_sigterm)

            async def armed():
                return bool(await runtime.log_tail(running.handle, 1))

            await eventually(armed)
            began_s = loop.time()
            await runtime.stop(running.handle, grace_s=SHORT_GRACE_S)
            assert loop.time() - began_s >= SHORT_GRACE_S
            assert not await runtime.alive(running.handle)

    case.run(scenario())


def test_a_stop_that_was_cancelled_can_be_done_again(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.ignores_sigterm)

            async def armed():
                return bool(await runtime.log_tail(running.handle, 1))

            await eventually(armed)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT_GRACE_S):
                    await runtime.stop(running.handle, grace_s=1000)
            assert await runtime.alive(running.handle)
            await runtime.stop(running.handle, grace_s=0)
            assert not await runtime.alive(running.handle)

    case.run(scenario())


def test_the_end_is_told_to_everybody_who_waits(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.ends_with_code_3)
            exits = await asyncio.gather(*(runtime.wait(running.handle) for _ in range(3)))
            assert [each.code for each in exits] == [3, 3, 3]
            assert exits[0].log_tail
            assert not exits[0].out_of_memory

    case.run(scenario())


def test_the_end_is_told_to_who_asks_later(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.ends_with_code_3)
            await runtime.wait(running.handle)
            assert (await runtime.wait(running.handle)).code == 3

    case.run(scenario())


def test_a_stop_ends_the_wait(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.for_ever)
            waiting = asyncio.create_task(runtime.wait(running.handle))
            await runtime.stop(running.handle, grace_s=GRACE_S)
            await waiting

    case.run(scenario())


def test_one_who_waits_no_longer_does_not_disturb_the_others(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.for_ever)
            leaver, stayer = (asyncio.create_task(runtime.wait(running.handle)) for _ in range(2))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await leaver
            assert await runtime.alive(running.handle)
            await runtime.stop(running.handle, grace_s=GRACE_S)
            await stayer

    case.run(scenario())


def test_a_start_that_fails_says_why_and_leaves_nothing(case):
    async def scenario():
        async with case.open() as runtime:
            with pytest.raises(StartFailed) as caught:
                await runtime.start(case.hopeless)
            assert caught.value.failure.detail
            assert await runtime.discover() == []

    case.run(scenario())


@pytest.mark.parametrize("yields", [0, 1, 2, 3, 5, 8, 13, 100])
def test_a_start_that_is_cancelled_leaves_nothing(case, yields):
    async def scenario():
        async with case.open() as runtime:
            starting = asyncio.create_task(runtime.start(case.for_ever))
            for _ in range(yields):
                await asyncio.sleep(0)
            if starting.done():  # too late to cancel: the caller has it
                await runtime.stop(starting.result().handle, grace_s=GRACE_S)
            else:
                starting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await starting
            assert await runtime.discover() == []

    case.run(scenario())


def test_the_tail_is_the_last_lines_in_order(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.writes(30))

            async def written():
                return await runtime.log_tail(running.handle, 1) == (LINE.format(29),)

            await eventually(written)
            tail = await runtime.log_tail(running.handle, 3)
            assert tail == tuple(LINE.format(number) for number in (27, 28, 29))
            assert len(await runtime.log_tail(running.handle, 1000)) == 30
            assert await runtime.log_tail(running.handle, 0) == ()
            assert await runtime.log_size(running.handle) > 0
            await runtime.stop(running.handle, grace_s=GRACE_S)

    case.run(scenario())


def test_each_instance_is_a_thing_of_its_own(case):
    async def scenario():
        async with case.open() as runtime:
            one = await runtime.start(named(case.for_ever, "a-1", "a"))
            other = await runtime.start(named(case.for_ever, "b-1", "b"))
            assert one.handle != other.handle
            assert one.endpoint != other.endpoint
            assert not await runtime.pids(one.handle) & await runtime.pids(other.handle)
            await runtime.stop(one.handle, grace_s=GRACE_S)
            assert await runtime.alive(other.handle)
            assert [(each.instance, each.model) for each in await runtime.discover()] == [
                ("b-1", "b")
            ]
            await runtime.stop(other.handle, grace_s=GRACE_S)

    case.run(scenario())


def test_after_a_restart_it_is_found_once_as_it_was(case):
    async def scenario():
        async with case.open() as runtime:
            running = await runtime.start(case.for_ever)
        async with case.open() as later:
            found = await later.discover()
            assert [(each.instance, each.model) for each in found] == [
                (case.for_ever.instance, case.for_ever.model)
            ]
            assert found[0].running == running
            assert await later.discover() == found
            await later.stop(found[0].running.handle, grace_s=GRACE_S)
            assert await later.discover() == []

    case.run(scenario())


def test_after_a_restart_the_handle_is_enough(case):
    async def scenario():
        async with case.open() as runtime:
            handle = (await runtime.start(case.for_ever)).handle
        text = json.dumps([handle.runtime, handle.version, dict(handle.fields)])
        name, version, fields = json.loads(text)
        restored = Handle(runtime=name, version=version, fields=fields)
        async with case.open() as later:
            assert await later.alive(restored)
            waiting = asyncio.create_task(later.wait(restored))
            await later.stop(restored, grace_s=GRACE_S)
            await waiting
            assert not await later.alive(restored)

    case.run(scenario())


def test_after_a_restart_an_end_in_between_is_told_at_once(case):
    async def scenario():
        async with case.open() as runtime:
            handle = (await runtime.start(case.ends_with_code_3)).handle
            await runtime.wait(handle)
        async with case.open() as later:
            exit_ = await later.wait(handle)
            assert exit_.code == (3 if case.knows_code_of_others_children else None)
            assert not await later.alive(handle)

    case.run(scenario())


def test_what_another_daemon_runs_is_not_ours(case):
    """Not even under the very same names."""

    async def scenario():
        async with case.open() as runtime, case.open_stranger() as stranger:
            theirs = await stranger.start(case.for_ever)
            assert await runtime.discover() == []
            ours = await runtime.start(case.for_ever)
            await runtime.stop(ours.handle, grace_s=GRACE_S)
            assert await stranger.alive(theirs.handle)
            await stranger.stop(theirs.handle, grace_s=GRACE_S)

    case.run(scenario())


def test_a_handle_of_an_unknown_version_is_not_guessed_at(case):
    async def scenario():
        async with case.open() as runtime:
            handle = (await runtime.start(case.for_ever)).handle
            newer = Handle(runtime=handle.runtime, version=99, fields=handle.fields)
            with pytest.raises(Unreachable):
                await runtime.alive(newer)
            await runtime.stop(handle, grace_s=GRACE_S)

    case.run(scenario())
