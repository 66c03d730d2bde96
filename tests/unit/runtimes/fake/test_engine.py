import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import InstanceId, Placement, ReadyState
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure
from orchestrator.errors import Unreachable
from orchestrator.ports import Exit
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from tests.factories import spec
from tests.simulation.virtual_time import run
from tests.unit.runtimes.fakes import G0, G1, fate, world

PLACED = Placement(((G0, 60), (G1, 5)))


async def up(place, **changes):
    engine = FakeWorldEngine(place)
    model = replace(spec("a", gib=1), **changes)
    assert await engine.check(model) is None
    running = await place.runtime.start(engine.launch(InstanceId("a-1"), model, PLACED))
    return engine, running


def test_a_launch_takes_what_its_placement_says():
    async def scenario():
        place = world()
        await up(place)
        assert [reading.free_bytes for reading in await place.read(None)] == [40, 95]

    run(scenario())


def test_it_answers_when_it_has_loaded():
    async def scenario():
        place = world(fate=fate(load_s=(10, 10)))
        engine, running = await up(place)
        assert (await engine.readiness(running.endpoint)).state is ReadyState.STARTING
        with pytest.raises(Unreachable):
            await engine.use(running.endpoint)
        await asyncio.sleep(10)
        assert (await engine.readiness(running.endpoint)).state is ReadyState.READY
        assert (await engine.use(running.endpoint)).busy_slots == 0
        await engine.unload(running.endpoint, spec("a", gib=1))
        assert await place.runtime.alive(running.handle)

    run(scenario())


def test_it_may_never_be_ready_and_yet_takes_its_bytes():
    async def scenario():
        place = world(fate=fate(load_s=(10, 10), never_ready=1.0))
        engine, running = await up(place)
        await asyncio.sleep(1000)
        assert (await engine.readiness(running.endpoint)).state is ReadyState.STARTING
        assert place.free_bytes(G0) == 40

    run(scenario())


def test_what_the_spec_says_of_its_behaviour_is_what_happens():
    async def scenario():
        place = world()
        behaviour = FakeBehaviour(load_s=3, fail=FakeFailure.OUT_OF_MEMORY)
        engine, running = await up(place, fake=behaviour)
        failure = engine.classify(await place.runtime.wait(running.handle))
        assert failure.reason is FailureReason.OUT_OF_MEMORY

    run(scenario())


def test_other_ends_are_exits():
    engine = FakeWorldEngine(world())
    assert engine.classify(Exit(code=1)).reason is FailureReason.EXITED
    assert engine.classify(Exit(code=-9, out_of_memory=True)).reason is FailureReason.OUT_OF_MEMORY
