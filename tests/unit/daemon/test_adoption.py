"""One life of the daemon ends, the next one finds what runs: on a fake machine."""

import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.messages import UnloadRequested
from orchestrator.core.values.residents import Placement, ReadyState, ResidentState
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure, ServiceName
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.daemon.adoption import adopt, recover, take_back
from orchestrator.errors import Unreachable
from orchestrator.ports import Readiness
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from orchestrator.runtimes.fake.runtime import FakeRuntime
from orchestrator.runtimes.fake.script import Mishap
from tests import machine
from tests.simulation.virtual_time import run
from tests.standins.memory import MemoryRegistry

A, B = machine.model("a", gib=8), machine.model("b", gib=6)
SLOW = machine.model("slow", gib=4, behaviour=FakeBehaviour(load_s=60.0))


class Lives:
    """A machine and a disk that outlive the daemon, which dies without a word."""

    def __init__(self):
        self.world = machine.world()
        self.registry = MemoryRegistry()

    async def first(self, scene):
        async with machine.conducting(self.world, A, B, SLOW, registry=self.registry) as conductor:
            await scene(conductor)

    async def second(self, scene, *, catalogue=(A, B, SLOW), by=None):
        memory = await self.registry.recall()
        async with machine.conducting(
            self.world, *catalogue, registry=self.registry, by=by
        ) as conductor:
            await recover(conductor, memory, {each.name: each for each in catalogue})
            await conductor.sensors.sample()
            await scene(conductor)

    def instance(self, name):
        (found,) = (key for key, each in self.world.running.items() if each.launch.model == name)
        return found


async def a_is_ready(conductor):
    async with conductor.lease(A):
        await asyncio.sleep(1)


async def slow_is_loading(conductor):
    async def want():
        async with conductor.lease(SLOW):
            pass

    wanting = asyncio.create_task(want())
    await asyncio.sleep(10)
    wanting.cancel()
    await asyncio.wait({wanting})


def resident(conductor, name):
    return conductor.scheduler.state.ledger.resident(name)


def play(before, after, **changes):
    async def both():
        lives = Lives()
        await lives.first(before)
        await lives.second(lambda conductor: after(conductor, lives), **changes)

    run(both())


def test_a_ready_model_is_adopted_and_serves_at_once():
    async def after(conductor, lives):
        assert resident(conductor, "a").instance == lives.instance("a")
        began_s = conductor.clock()
        async with conductor.lease(A) as granted:
            assert granted.already_loaded
        assert conductor.clock() - began_s < 0.01
        assert lives.world.starts == ["a"]
        assert conductor.scheduler.state.ledger.foreign_bytes(DeviceId("g0")) == 0

    play(a_is_ready, after)


def test_the_death_of_an_adopted_model_is_noticed():
    async def after(conductor, lives):
        lives.world.kill(lives.instance("a"))
        await machine.until(lambda: resident(conductor, "a") is None)

    play(a_is_ready, after)


def test_a_load_goes_on_where_it_was():
    async def after(conductor, lives):
        assert resident(conductor, "slow").state is ResidentState.LOADING
        async with conductor.lease(SLOW):
            assert 45 < conductor.clock() < 70
        assert lives.world.starts == ["slow"]

    play(slow_is_loading, after)


def test_what_ended_meanwhile_is_forgotten():
    async def before(conductor):
        await a_is_ready(conductor)

    async def both():
        lives = Lives()
        await lives.first(before)
        lives.world.kill(lives.instance("a"))

        async def after(conductor):
            assert resident(conductor, "a") is None
            await asyncio.sleep(1)
            assert (await lives.registry.recall()).residents == ()

        await lives.second(after)

    run(both())


def test_what_runs_and_whose_row_was_lost_is_adopted():
    async def both():
        lives = Lives()
        await lives.first(a_is_ready)
        await lives.registry.residents.drop(lives.instance("a"))

        async def after(conductor):
            assert resident(conductor, "a").state is ResidentState.READY
            assert resident(conductor, "a").placement.on(DeviceId("g0")) == 8 * GiB
            assert lives.world.starts == ["a"]

        await lives.second(after)

    run(both())


def test_what_nothing_in_the_configuration_wants_is_removed_if_nobody_wrote_it_down():
    async def both():
        lives = Lives()
        await lives.first(a_is_ready)
        await lives.registry.residents.drop(lives.instance("a"))

        async def after(conductor):
            assert dict(lives.world.running) == {}

        await lives.second(after, catalogue=(B,))

    run(both())


def test_a_removal_that_fails_keeps_nobody_from_starting():
    async def both():
        lives = Lives()
        await lives.first(a_is_ready)
        await lives.registry.residents.drop(lives.instance("a"))
        lives.world.next_mishaps.append(("a", Mishap.STOP_FAILS))

        async def after(conductor):
            assert [each.launch.model for each in lives.world.running.values()] == ["a"]
            async with conductor.lease(B):
                pass

        await lives.second(after, catalogue=(B,))

    run(both())


def test_a_model_of_a_service_that_is_gone_is_forgotten():
    async def after(conductor, lives):
        assert list(conductor.scheduler.state.ledger.residents) == []
        await asyncio.sleep(1)
        assert (await lives.registry.recall()).residents == ()

    elsewhere = replace(B, service=ServiceName("elsewhere"))
    play(a_is_ready, after, catalogue=(elsewhere,), by={})


def test_a_broken_model_is_taken_down():
    class Broken(FakeWorldEngine):
        async def readiness(self, endpoint):
            return Readiness(ReadyState.BROKEN, "it answers no more")

    async def both():
        lives = Lives()
        await lives.first(a_is_ready)

        async def after(conductor):
            await machine.until(lambda: not lives.world.running)
            await machine.until(lambda: resident(conductor, "a") is None)

        by = machine.drivers(lives.world, Broken(lives.world))
        await lives.second(after, by=by)

    run(both())


def test_what_a_silent_runtime_ran_is_believed_in():
    class Silent(FakeRuntime):
        async def discover(self):
            raise Unreachable("the engine does not answer.")

    async def both():
        lives = Lives()
        await lives.first(a_is_ready)
        lives.world.runtime = Silent(lives.world)

        async def after(conductor):
            assert resident(conductor, "a").state is ResidentState.READY
            assert lives.world.starts == ["a"]

        await lives.second(after)

    run(both())


@pytest.mark.parametrize(
    ("expires_in_s", "lives_on_s"), [(None, 9000), (500.0, 500), (-30.0, 60), (-900.0, 60)]
)
def test_lease_after_restart_lives_a_minute(expires_in_s, lives_on_s):
    async def both():
        lives = Lives()
        await lives.first(a_is_ready)
        now_s = asyncio.get_running_loop().time() + 1000
        await asyncio.sleep(1000)
        lease = Lease(
            id=LeaseId("a-t7"),
            ticket=Ticket(7),
            instance=lives.instance("a"),
            model=A.name,
            kind=LeaseKind.OWNER,
            owner="flow",
            priority=5,
            granted_s=0,
            expires_s=None if expires_in_s is None else now_s + expires_in_s,
        )
        await lives.registry.leases.put(lease)

        async def after(conductor):
            await asyncio.sleep(min(lives_on_s, 600) - 2)
            await conductor.sensors.tick()
            assert resident(conductor, "a").in_use
            if expires_in_s is not None:
                await asyncio.sleep(4)
                await conductor.sensors.tick()
                assert not resident(conductor, "a").in_use

        await lives.second(after)

    run(both())


def test_a_stop_that_was_under_way_is_carried_through():
    async def both():
        lives = Lives()
        await lives.first(a_is_ready)
        (record,) = (await lives.registry.recall()).residents
        leaving = replace(record.resident, state=ResidentState.UNLOADING)
        await lives.registry.residents.put(replace(record, resident=leaving))

        async def after(conductor):
            await machine.until(lambda: resident(conductor, "a") is None)
            assert dict(lives.world.running) == {}

        await lives.second(after)

    run(both())


def test_a_load_that_never_ends_is_stopped_by_the_next_life():
    stuck = machine.model("stuck", behaviour=FakeBehaviour(fail=FakeFailure.NEVER_READY))

    async def before(conductor):
        async def want():
            async with conductor.lease(stuck):
                pass

        wanting = asyncio.create_task(want())
        await asyncio.sleep(10)
        wanting.cancel()
        await asyncio.wait({wanting})

    async def both():
        lives = Lives()
        await lives.first(before)

        async def after(conductor):
            await machine.until(lambda: not lives.world.running, timeout_s=700)

        await lives.second(after, catalogue=(stuck,))

    run(both())


# --- what others start ---------------------------------------------------------------------------


class Shared(FakeRuntime):
    """Where somebody else may have started what a launch asks for."""

    async def already(self, launch):
        same = (
            key for key, each in self._world.running.items() if each.launch.model == launch.model
        )
        instance = next(same, None)
        return None if instance is None else machine.running(instance)


def play_shared(scene, *specs, runtime=Shared):
    async def played():
        there = machine.world()
        there.runtime = runtime(there)
        by = machine.drivers(there, shared=True)
        async with machine.conducting(there, *specs, by=by) as conductor:
            await scene(conductor, there)

    run(played())


async def somebody_starts(conductor, there, spec):
    """Not we: the scheduler is not asked."""
    drivers = conductor.drivers[spec.service]
    shares = Placement(((DeviceId("g0"), spec.footprint.device_bytes),))
    await there.runtime.start(drivers.engine.launch(f"{spec.name}-theirs", spec, shares))
    await asyncio.sleep(3)


def test_what_somebody_else_starts_is_a_resident_from_then_on():
    async def scene(conductor, there):
        await somebody_starts(conductor, there, A)
        await conductor.sensors.sample()
        ledger = conductor.scheduler.state.ledger
        assert ledger.foreign_bytes(DeviceId("g0")) == 8 * GiB
        catalogue = {each.name: each for each in (A, B)}
        await adopt(conductor, catalogue)
        assert resident(conductor, "a").state is ResidentState.READY
        assert ledger.foreign_bytes(DeviceId("g0")) == 0
        assert resident(conductor, "b") is None
        async with conductor.lease(A) as granted:
            assert granted.already_loaded
        before = resident(conductor, "a")
        await adopt(conductor, catalogue)
        assert resident(conductor, "a").instance == before.instance, "once"
        there.kill("a-theirs")
        await machine.until(lambda: resident(conductor, "a") is None)

    play_shared(scene, A, B)


def test_who_waits_for_it_is_served_when_somebody_else_starts_it():
    big = machine.model("big", gib=20)

    async def scene(conductor, there):
        async with conductor.lease(big):
            wanting = asyncio.create_task(conductor.lease(B).__aenter__())
            await asyncio.sleep(1)
            assert not wanting.done()
            small = replace(B, footprint=Footprint(device_bytes=GiB))
            await somebody_starts(conductor, there, small)
            await adopt(conductor, {B.name: small})
            await asyncio.wait_for(wanting, 5)
            assert there.starts == ["big", "b"], "once, and not by us"

    play_shared(scene, big, B)


def test_what_does_not_answer_is_left_to_its_owner():
    async def scene(conductor, there):
        await somebody_starts(conductor, there, SLOW)
        await adopt(conductor, {SLOW.name: SLOW})
        assert resident(conductor, "slow") is None
        assert list(there.running) == ["slow-theirs"]

    play_shared(scene, SLOW)


def test_nobody_is_adopted_while_the_runtime_is_silent_or_the_thing_is_not_there():
    class Silent(Shared):
        async def already(self, launch):
            raise Unreachable("the engine does not answer.")

    async def scene(conductor, there):
        await adopt(conductor, {A.name: A})
        assert resident(conductor, "a") is None

    play_shared(scene, A, runtime=Silent)
    play_shared(scene, A)


def test_what_only_we_start_is_not_looked_for():
    async def scene(conductor, lives):
        await adopt(conductor, {B.name: B})
        assert resident(conductor, "b") is None

    play(a_is_ready, scene)


# --- what others start again ---------------------------------------------------------------------


async def taken_back(conductor, there):
    await take_back(conductor, conductor.scheduler.state.catalogue, there.runtime)


def play_again(scene, *specs, world=None):
    async def played():
        there = world or machine.world()
        async with machine.conducting(there, *specs) as conductor:
            await scene(conductor, there)

    run(played())


async def loaded_and_killed(conductor, there, spec):
    async with conductor.lease(spec):
        instance = resident(conductor, spec.name).instance
    there.kill(instance)
    return instance


def test_a_life_that_somebody_starts_again_goes_on():
    async def scene(conductor, there):
        instance = await loaded_and_killed(conductor, there, A)
        await machine.until(lambda: resident(conductor, "a") is None)
        await taken_back(conductor, there)
        assert resident(conductor, "a") is None, "it does not run"
        there.start_again(instance)
        await there.runtime.stirred()
        await taken_back(conductor, there)
        assert resident(conductor, "a").state is ResidentState.LOADING
        async with conductor.lease(A) as granted:
            assert granted.resident.instance == instance
        assert there.starts == ["a"], "no second copy"
        await taken_back(conductor, there)
        assert resident(conductor, "a").state is ResidentState.READY, "once"

    play_again(scene, A)


def test_it_is_charged_all_along_where_its_bytes_were_not_back_yet():
    async def scene(conductor, there):
        instance = await loaded_and_killed(conductor, there, A)
        await machine.until(lambda: resident(conductor, "a").state is ResidentState.RELEASING)
        there.start_again(instance)
        await taken_back(conductor, there)
        assert resident(conductor, "a").state is ResidentState.LOADING
        await machine.until(lambda: resident(conductor, "a").state is ResidentState.READY)

    play_again(scene, A, world=machine.world(release_lag_s=(1.0, 1.0)))


def test_who_waits_for_it_to_be_gone_still_sees_it_go():
    async def scene(conductor, there):
        instance = await loaded_and_killed(conductor, there, A)
        await machine.until(lambda: resident(conductor, "a").state is ResidentState.RELEASING)
        ticket = conductor.next_ticket()
        gone = conductor.unload(
            UnloadRequested(ticket=ticket, model=A.name, deadline_s=conductor.clock() + 60)
        )
        there.start_again(instance)
        await taken_back(conductor, there)
        assert (await gone).verified
        assert dict(there.running) == {}

    play_again(scene, A, world=machine.world(release_lag_s=(1.0, 1.0)))


def test_of_two_copies_the_one_that_is_known_stays():
    async def scene(conductor, there):
        instance = await loaded_and_killed(conductor, there, A)
        await machine.until(lambda: resident(conductor, "a") is None)
        async with conductor.lease(A) as granted:
            there.start_again(instance)
            await taken_back(conductor, there)
            assert list(there.running) == [granted.resident.instance]

    play_again(scene, A, world=machine.world(strict=False))


def test_what_the_configuration_does_not_want_any_more_is_removed():
    async def scene(conductor, there):
        instance = await loaded_and_killed(conductor, there, A)
        await machine.until(lambda: resident(conductor, "a") is None)
        there.start_again(instance)
        await take_back(conductor, {}, there.runtime)
        assert dict(there.running) == {}

    play_again(scene, A)


def test_a_silent_runtime_is_asked_again():
    class Silent(FakeRuntime):
        async def returned(self, known):
            raise Unreachable("the engine does not answer.")

    async def scene(conductor, there):
        await take_back(conductor, {A.name: A}, Silent(there))
        assert resident(conductor, "a") is None

    play_again(scene, A)


def adoptions(conductor):
    return [
        (each.decision.model, each.decision.text)
        for each in conductor.history.decisions()
        if "the registry knows nothing" in each.decision.text
    ]


def test_servers_of_a_registry_that_was_lost_are_named_and_not_doubled():
    async def lose(conductor):
        await a_is_ready(conductor)
        for instance in list(conductor.running):
            await conductor.registry.residents.drop(instance)

    async def after(conductor, lives):
        instance = lives.instance("a")
        text = f"a runs as {instance}, of which the registry knows nothing: it is taken over."
        assert adoptions(conductor) == [("a", text)]
        async with conductor.lease(A) as granted:
            assert granted.already_loaded
        assert lives.world.starts == ["a"]

    play(lose, after)


def test_a_server_that_neither_the_registry_nor_the_catalogue_knows_is_named_and_removed():
    async def lose(conductor):
        await a_is_ready(conductor)
        for instance in list(conductor.running):
            await conductor.registry.residents.drop(instance)

    async def after(conductor, lives):
        ((model, text),) = adoptions(conductor)
        assert (model, text.endswith("it is removed.")) == ("a", True)
        await machine.until(lambda: not lives.world.running)

    play(lose, after, catalogue=(B,))


def test_what_the_registry_knows_is_not_named_as_unknown():
    async def after(conductor, lives):
        assert adoptions(conductor) == []

    play(a_is_ready, after)
