"""Effects are carried out, and what came of them is told: on a fake machine in virtual time."""

import asyncio
import errno
import gc
import logging

import pytest

from orchestrator.catalogue.learned import Experience
from orchestrator.conductor.conductor import SNAPSHOT_AGE_S_MAX
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import (
    Grant,
    PinChanged,
    Recovered,
    Requested,
    UnloadRequested,
)
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure, ModelName
from orchestrator.core.values.vram import DeviceId
from orchestrator.errors import Denied
from orchestrator.records import Memory, Page
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from orchestrator.runtimes.fake.runtime import FakeRuntime
from orchestrator.runtimes.fake.script import Fate, Mishap
from tests import factories, machine
from tests.simulation.virtual_time import run
from tests.standins.memory import MemoryRegistry

A, B = machine.model("a", gib=16), machine.model("b", gib=16)
BROKEN = machine.model("x", behaviour=FakeBehaviour(load_s=1.0, fail=FakeFailure.EXITS))


def play(scene, *specs, there=None, **changes):
    """One scene on one machine. Returns what the scene returns."""

    async def played():
        world = there or machine.world()
        async with machine.conducting(world, *(specs or (A, B, BROKEN)), **changes) as conductor:
            return await scene(conductor, world)

    return run(played())


def resident(conductor, name="a"):
    return conductor.scheduler.state.ledger.resident(ModelName(name))


def ask(conductor, spec, **changes):
    ticket = conductor.next_ticket()
    said = {"priority": spec.priority, "hold": LeaseKind.REQUEST, **changes}
    return ticket, conductor.wish(Requested(ticket=ticket, spec=spec, **said))


def unload(conductor, name, *, wait_s=60.0, force=False):
    ticket = conductor.next_ticket()
    event = UnloadRequested(
        ticket=ticket,
        model=ModelName(name),
        force=force,
        deadline_s=conductor.clock() + wait_s,
    )
    return conductor.unload(event)


# --- callers -----------------------------------------------------------------------------------


def test_a_lease_brings_its_model_up_and_ends_with_the_block():
    async def scene(conductor, world):
        async with conductor.lease(A) as granted:
            assert granted.resident.name == "a"
            assert world.answers(granted.resident.instance)
            assert resident(conductor).lease_count == 1
        assert resident(conductor).lease_count == 0
        assert resident(conductor).state is ResidentState.READY

    play(scene)


def test_ten_thousand_who_wait_are_served_by_one_load():
    """And whoever is beyond that is refused at once. Over HTTP: scenarios/test_bad_input.py."""
    places = 9_990

    async def scene(conductor, world):
        async with conductor.lease(A):
            asked = [ask(conductor, B)[1] for _ in range(10_000)]
            assert len(conductor.scheduler.state.queue) == places
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        kinds = [type(each) for each in outcomes]
        assert (kinds.count(Grant), kinds.count(Denied)) == (places, 10)
        assert resident(conductor, "b").lease_count == places
        assert not world.complaints, "nobody was started twice"

    play(scene, rules=Rules(queue_length_max=places))


def test_a_lease_ends_with_the_block_however_it_ends():
    async def scene(conductor, world):
        with pytest.raises(ZeroDivisionError):
            async with conductor.lease(A):
                raise ZeroDivisionError
        assert resident(conductor).lease_count == 0

    play(scene)


def test_callers_of_one_model_share_one_start():
    async def scene(conductor, world):
        answers = [ask(conductor, A)[1] for _ in range(20)]
        granted = await asyncio.gather(*answers)
        assert world.starts == ["a"]
        assert len({each.resident.instance for each in granted}) == 1

    play(scene)


def test_a_caller_that_is_cancelled_in_the_tick_of_its_grant_leaks_no_lease():
    async def scene(conductor, world):
        async def hold():
            async with conductor.lease(A):
                await asyncio.sleep(1000)

        caller = asyncio.create_task(hold())
        perform = conductor._perform

        def perform_and_cancel(effect):
            perform(effect)
            if isinstance(effect, Grant):
                caller.cancel()

        conductor._perform = perform_and_cancel
        await asyncio.wait({caller})
        assert caller.cancelled()
        assert (conductor.scheduler.state.leases, resident(conductor).lease_count) == ({}, 0)

    play(scene)


def test_a_refusal_reaches_everybody_who_waited():
    async def scene(conductor, world):
        answers = [ask(conductor, BROKEN)[1] for _ in range(3)]
        errors = await asyncio.gather(*answers, return_exceptions=True)
        assert {type(each) for each in errors} == {Denied}
        assert {each.refusal.code for each in errors} == {RefusalCode.LOAD_FAILED}
        assert world.starts == ["x"]

    play(scene)


def test_a_caller_that_has_gone_hears_nothing():
    async def scene(conductor, world):
        ticket, answer = ask(conductor, A)
        conductor.withdraw(ticket)
        await asyncio.sleep(60)
        assert not answer.done()

    play(scene)


def test_tickets_of_two_lives_of_the_daemon_differ():
    """Leases are named by their tickets, and outlive the daemon."""

    async def scene(conductor, world):
        await asyncio.sleep(10)
        return conductor.next_ticket()

    async def later(conductor, world):
        return conductor.next_ticket()

    async def two_lives():
        world = machine.world()
        async with machine.conducting(world, A) as first:
            before = await scene(first, world)
        async with machine.conducting(world, A) as second:
            assert await later(second, world) > before

    run(two_lives())


# --- acts --------------------------------------------------------------------------------------


def test_the_intent_is_on_disk_before_anything_starts():
    class Slow(MemoryRegistry):
        async def change(self, table, key, value):
            await asyncio.sleep(3.0)
            return await super().change(table, key, value)

    class Watching(FakeRuntime):
        written = None

        async def start(self, launch):
            memory = await registry.recall()
            Watching.written = [each.resident.instance for each in memory.residents]
            return await super().start(launch)

    registry, world = Slow(), machine.world()
    world.runtime = Watching(world)

    async def scene(conductor, _):
        async with conductor.lease(A) as granted:
            assert Watching.written == [granted.resident.instance]

    play(scene, there=world, registry=registry)


def test_what_runs_is_written_down_with_its_handle_and_forgotten_when_it_is_gone():
    registry = MemoryRegistry()

    async def scene(conductor, world):
        async with conductor.lease(A) as granted:
            await asyncio.sleep(1)
            (record,) = (await registry.recall()).residents
            assert record.runtime == "fake"
            assert record.running == machine.running(granted.resident.instance)
        assert (await unload(conductor, "a")).verified
        await asyncio.sleep(1)
        assert (await registry.recall()).residents == ()

    play(scene, registry=registry)


def test_one_leaves_before_the_other_starts():
    async def scene(conductor, world):
        async with conductor.lease(A):
            pass
        async with conductor.lease(B) as granted:
            assert granted.evicted == ("a",)
            assert [each.launch.model for each in world.running.values()] == ["b"]
        assert world.complaints == []

    play(scene, there=machine.world(release_lag_s=(1.5, 1.5)))


def test_a_server_that_dies_is_noticed_at_once():
    async def scene(conductor, world):
        async with conductor.lease(A):
            pass
        began_s = conductor.clock()
        world.kill(resident(conductor).instance, line="fake: it ends")
        await machine.until(lambda: resident(conductor) is None)
        assert conductor.clock() - began_s < 0.5
        died = [each for each in conductor.history.decisions() if each.decision.kind == "died"]
        assert len(died) == 1

    play(scene)


def test_a_load_that_is_unloaded_by_force_is_called_off_and_taken_down():
    async def scene(conductor, world):
        _, answer = ask(conductor, A)
        await machine.until(lambda: world.running)
        finished = await unload(conductor, "a", force=True)
        assert finished.verified
        assert dict(world.running) == {}
        with pytest.raises(Denied) as denied:
            await answer
        assert denied.value.refusal.code is RefusalCode.CONFLICT

    play(scene)


def test_a_start_that_is_called_off_before_it_returned_leaves_nothing():
    async def scene(conductor, world):
        _, answer = ask(conductor, A)
        await machine.until(lambda: world.running)
        assert (await unload(conductor, "a", force=True)).verified
        assert dict(world.running) == {}
        assert isinstance(await asyncio.wait_for(error_of(answer), 1), Denied)
        await asyncio.sleep(60)
        assert dict(world.running) == {}

    play(scene, there=machine.world(fate=Fate(start_s=(30.0, 30.0))))


async def error_of(answer):
    await asyncio.wait({answer})
    return answer.exception()


def test_a_stop_that_fails_is_told_stays_charged_and_is_tried_again():
    async def scene(conductor, world):
        async with conductor.lease(A):
            pass
        world.next_mishaps.append(("a", Mishap.STOP_FAILS))
        with pytest.raises(Denied):
            await unload(conductor, "a")
        assert resident(conductor).state is ResidentState.STUCK
        await machine.until(lambda: resident(conductor) is None)
        assert dict(world.running) == {}

    play(scene)


def test_a_bug_in_a_driver_is_a_failure_with_a_name_and_the_daemon_goes_on():
    class Buggy(FakeWorldEngine):
        def launch(self, instance, spec, placement):
            if spec.name == "b":
                raise KeyError("argv")
            return super().launch(instance, spec, placement)

    async def scene(conductor, world):
        _, answer = ask(conductor, B)
        with pytest.raises(Denied, match="internal error: KeyError"):
            await answer
        async with conductor.lease(A):
            pass

    world = machine.world()
    play(scene, there=world, by=machine.drivers(world, Buggy(world)))


def test_a_bug_while_stopping_is_not_taken_for_stopped():
    class Buggy(FakeRuntime):
        broken = True

        async def stop(self, handle, *, grace_s):
            if self.broken:
                self.broken = False
                raise KeyError("handle")
            await super().stop(handle, grace_s=grace_s)

    world = machine.world()
    world.runtime = Buggy(world)

    async def scene(conductor, _):
        async with conductor.lease(A):
            pass
        with pytest.raises(Denied):
            await unload(conductor, "a")
        assert resident(conductor).state is ResidentState.STUCK
        await machine.until(lambda: resident(conductor) is None)

    play(scene, there=world)


def test_a_resumed_load_that_is_cancelled_at_once_leaves_nothing_behind():
    """pytest fails on a coroutine that was made and never awaited."""

    async def scene(conductor, _):
        loading = factories.resident("a", gib=8, state=ResidentState.LOADING)
        conductor.lives.know(loading, machine.running(loading.instance))
        conductor.tell(Recovered((loading,)))
        conductor.lives.resume(loading)

    play(scene)
    gc.collect()


def test_what_a_load_took_is_learned_and_kept():
    registry, experience = MemoryRegistry(), Experience()

    async def scene(conductor, world):
        async with conductor.lease(A):
            await asyncio.sleep(1)
        (record,) = (await registry.recall()).learned
        assert (record.model, record.footprint.device_bytes) == ("a", 16 << 30)
        assert record.load_s == pytest.approx(2.0, abs=0.3)
        assert conductor._experience.records(ModelName("a")) == (record,)

    play(scene, registry=registry, experience=experience)


def test_the_log_of_a_life_that_has_ended_can_still_be_read():
    async def scene(conductor, world):
        assert await conductor.lives.log_tail(ModelName("a"), 10) == ()
        async with conductor.lease(A):
            world.running[resident(conductor).instance].log.append("a last word")
        await unload(conductor, "a")
        assert await conductor.lives.log_tail(ModelName("a"), 10) == ("a last word",)

    play(scene)


# --- what is told ------------------------------------------------------------------------------


def test_a_decision_reaches_the_log_the_history_and_the_registry(caplog):
    registry = MemoryRegistry()

    async def scene(conductor, world):
        conductor.say(Decide(kind=DecisionKind.DEVICE, text="g0 is lost.", remedy="Look at it."))
        await asyncio.sleep(1)
        (kept,) = await registry.page(Page(limit=9))
        assert conductor.history.decisions() == (kept,)
        assert kept.decision.text == "g0 is lost."

    with caplog.at_level(logging.INFO, logger="orchestrator"):
        play(scene, registry=registry)
    (line,) = (each for each in caplog.records if "g0 is lost" in each.getMessage())
    assert line.levelno == logging.WARNING


def test_a_new_life_goes_on_with_the_numbers_and_pins_of_the_last():
    async def scene(conductor, world):
        pins = {ModelName("a"): True, ModelName("b"): False}
        conductor.tell(PinChanged(ModelName("b"), pinned=True))
        memory = Memory(residents=(), leases=(), learned=(), pins=pins, last_decision_id=41)
        conductor.start_from(memory)
        conductor.tell(Recovered((), pins=memory.pins))
        conductor.say(Decide(kind=DecisionKind.DEVICE, text="x."))
        assert conductor.history.decisions()[-1].id == 42
        assert conductor.snapshot().pinned == {"a"}

    play(scene)


def test_a_snapshot_is_made_once_for_all_who_look_and_is_soon_out_of_date():
    async def scene(conductor, world):
        first = conductor.snapshot()
        assert conductor.snapshot() is first
        await asyncio.sleep(SNAPSHOT_AGE_S_MAX)
        second = conductor.snapshot()
        assert second is not first
        await conductor.sensors.sample()
        assert conductor.snapshot() is not second

    play(scene)


def test_those_who_watch_are_told_of_a_burst_once():
    async def scene(conductor, world):
        with conductor.history.subscribe() as changes:
            for _ in range(50):
                await conductor.sensors.sample()
            noted = await anext(changes)
            assert noted.snapshot.version == conductor.scheduler.state.ledger.version

    play(scene)


def test_emptiness_is_waited_for_but_not_for_ever():
    async def scene(conductor, world):
        async with conductor.lease(A):
            assert not await conductor.sensors.until_nobody_is_left(5.0)
        gone = unload(conductor, "a")
        assert await conductor.sensors.until_nobody_is_left(5.0)
        assert (await gone).verified
        assert world.free_bytes(DeviceId("g0")) == 24 << 30

    play(scene)


# --- what no port promises ---------------------------------------------------------------------

TOO_MANY = OSError(errno.EMFILE, "Too many open files")


class Breaking(FakeRuntime):
    """A runtime of which some calls raise what they do not promise."""

    broken = frozenset()

    def breaks(self, call):
        if call in self.broken:
            raise TOO_MANY

    async def start(self, launch):
        self.breaks("start")
        return await super().start(launch)

    async def stop(self, handle, *, grace_s):
        self.breaks("stop")
        await super().stop(handle, grace_s=grace_s)

    async def wait(self, handle):
        self.breaks("wait")
        return await super().wait(handle)

    async def alive(self, handle):
        self.breaks("alive")
        return await super().alive(handle)

    async def pids(self, handle):
        self.breaks("pids")
        return await super().pids(handle)

    async def log_tail(self, handle, lines):
        self.breaks("log_tail")
        return await super().log_tail(handle, lines)

    async def log_size(self, handle):
        self.breaks("log_size")
        return await super().log_size(handle)


def breaking(scene, **changes):
    world = machine.world(**changes)
    world.runtime = Breaking(world)
    play(scene, there=world)


async def loaded(conductor, spec=A):
    async with conductor.lease(spec):
        pass
    return resident(conductor, spec.name)


@pytest.mark.parametrize("call", ["wait", "pids", "log_tail", "log_size"])
def test_a_load_comes_up_though_a_call_breaks(call):
    async def scene(conductor, world):
        world.runtime.broken = {call}
        assert (await loaded(conductor)).state is ResidentState.READY

    breaking(scene)


@pytest.mark.parametrize("calls", [{"wait"}, {"wait", "alive"}, {"log_tail", "pids"}])
def test_the_end_of_a_server_is_noticed_though_calls_break(calls):
    """Where its end cannot be seen, it is as soon as it can be."""

    async def scene(conductor, world):
        world.runtime.broken = calls
        instance = (await loaded(conductor)).instance
        await asyncio.sleep(10)
        assert resident(conductor).state is ResidentState.READY
        world.kill(instance)
        await asyncio.sleep(2)
        if "alive" in calls:
            assert resident(conductor).state is ResidentState.READY, "nobody knows yet"
            world.runtime.broken = set()
            await asyncio.sleep(2)
        assert resident(conductor) is None

    breaking(scene)


def test_a_start_that_breaks_off_is_not_the_models_fault():
    async def scene(conductor, world):
        world.runtime.broken = {"start"}
        with pytest.raises(Denied) as denied:
            await loaded(conductor)
        assert denied.value.refusal.failure.reason is FailureReason.RUNTIME_UNAVAILABLE
        world.runtime.broken = set()
        assert (await loaded(conductor)).state is ResidentState.READY

    breaking(scene)


def test_a_load_that_breaks_off_leaves_nothing_running():
    class Odd(FakeWorldEngine):
        async def readiness(self, endpoint):
            raise TOO_MANY

    async def scene(conductor, world):
        with pytest.raises(Denied):
            await loaded(conductor)
        await asyncio.sleep(1)
        assert resident(conductor) is None
        assert dict(world.running) == {}

    world = machine.world()
    play(scene, there=world, by=machine.drivers(world, Odd(world)))


def test_a_stop_that_breaks_off_stays_charged_and_is_tried_again():
    async def scene(conductor, world):
        await loaded(conductor)
        world.runtime.broken = {"stop"}
        with pytest.raises(Denied):
            await unload(conductor, "a")
        assert resident(conductor).state is ResidentState.STUCK
        world.runtime.broken = set()
        await machine.until(lambda: resident(conductor) is None)
        assert dict(world.running) == {}

    breaking(scene)


def test_a_reading_that_breaks_off_makes_the_devices_unreadable(caplog):
    async def scene(conductor, world):
        read = world.read
        await loaded(conductor)

        async def broken(pids):
            raise TOO_MANY

        world.read = broken
        for _ in range(3):
            await conductor.sensors.sample()
        (account,) = conductor.snapshot().accounts
        assert account.available_bytes is None
        assert resident(conductor).state is ResidentState.READY
        world.read = read
        await conductor.sensors.sample()
        assert (await loaded(conductor)).state is ResidentState.READY

    play(scene)
    said = [each for each in caplog.records if "reading the devices" in each.getMessage()]
    assert len(said) == 1
    assert said[0].exc_info, "with its traceback"


def test_a_look_that_breaks_off_is_said_once_and_the_server_stays(caplog):
    class Odd(FakeWorldEngine):
        async def use(self, endpoint):
            raise OSError(errno.EIO, "Input/output error")

    async def scene(conductor, world):
        await loaded(conductor)
        for _ in range(5):
            await conductor.sensors.look_at_use()
            await asyncio.sleep(2)
        assert resident(conductor).silent_since_s is None
        assert (await loaded(conductor, B)).state is ResidentState.READY  # a was asked, and left

    world = machine.world()
    play(scene, there=world, by=machine.drivers(world, Odd(world)))
    said = [each for each in caplog.records if "looking at a server" in each.getMessage()]
    assert len(said) == 1


def test_a_write_that_breaks_off_ends_no_daemon(caplog):
    class Odd(MemoryRegistry):
        async def change(self, table, key, value):
            raise OSError(errno.ENOSPC, "No space left on device")

    async def scene(conductor, world):
        assert (await loaded(conductor)).state is ResidentState.READY
        assert (await unload(conductor, "a")).verified

    play(scene, registry=Odd())
    assert any("write" in each.getMessage() and each.exc_info for each in caplog.records)


# --- a scheduler that breaks off -----------------------------------------------------------------


def breaks_off(conductor, kind):
    """From now on every event of that kind is one that the scheduler was not made for."""
    take = conductor.scheduler._take

    def broken(event, now_s):
        if isinstance(event, kind):
            raise ZeroDivisionError("half of it is done")
        return take(event, now_s)

    conductor.scheduler._take = broken


def test_after_a_defect_the_daemon_is_ended_and_nothing_is_told_any_more(caplog):
    async def scene(conductor, world):
        ends = []
        conductor.end_on_defect(lambda: ends.append("now"))
        _, waiting = ask(conductor, A)
        breaks_off(conductor, PinChanged)
        with pytest.raises(Denied) as denied:
            conductor.order(PinChanged(ModelName("a"), pinned=True))
        assert denied.value.refusal.code is RefusalCode.SHUTTING_DOWN
        assert (await error_of(waiting)).refusal.code is RefusalCode.SHUTTING_DOWN
        assert (await error_of(ask(conductor, B)[1])).refusal.code is RefusalCode.SHUTTING_DOWN
        version = conductor.scheduler.state.ledger.version
        await asyncio.sleep(60)
        assert conductor.scheduler.state.ledger.version == version
        assert ends == ["now"]
        assert "ZeroDivisionError" in str(conductor.defect)
        assert "PinChanged" in str(conductor.defect)

    play(scene)
    (said,) = (each for each in caplog.records if each.levelno == logging.CRITICAL)
    assert said.exc_info, "with its traceback"


def test_where_nobody_would_end_the_daemon_a_defect_is_raised():
    async def scene(conductor, world):
        breaks_off(conductor, PinChanged)
        with pytest.raises(ZeroDivisionError):
            conductor.tell(PinChanged(ModelName("a"), pinned=True))

    play(scene)


def test_a_model_that_comes_up_while_the_daemon_ends_is_not_waited_for():
    """Its load has ended and is still measured: a watch begun after the end would last for ever."""

    async def scene(conductor, world):
        go_on, sample = asyncio.Event(), conductor.sensors.sample

        async def held_up():
            await go_on.wait()
            await sample()

        _, answer = ask(conductor, A)
        await machine.until(lambda: bool(conductor.lives._loads))
        conductor.sensors.sample = held_up
        await machine.until(lambda: not conductor.lives._loads)
        conductor.close()
        go_on.set()
        await answer
        await asyncio.sleep(1)
        return [task for task in asyncio.all_tasks() if task.get_name().startswith("watch")]

    assert play(scene) == []


# --- requests that pass without asking ----------------------------------------------------------


def test_a_request_that_has_just_taken_its_route_is_not_cut():
    """Neither the scheduler has heard of it, nor its server: the count is read before the stop."""

    async def scene(conductor, world):
        async with conductor.lease(A):
            pass
        await machine.until(lambda: not resident(conductor).in_use)
        routes = conductor._routes
        first = resident(conductor).instance
        route = routes.find(A.name)
        routes.enter(route)
        wanting = asyncio.create_task(conductor.lease(B).__aenter__())
        await asyncio.sleep(5)
        assert first in world.running
        assert resident(conductor).in_use
        routes.leave(route)
        await wanting
        return first in world.running, resident(conductor)

    assert play(scene) == (False, None)


def test_a_route_is_closed_while_its_model_drains_and_opened_when_it_stays():
    async def scene(conductor, world):
        async with conductor.lease(A):
            route = conductor._routes.find(A.name)
            unloading = asyncio.ensure_future(
                conductor.unload(
                    UnloadRequested(
                        ticket=conductor.next_ticket(),
                        model=A.name,
                        deadline_s=conductor.clock() + 3,
                    )
                )
            )
            await asyncio.sleep(1)
            assert conductor._routes.find(A.name) is None
            assert not route.open
            with pytest.raises(Denied):
                await unloading
            await asyncio.sleep(1)
            again = conductor._routes.find(A.name)
            return again.open, again.number > route.number

    assert play(scene) == (True, True)
