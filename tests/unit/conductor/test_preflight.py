"""Looks at models: one at a time for each, told when they end, ended when nobody wants to know."""

import asyncio
from dataclasses import replace

from orchestrator.conductor.preflight import Preflight
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.messages import Bringing, Check, Checked, Uncheck
from orchestrator.ports import Drivers
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from tests import machine
from tests.factories import spec
from tests.simulation.virtual_time import run

SPEC = replace(spec("a", gib=8), hub="org/repo:a.gguf")
FOUND = replace(SPEC, file="/cache/a.gguf")
FAILURE = Failure(reason=FailureReason.DOWNLOAD, detail="no.")


class SlowSupply:
    """Brings in two seconds what it was given to bring."""

    def __init__(self, outcome=FOUND):
        self.outcome = outcome
        self.asked = []
        self.ended = 0

    async def bring(self, spec, tell):
        self.asked.append(spec)
        tell("half of it")
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            self.ended += 1
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def play(scene, *supplies):
    async def played():
        world = machine.world()
        drivers = Drivers(engine=FakeWorldEngine(world), runtime=world.runtime, supplies=supplies)
        told = []
        async with asyncio.TaskGroup() as tasks:

            def spawn(work, name):
                return tasks.create_task(work, name=name)

            checks = Preflight({machine.SERVICE: drivers}, spawn, told.append)
            await scene(checks, told)

    run(played())


def test_progress_is_told_and_then_what_was_brought():
    async def scene(checks, told):
        checks.perform(Check(SPEC))
        await asyncio.sleep(3)
        assert told == [Bringing("a", "half of it"), Checked("a", None, FOUND)]

    play(scene, SlowSupply())


def test_supplies_are_asked_in_turn_until_one_fails():
    first, second, third = SlowSupply(), SlowSupply(FAILURE), SlowSupply()

    async def scene(checks, told):
        checks.perform(Check(SPEC))
        await asyncio.sleep(9)
        assert told[-1] == Checked("a", FAILURE)
        assert (second.asked, third.asked) == ([FOUND], [])

    play(scene, first, second, third)


def test_of_an_unknown_size_nothing_more_is_looked_at():
    """The file is not there yet: an engine that looked at it would complain."""
    unsized = replace(SPEC, footprint=UNKNOWN)

    async def scene(checks, told):
        checks.perform(Check(unsized))
        await asyncio.sleep(3)
        assert told[-1] == Checked("a", None, FOUND)

    play(scene, SlowSupply())


def test_a_second_look_for_the_same_file_joins_the_first():
    supply = SlowSupply()

    async def scene(checks, told):
        checks.perform(Check(SPEC))
        await asyncio.sleep(1)
        checks.perform(Check(SPEC))
        await asyncio.sleep(3)
        assert (len(supply.asked), told[-1]) == (1, Checked("a", None, FOUND))

    play(scene, supply)


def test_a_look_for_another_file_ends_the_first():
    supply = SlowSupply()

    async def scene(checks, told):
        checks.perform(Check(SPEC))
        await asyncio.sleep(1)
        checks.perform(Check(replace(SPEC, hub="org/repo:other.gguf")))
        await asyncio.sleep(3)
        assert (len(supply.asked), supply.ended) == (2, 1)
        assert len([each for each in told if isinstance(each, Checked)]) == 1

    play(scene, supply)


def test_what_nobody_wants_any_more_ends_untold():
    supply = SlowSupply()

    async def scene(checks, told):
        checks.perform(Check(SPEC))
        await asyncio.sleep(1)
        checks.perform(Uncheck("a"))
        checks.perform(Uncheck("a"))
        await asyncio.sleep(3)
        assert supply.ended == 1
        assert told == [Bringing("a", "half of it")]

    play(scene, supply)


def test_closing_ends_them_all():
    supply = SlowSupply()

    async def scene(checks, told):
        checks.perform(Check(SPEC))
        await asyncio.sleep(1)
        checks.close()
        await asyncio.sleep(0)
        assert supply.ended == 1

    play(scene, supply)


def test_a_defect_of_ours_leaves_the_model_as_it_was(caplog):
    async def scene(checks, told):
        checks.perform(Check(SPEC))
        await asyncio.sleep(3)
        assert told[-1] == Checked("a", None, SPEC)
        assert "defect" in caplog.text

    play(scene, SlowSupply(RuntimeError("a defect")))


def test_the_next_look_may_follow_from_the_end_of_the_first():
    supply = SlowSupply()

    async def scene(checks, told):
        def tell_and_ask(event):
            told.append(event)
            if isinstance(event, Checked) and len(supply.asked) == 1:
                checks.perform(Check(FOUND))

        checks._tell = tell_and_ask
        checks.perform(Check(SPEC))
        await asyncio.sleep(6)
        assert (len(supply.asked), supply.ended) == (2, 0)
        assert [each for each in told if isinstance(each, Checked)] == [
            Checked("a", None, FOUND),
            Checked("a", None, FOUND),
        ]

    play(scene, supply)
