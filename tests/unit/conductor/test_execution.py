"""Bringing one resident up and taking it down, in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from orchestrator.conductor.execution import (
    FORESEE_S_MAX,
    POLL_S_MAX,
    STRETCH_MAX,
    Up,
    bring_up,
    foresee,
    how_it_ended,
    take_down,
)
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import ReadyState, ResidentState
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure
from orchestrator.errors import NotStopped, Unreachable
from orchestrator.ports import Drivers, Exit, Readiness
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from orchestrator.runtimes.fake.runtime import OUT_OF_MEMORY_LINE, FakeRuntime
from orchestrator.runtimes.fake.script import Fate, Mishap
from tests import factories, machine
from tests.simulation.virtual_time import run

DEADLINE_S = 30.0
INSTANCE = "a-1"


def resident(behaviour=None):
    there = factories.resident("a", gib=8, state=ResidentState.LOADING)
    return replace(there, spec=machine.model("a", behaviour=behaviour))


class Trial:
    """One world, and one resident to be brought up in it."""

    def __init__(self, behaviour=None, *, engine=FakeWorldEngine, runtime=FakeRuntime, **world):
        self.world = machine.world(**world)
        self.resident = resident(behaviour)
        self.drivers = Drivers(
            engine=engine(self.world), runtime=runtime(self.world), load_deadline_s=DEADLINE_S
        )
        self.told = []

    async def on_running(self, running):
        self.told.append(running)

    async def bring_up(self):
        clock = asyncio.get_running_loop().time
        outcome = await bring_up(self.resident, self.drivers, clock, self.on_running)
        self.took_s = clock()
        return outcome

    @property
    def left_behind(self):
        return list(self.world.running)


def test_it_is_up_when_it_answers():
    trial = Trial(FakeBehaviour(load_s=7.0))
    up = run(trial.bring_up())
    assert isinstance(up, Up)
    assert 7.0 <= up.load_s <= 7.0 + POLL_S_MAX
    assert [up.running] == trial.told == [machine.running(INSTANCE)]
    assert trial.left_behind == [INSTANCE]


@pytest.mark.parametrize(("load_s", "late_s"), [(0.21, 0.0051), (7.03, 0.0151), (28.1, 0.0571)])
def test_one_that_takes_as_long_as_the_last_time_is_told_soon(load_s, late_s):
    trial = Trial(FakeBehaviour(load_s=load_s))
    trial.resident = replace(trial.resident, spec=replace(trial.resident.spec, load_s=load_s))
    assert isinstance(run(trial.bring_up()), Up)
    assert load_s <= trial.took_s <= load_s + late_s


@pytest.mark.parametrize("last_s", [0.1, 2.0, 100.0])
def test_one_that_takes_another_time_is_not_asked_more_often_for_it(last_s):
    asked = 0

    class Counting(FakeWorldEngine):
        async def readiness(self, endpoint):
            nonlocal asked
            asked += 1
            return await super().readiness(endpoint)

    trial = Trial(FakeBehaviour(load_s=20.0), engine=Counting)
    trial.resident = replace(trial.resident, spec=replace(trial.resident.spec, load_s=last_s))
    assert isinstance(run(trial.bring_up()), Up)
    assert trial.took_s <= 20.0 + POLL_S_MAX
    assert asked < 700


def test_what_runs_is_told_before_it_is_ready():
    trial = Trial(FakeBehaviour(load_s=50.0))

    async def scene():
        coming = asyncio.create_task(trial.bring_up())
        await machine.until(lambda: trial.told)
        assert not coming.done()
        await coming

    run(scene())


def test_what_does_not_start_says_why_and_nothing_is_left():
    trial = Trial(fate=Fate(start_fails=1.0, start_reasons=(FailureReason.IMAGE_MISSING,)))
    failure = run(trial.bring_up())
    assert failure.reason is FailureReason.IMAGE_MISSING
    assert (trial.told, trial.left_behind) == ([], [])


def test_what_is_wrong_with_the_files_is_found_before_anything_starts():
    wrong = Failure(reason=FailureReason.MODEL_FILE, detail="it is not a GGUF file.")

    class Checking(FakeWorldEngine):
        async def check(self, spec):
            return wrong

    trial = Trial(engine=Checking)
    assert run(trial.bring_up()) == replace(wrong, outside=True), "a look tells when it is mended"
    assert trial.world.starts == []


def test_a_runtime_that_does_not_answer_is_not_the_models_fault():
    class Silent(FakeRuntime):
        async def start(self, launch):
            raise Unreachable("the engine's socket refuses.")

    failure = run(Trial(runtime=Silent).bring_up())
    assert failure.reason is FailureReason.RUNTIME_UNAVAILABLE
    assert failure.remedy


def test_what_answers_in_its_place_does_not_make_it_ready():
    class Late(FakeRuntime):
        looks = 0

        async def listens(self, handle):
            self.looks += 1
            return self.looks > 3

    trial = Trial(FakeBehaviour(load_s=0.0), runtime=Late)
    assert run(trial.bring_up()).running
    assert trial.took_s > 0


def test_who_listens_is_found_out_while_it_loads():
    class Slow(FakeRuntime):
        async def listens(self, handle):
            await asyncio.sleep(2.0)
            return True

    class Talking(FakeWorldEngine):
        async def readiness(self, endpoint):
            return replace(await super().readiness(endpoint), heard=True)

    trial = Trial(FakeBehaviour(load_s=5.0), runtime=Slow, engine=Talking)
    assert run(trial.bring_up()).running
    assert trial.took_s < 5.5


def test_a_server_whose_port_was_taken_has_failed():
    class Elsewhere(FakeRuntime):
        async def listens(self, handle):
            return False

    trial = Trial(FakeBehaviour(load_s=0.0), runtime=Elsewhere)
    failure = run(trial.bring_up())
    assert failure.reason is FailureReason.NOT_READY_IN_TIME
    assert trial.left_behind == []


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        (FakeFailure.EXITS, FailureReason.EXITED),
        (FakeFailure.OUT_OF_MEMORY, FailureReason.OUT_OF_MEMORY),
    ],
)
def test_its_death_is_noticed_at_once_and_has_a_name(fail, reason):
    trial = Trial(FakeBehaviour(load_s=3.0, fail=fail))
    failure = run(trial.bring_up())
    assert failure.reason is reason
    assert failure.log_tail
    assert trial.took_s == pytest.approx(3.0, abs=0.001)
    assert trial.left_behind == []


def test_what_never_answers_is_stopped_at_the_deadline():
    trial = Trial(FakeBehaviour(fail=FakeFailure.NEVER_READY))
    failure = run(trial.bring_up())
    assert failure.reason is FailureReason.NOT_READY_IN_TIME
    assert DEADLINE_S <= trial.took_s <= DEADLINE_S + 2 * POLL_S_MAX
    assert trial.left_behind == []


def chatter(trial, seconds):
    """The server writes a line to its log every second, so long."""

    async def write():
        for _ in range(seconds):
            await asyncio.sleep(1.0)
            for thing in trial.world.running.values():
                thing.log.append("loading tensors")

    return write()


@pytest.mark.parametrize(
    ("talks_s", "ends_s"),
    [(100, 100 + DEADLINE_S), (10_000, STRETCH_MAX * DEADLINE_S)],
)
def test_the_deadline_stands_still_while_the_log_moves_but_not_for_ever(talks_s, ends_s):
    trial = Trial(FakeBehaviour(fail=FakeFailure.NEVER_READY))

    async def scene():
        talking = asyncio.create_task(chatter(trial, talks_s))
        failure = await trial.bring_up()
        talking.cancel()
        return failure

    assert run(scene()).reason is FailureReason.NOT_READY_IN_TIME
    assert trial.took_s == pytest.approx(ends_s, abs=1.0)


def test_what_answers_in_place_of_one_that_has_died_is_not_believed():
    """Its port was taken over between two looks."""

    class Impostor(FakeWorldEngine):
        async def readiness(self, endpoint):
            await asyncio.sleep(0.01)
            if INSTANCE in self._world.running:
                self._world.kill(INSTANCE)
            await asyncio.sleep(0.01)
            return Readiness(ReadyState.READY)

    trial = Trial(engine=Impostor)
    assert run(trial.bring_up()).reason is FailureReason.EXITED


def test_what_says_that_it_will_never_be_ready_is_believed():
    class Broken(FakeWorldEngine):
        async def readiness(self, endpoint):
            return Readiness(ReadyState.BROKEN, "the file is no model")

    trial = Trial(engine=Broken)
    failure = run(trial.bring_up())
    assert (failure.reason, failure.detail) == (FailureReason.EXITED, "the file is no model")
    assert trial.left_behind == []


def test_what_cannot_be_stopped_after_a_failed_load_is_told():
    trial = Trial(FakeBehaviour(fail=FakeFailure.NEVER_READY))
    trial.world.next_mishaps.append(("a", Mishap.STOP_FAILS))
    with pytest.raises(NotStopped):
        run(trial.bring_up())
    assert trial.left_behind == [INSTANCE]


def test_a_load_that_is_called_off_leaves_its_thing_to_be_taken_down():
    trial = Trial(FakeBehaviour(load_s=50.0))

    async def scene():
        coming = asyncio.create_task(trial.bring_up())
        await machine.until(lambda: trial.told)
        coming.cancel()
        await asyncio.wait({coming})
        assert trial.left_behind == [INSTANCE]
        await take_down(trial.resident, trial.told[0], trial.drivers)
        assert trial.left_behind == []

    run(scene())


def test_what_never_ran_is_down():
    trial = Trial()
    run(take_down(trial.resident, None, trial.drivers))


@pytest.mark.parametrize("error", [NotStopped, Unreachable])
def test_down_is_only_what_is_gone(error):
    class Stubborn(FakeRuntime):
        async def stop(self, handle, *, grace_s):
            raise error("it is still there.")

    trial = Trial(runtime=Stubborn)
    with pytest.raises(NotStopped, match="still there"):
        run(take_down(trial.resident, machine.running(INSTANCE), trial.drivers))


def test_a_foreign_server_is_asked_to_give_the_memory_back_before_it_is_stopped():
    order = []

    class Asked(FakeWorldEngine):
        async def unload(self, endpoint, spec):
            order.append(("unload", endpoint.url, spec.name))

    class Stopped(FakeRuntime):
        async def stop(self, handle, *, grace_s):
            order.append(("stop", handle.fields["instance"], grace_s))

    trial = Trial(engine=Asked, runtime=Stopped)
    run(take_down(trial.resident, machine.running(INSTANCE), trial.drivers))
    assert order == [("unload", "fake://a-1", "a"), ("stop", "a-1", 10.0)]


def test_the_end_of_a_ready_server_is_told_when_it_comes():
    trial = Trial(FakeBehaviour(load_s=1.0, dies_after_s=20.0))

    async def scene():
        up = await trial.bring_up()
        failure = await how_it_ended(up.running, trial.drivers)
        return failure, asyncio.get_running_loop().time()

    failure, at_s = run(scene())
    assert failure.reason is FailureReason.EXITED
    assert failure.log_tail[-1] == "fake: a ends"
    assert at_s == pytest.approx(20.0)


def test_a_runtime_that_is_silent_meanwhile_fails_no_load():
    class Mute(FakeRuntime):
        async def log_size(self, handle):
            raise Unreachable("the engine does not answer.")

        async def log_tail(self, handle, lines):
            raise Unreachable("the engine does not answer.")

    trial = Trial(FakeBehaviour(load_s=5.0), runtime=Mute)
    assert isinstance(run(trial.bring_up()), Up)
    never = Trial(FakeBehaviour(fail=FakeFailure.NEVER_READY), runtime=Mute)
    failure = run(never.bring_up())
    assert (failure.reason, failure.log_tail) == (FailureReason.NOT_READY_IN_TIME, ())


@pytest.mark.parametrize(
    ("exit_", "reason", "says"),
    [
        (Exit(code=0, stopped=True), FailureReason.STOPPED, "exit code 0"),
        (Exit(code=-15, stopped=True), FailureReason.STOPPED, "SIGTERM"),
        (Exit(code=137, stopped=True), FailureReason.STOPPED, "SIGKILL"),
        (Exit(code=None, stopped=True), FailureReason.STOPPED, "removed"),
        (Exit(code=-9), FailureReason.EXITED, "-9"),
        (
            Exit(code=0, stopped=True, log_tail=(OUT_OF_MEMORY_LINE,)),
            FailureReason.OUT_OF_MEMORY,
            "",
        ),
    ],
)
def test_an_end_by_other_hands_is_told_from_one_by_itself(exit_, reason, says):
    class Ending(FakeRuntime):
        async def wait(self, handle):
            return exit_

    async def scene():
        there = machine.world()
        there.runtime = Ending(there)
        (drivers,) = machine.drivers(there).values()
        failure = await how_it_ended(machine.running("a-1"), drivers)
        assert failure.reason is reason
        assert says in failure.detail

    run(scene())


class Standing(FakeWorldEngine):
    """Looks for longer than anybody waits for a preview."""

    async def check(self, spec):
        await asyncio.sleep(10 * FORESEE_S_MAX)


class Bringing:
    """A supply that would have to bring something, and must not."""

    async def would_bring(self, spec):
        return True

    async def bring(self, spec, tell):
        raise AssertionError("a preview brings nothing")


def test_a_look_ahead_ends_in_bounded_time():
    trial = Trial(engine=Standing)
    failure = run(foresee(trial.resident.spec, trial.drivers))
    assert (failure.reason, failure.transient) == (FailureReason.RUNTIME_UNAVAILABLE, True)


def test_a_look_ahead_brings_nothing():
    trial = Trial(engine=Standing)
    drivers = replace(trial.drivers, supplies=(Bringing(),))
    assert run(foresee(trial.resident.spec, drivers)) is None
