import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure
from orchestrator.core.values.vram import DeviceState, ProcessUse
from orchestrator.errors import NotStopped, StartFailed
from orchestrator.runtimes.fake.runtime import KILLED, OUT_OF_MEMORY_LINE
from orchestrator.runtimes.fake.script import Mishap
from tests.simulation.virtual_time import run
from tests.unit.runtimes.fakes import G0, G1, TOTAL, fate, launch, world


async def free(place):
    return tuple(reading.free_bytes for reading in await place.read(None))


def now_s():
    return asyncio.get_running_loop().time()


# --- devices ---------------------------------------------------------------------------------


def test_what_runs_is_charged_to_its_devices():
    async def scenario():
        place = world()
        running = await place.runtime.start(launch(g0=60, g1=10))
        assert await free(place) == (40, 90)
        await place.runtime.stop(running.handle, grace_s=1)
        assert await free(place) == (TOTAL, TOTAL)

    run(scenario())


def test_bytes_are_taken_bit_by_bit_while_it_loads():
    async def scenario():
        place = world(fate=fate(start_s=(5, 5), load_s=(10, 10)))
        starting = asyncio.create_task(place.runtime.start(launch(g0=60)))
        await asyncio.sleep(4)
        assert await free(place) == (TOTAL, TOTAL)
        await starting
        seen = []
        for _ in range(4):
            seen.append((await free(place))[0])
            await asyncio.sleep(5)
        assert seen == [100, 70, 40, 40]

    run(scenario())


def test_bytes_come_back_after_the_lag():
    async def scenario():
        place = world(release_lag_s=(1.5, 1.5))
        running = await place.runtime.start(launch(g0=60))
        await place.runtime.stop(running.handle, grace_s=1)
        assert not await place.runtime.alive(running.handle)
        await asyncio.sleep(1.4)
        assert await free(place) == (40, TOTAL)
        await asyncio.sleep(0.2)
        assert await free(place) == (TOTAL, TOTAL)

    run(scenario())


def test_foreign_bytes_are_counted_and_never_below_nothing():
    async def scenario():
        place = world()
        await place.runtime.start(launch(g0=60))
        place.set_foreign(G0, 30)
        assert await free(place) == (10, TOTAL)
        place.set_foreign(G0, 70)
        assert await free(place) == (0, TOTAL)

    run(scenario())


def test_a_faulty_device_says_nothing_until_it_is_mended():
    async def scenario():
        place = world()
        place.set_fault(G1, DeviceState.LOST, "fell off the bus")
        ok, lost = await place.read(None)
        assert (ok.state, ok.free_bytes) == (DeviceState.OK, TOTAL)
        assert (lost.state, lost.problem) == (DeviceState.LOST, "fell off the bus")
        assert (lost.free_bytes, lost.total_bytes, lost.processes) == (None, None, None)
        place.set_fault(G1, DeviceState.OK, "")
        assert await free(place) == (TOTAL, TOTAL)

    run(scenario())


def test_processes_are_told_when_somebody_asks_and_may_see_them():
    async def scenario():
        place = world()
        running = await place.runtime.start(launch(g0=60))
        pids = await place.runtime.pids(running.handle)
        (pid,) = pids
        asked = await place.read(pids)
        assert asked[0].processes == (ProcessUse(pid=pid, used_bytes=60),)
        assert asked[1].processes == ()
        assert (await place.read(None))[0].processes is None
        place.visible = False
        assert await place.runtime.pids(running.handle) == frozenset()
        assert (await place.read(pids))[0].processes == ()

    run(scenario())


# --- what it notices -------------------------------------------------------------------------


def test_a_start_without_room_runs_out_of_memory_and_is_noted():
    async def scenario():
        place = world()
        await place.runtime.start(launch("a", g0=60))
        with pytest.raises(StartFailed) as caught:
            await place.runtime.start(launch("b", g0=50))
        failure = caught.value.failure
        assert (failure.reason, failure.asked_bytes) == (FailureReason.OUT_OF_MEMORY, 50)
        assert len(place.complaints) == 1
        assert list(place.running) == ["a-1"]

    run(scenario())


@pytest.mark.parametrize("how", ["loading", "lagging", "foreign"])
def test_room_that_is_only_promised_is_no_room(how):
    async def scenario():
        place = world(fate=fate(load_s=(9, 9)), release_lag_s=(9, 9), strict=True)
        if how == "foreign":
            place.set_foreign(G0, 60)
        else:
            running = await place.runtime.start(launch("a", g0=60))
            if how == "lagging":
                await asyncio.sleep(9)
                await place.runtime.stop(running.handle, grace_s=1)
        with pytest.raises(AssertionError):
            await place.runtime.start(launch("b", g0=50))
        await place.runtime.start(launch("c", g1=100))

    run(scenario())


def test_a_model_started_twice_is_noted():
    async def scenario():
        place = world()
        await place.runtime.start(launch("a"))
        other = launch("a")
        await place.runtime.start(replace(other, instance="a-2"))
        assert place.complaints == ["a is started while it runs"]
        assert place.starts == ["a", "a"]

    run(scenario())


def test_appetite_takes_more_than_was_promised():
    async def scenario():
        place = world(fate=fate(appetite=(1.5, 1.5)))
        await place.runtime.start(launch(g0=60))
        assert await free(place) == (10, TOTAL)

    run(scenario())


# --- mishaps ---------------------------------------------------------------------------------


def test_a_start_that_fails_leaves_nothing():
    async def scenario():
        reason = FailureReason.MODEL_FILE
        place = world(fate=fate(start_s=(2, 2), start_fails=1.0, start_reasons=(reason,)))
        with pytest.raises(StartFailed) as caught:
            await place.runtime.start(launch(g0=60))
        assert caught.value.failure.reason is reason
        assert now_s() == 2
        assert (place.running, await free(place)) == ({}, (TOTAL, TOTAL))

    run(scenario())


def test_a_start_that_is_cancelled_leaves_nothing():
    async def scenario():
        place = world(fate=fate(start_s=(2, 2)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await place.runtime.start(launch(g0=60))
        assert place.running == {}
        assert await place.runtime.discover() == []

    run(scenario())


def test_what_is_starting_is_not_found_yet():
    async def scenario():
        place = world(fate=fate(start_s=(2, 2)))
        starting = asyncio.create_task(place.runtime.start(launch(g0=60)))
        await asyncio.sleep(1)
        assert await place.runtime.discover() == []
        await starting
        assert [found.instance for found in await place.runtime.discover()] == ["a-1"]

    run(scenario())


def test_a_stop_that_fails_leaves_it_running_and_charged():
    async def scenario():
        place = world()
        running = await place.runtime.start(launch(g0=60))
        place.next_mishaps.append(("a", Mishap.STOP_FAILS))
        with pytest.raises(NotStopped):
            await place.runtime.stop(running.handle, grace_s=1)
        assert await place.runtime.alive(running.handle)
        assert await free(place) == (40, TOTAL)
        await place.runtime.stop(running.handle, grace_s=1)
        assert not await place.runtime.alive(running.handle)

    run(scenario())


def test_a_stop_that_hangs_fails_in_the_end():
    async def scenario():
        place = world(fate=fate(stop_hangs=1.0, stop_hang_s=500))
        running = await place.runtime.start(launch(g0=60))
        with pytest.raises(NotStopped):
            await place.runtime.stop(running.handle, grace_s=1)
        assert now_s() == 500
        assert await place.runtime.alive(running.handle)

    run(scenario())


def test_a_slow_stop_takes_the_grace_at_most():
    async def scenario():
        place = world(fate=fate(stop_s=(50, 50)))
        running = await place.runtime.start(launch())
        await place.runtime.stop(running.handle, grace_s=10)
        assert now_s() == 10
        assert (await place.runtime.wait(running.handle)).code == KILLED

    run(scenario())


def test_it_may_die_by_itself():
    async def scenario():
        place = world(fate=fate(dies=1.0, dies_after_s=(7, 7)))
        running = await place.runtime.start(launch(g0=60))
        exit_ = await place.runtime.wait(running.handle)
        assert (now_s(), exit_.code) == (7, 1)
        assert await free(place) == (TOTAL, TOTAL)

    run(scenario())


def test_a_death_that_was_due_does_not_reach_the_next_life():
    async def scenario():
        place = world()
        running = await place.runtime.start(launch(exits_after_s=5.0))
        await place.runtime.stop(running.handle, grace_s=1)
        await place.runtime.start(launch())
        await asyncio.sleep(10)
        assert list(place.running) == ["a-1"]

    run(scenario())


def test_it_can_be_killed_from_outside():
    async def scenario():
        place = world()
        running = await place.runtime.start(launch(g0=60))
        waiting = asyncio.create_task(place.runtime.wait(running.handle))
        await asyncio.sleep(0)
        place.kill("a-1", line="Xid 79")
        exit_ = await waiting
        assert (exit_.code, exit_.log_tail) == (KILLED, ("Xid 79",))

    run(scenario())


def test_one_model_can_have_a_fate_of_its_own():
    async def scenario():
        place = world()
        place.fates["b"] = fate(start_fails=1.0)
        await place.runtime.start(launch("a"))
        with pytest.raises(StartFailed):
            await place.runtime.start(launch("b"))

    run(scenario())


@pytest.mark.parametrize(
    ("fail", "line"),
    [(FakeFailure.EXITS, "fake: a ends"), (FakeFailure.OUT_OF_MEMORY, OUT_OF_MEMORY_LINE)],
)
def test_a_behaviour_that_fails_ends_it_while_it_loads(fail, line):
    async def scenario():
        place = world()
        behaviour = FakeBehaviour(load_s=3, fail=fail)
        running = await place.runtime.start(launch(g0=60, behaviour=behaviour))
        exit_ = await place.runtime.wait(running.handle)
        assert (now_s(), exit_.code, exit_.log_tail) == (3, 1, (line,))

    run(scenario())


def test_a_launch_that_is_no_script_cannot_be_started():
    async def scenario():
        place = world()
        broken = launch()
        with pytest.raises(StartFailed) as caught:
            await place.runtime.start(replace(broken, argv=("llama-server",)))
        assert caught.value.failure.reason is FailureReason.ARGUMENTS

    run(scenario())


def test_the_same_seed_is_the_same_world():
    async def scenario():
        place = world(seed=5, release_lag_s=(0, 9), fate=fate(start_s=(1, 9), stop_s=(1, 9)))
        running = await place.runtime.start(launch(g0=60))
        await place.runtime.stop(running.handle, grace_s=20)
        while await free(place) != (TOTAL, TOTAL):
            await asyncio.sleep(0.1)
        return now_s()

    assert run(scenario()) == run(scenario())
