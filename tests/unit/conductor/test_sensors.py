"""What the daemon sees by itself: devices, and use that does not come through us."""

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from orchestrator.conductor.sensors import (
    ANSWER_S_MAX,
    HURRY_S,
    LOOK_S_MAX,
    LOOK_WAIT_S,
    PIDS_S_MAX,
    SILENT_S,
)
from orchestrator.core.values.failures import Silence
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import Requested
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.errors import CannotAsk, Unreachable
from orchestrator.ports import Use
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from orchestrator.runtimes.fake.runtime import SCHEME, FakeRuntime
from orchestrator.runtimes.fake.script import Fate
from tests import machine
from tests.simulation.virtual_time import run

G0 = DeviceId("g0")
A, B = machine.model("a", gib=8), machine.model("b", gib=20)


class Counting(FakeWorldEngine):
    """A server whose counters a test sets."""

    said = Use(busy_slots=0, served_total=10.0)

    async def use(self, endpoint):
        if self.said is None:
            raise Unreachable("it does not answer")
        return self.said


def play(scene, *, engine=None, **world):
    """A machine with model `a` ready on it, and nobody who uses it."""

    async def played():
        there = machine.world(**world)
        chosen = engine(there) if engine else None
        async with machine.conducting(there, A, B, by=machine.drivers(there, chosen)) as conductor:
            async with conductor.lease(A):
                pass
            await scene(conductor, there, chosen)

    run(played())


def resident(conductor, name="a"):
    return conductor.scheduler.state.ledger.resident(name)


def test_what_our_processes_hold_is_seen_per_resident():
    async def scene(conductor, there, _):
        await conductor.sensors.sample()
        assert conductor.sensors.held == {resident(conductor).instance: {G0: 8 * GiB}}

    play(scene)


def test_a_process_that_the_driver_does_not_list_holds_an_unknown_amount():
    async def scene(conductor, there, _):
        there.visible = False
        await conductor.sensors.sample()
        assert conductor.sensors.held == {}

    play(scene)


def test_a_runtime_that_cannot_tell_pids_stops_no_reading():
    class Blind(FakeRuntime):
        async def pids(self, handle):
            raise Unreachable("the engine is away")

    async def played():
        there = machine.world()
        there.runtime = Blind(there)
        async with machine.conducting(there, A) as conductor:
            async with conductor.lease(A):
                there.set_foreign(G0, 3 * GiB)
                await conductor.sensors.sample()
            assert conductor.scheduler.state.ledger.foreign_bytes(G0) == 3 * GiB

    run(played())


def test_a_runtime_that_hangs_keeps_nobody_from_the_devices():
    class Hanging(FakeRuntime):
        async def pids(self, handle):
            await asyncio.sleep(3600)

    async def played():
        there = machine.world()
        there.runtime = Hanging(there)
        async with machine.conducting(there, A) as conductor:
            async with conductor.lease(A):
                began_s = conductor.clock()
                there.set_foreign(G0, 3 * GiB)
                await conductor.sensors.sample()
                assert conductor.clock() - began_s < 2 * PIDS_S_MAX
            assert conductor.scheduler.state.ledger.foreign_bytes(G0) == 3 * GiB

    run(played())


def test_a_server_that_is_being_stopped_is_not_asked_for_its_processes():
    """An engine of containers answers when it has gone; who waits for the reading waits no less."""

    class Slow(FakeRuntime):
        victim = None
        asked = ()

        async def stop(self, handle, *, grace_s):
            self.victim = handle
            await asyncio.sleep(5.0)
            await super().stop(handle, grace_s=grace_s)
            self.victim = None

        async def pids(self, handle):
            if handle == self.victim:
                self.asked = (*self.asked, handle)
            return await super().pids(handle)

    async def played():
        there = machine.world()
        there.runtime = Slow(there)
        async with machine.conducting(there, A, B) as conductor:
            async with conductor.lease(A):
                await conductor.sensors.sample()
            waiting = asyncio.create_task(holding(conductor, B))
            while there.runtime.victim is None:
                await asyncio.sleep(0.1)
            await conductor.sensors.sample()
            assert conductor.sensors.held == {resident(conductor).instance: {G0: 8 * GiB}}
            await waiting
            assert there.runtime.asked == ()

    async def holding(conductor, spec):
        async with conductor.lease(spec):
            pass

    run(played())


def test_devices_are_read_often_only_while_somebody_waits_for_them():
    async def scene(conductor, there, _):
        reads = []
        read = there.read

        async def counted(pids):
            reads.append(there.now_s())
            return await read(pids)

        there.read = counted
        await asyncio.sleep(30)
        assert reads == []
        ticket = conductor.next_ticket()
        asked = conductor.wish(Requested(ticket=ticket, spec=B, priority=5, hold=LeaseKind.REQUEST))
        await asked
        waited = [after - before for before, after in pairwise(reads)]
        assert min(waited) <= HURRY_S * 1.01

    play(scene, fate=Fate(), release_lag_s=(1.0, 1.0))


def test_what_is_given_back_is_read_at_once():
    async def scene(conductor, there, _):
        reads = []
        read = there.read

        async def noted(pids):
            reads.append(there.now_s())
            return await read(pids)

        there.read = noted
        conductor.sensors.hasten()
        await machine.until(lambda: reads)
        conductor.sensors.hasten(at_once=True)
        conductor.sensors.hasten(at_once=True)
        await machine.until(lambda: len(reads) > 1)
        assert reads[1] - reads[0] < HURRY_S / 2

    play(scene, fate=Fate())


@pytest.mark.parametrize(
    ("said", "used"),
    [
        (Use(busy_slots=0, served_total=10.0), False),
        (Use(busy_slots=0, served_total=11.0), True),
        (Use(busy_slots=0, served_total=0.0), True),  # it was started anew: it served since
        (Use(busy_slots=None, served_total=None), False),
        (None, False),
    ],
)
def test_a_counter_that_moves_is_use(said, used):
    async def scene(conductor, there, engine):
        await conductor.sensors.look_at_use()
        before_s = resident(conductor).last_used_s
        await asyncio.sleep(60)
        engine.said = said
        await conductor.sensors.look_at_use()
        assert (resident(conductor).last_used_s > before_s) is used

    play(scene, engine=Counting)


def test_the_first_look_at_a_counter_is_no_use():
    async def scene(conductor, there, engine):
        before_s = resident(conductor).last_used_s
        await asyncio.sleep(60)
        await conductor.sensors.look_at_use()
        assert resident(conductor).last_used_s == before_s

    play(scene, engine=Counting)


def test_a_busy_server_is_in_use_until_it_is_idle_again():
    async def scene(conductor, there, engine):
        engine.said = Use(busy_slots=2, served_total=10.0)
        await conductor.sensors.look_at_use()
        assert resident(conductor).in_use
        engine.said = Use(busy_slots=0, served_total=10.0)
        await conductor.sensors.look_at_use()
        assert not resident(conductor).in_use

    play(scene, engine=Counting)


def test_a_busy_server_that_does_not_answer_stays_in_use():
    async def scene(conductor, there, engine):
        engine.said = Use(busy_slots=1, served_total=10.0)
        await conductor.sensors.look_at_use()
        engine.said = None
        await conductor.sensors.look_at_use()
        assert resident(conductor).in_use

    play(scene, engine=Counting)


def test_the_most_that_each_held_is_remembered_for_as_long_as_it_runs():
    async def scene(conductor, there, _):
        await conductor.sensors.sample()
        instance = resident(conductor).instance
        assert conductor.sensors.peaks[instance][G0] == 8 * GiB
        there.visible = False
        await conductor.sensors.sample()
        assert conductor.sensors.peaks[instance] == {G0: 8 * GiB}, "who was seen was seen"
        del conductor.running[instance]
        await conductor.sensors.sample()
        assert conductor.sensors.peaks == {}

    play(scene)


def test_a_silence_is_told_with_every_tick_until_it_ends():
    async def scene(conductor, there, _):
        def silent():
            return {each.for_s for each in conductor.snapshot().silent.values()}

        for seconds in (4.0, 5.0):
            there.silence = Silence(who="Docker", for_s=seconds, problem="Docker is silent.")
            await asyncio.sleep(2)
            assert silent() == {seconds}
        there.silence = None
        await asyncio.sleep(2)
        assert silent() == set()

    play(scene)


class Moody(FakeWorldEngine):
    """Servers of some models hang: they take a question and give no answer."""

    hanging = frozenset()

    def __init__(self, world):
        super().__init__(world)
        self.asked = []

    async def use(self, endpoint):
        self.asked.append(endpoint.url)
        if any(f"//{name}-" in endpoint.url for name in self.hanging):
            await asyncio.sleep(3600)
        return Use(busy_slots=0, served_total=0.0)


def hanging(scene):
    """Models `a` and `c` are ready; the server of `a` hangs, and servers are looked at as ever."""

    async def played():
        there = machine.world()
        engine = Moody(there)
        small = machine.model("c", gib=8)
        by = machine.drivers(there, engine)
        async with machine.conducting(there, A, small, by=by) as conductor:
            for each in (A, small):
                async with conductor.lease(each):
                    pass
            engine.hanging = frozenset("a")
            looking = asyncio.create_task(machine.every(2.0, conductor.sensors.look_at_use))
            try:
                await scene(conductor, engine)
            finally:
                looking.cancel()

    run(played())


def test_a_server_that_hangs_delays_no_look_at_the_others():
    async def scene(conductor, engine):
        await asyncio.sleep(40)
        looks = Counter(url.split("//")[1][0] for url in engine.asked)
        assert looks["c"] >= 40 // (2.0 + LOOK_WAIT_S)
        assert 40 // (LOOK_S_MAX + 4) <= looks["a"] <= 40 // LOOK_S_MAX

    hanging(scene)


def test_a_server_that_hangs_is_marked_until_it_answers():
    async def scene(conductor, engine):
        await asyncio.sleep(2 + LOOK_S_MAX + 1)
        assert resident(conductor).silent_since_s == pytest.approx(conductor.clock() - 7, abs=1)
        assert resident(conductor, "c").silent_since_s is None
        engine.hanging = frozenset()
        await asyncio.sleep(LOOK_S_MAX + 4)
        assert resident(conductor).silent_since_s is None

    hanging(scene)


def test_one_answer_that_is_missed_is_no_silence():
    async def scene(conductor, there, engine):
        engine.said = None
        await conductor.sensors.look_at_use()
        assert resident(conductor).silent_since_s is None
        await asyncio.sleep(SILENT_S)
        await conductor.sensors.look_at_use()
        assert resident(conductor).silent_since_s is not None

    play(scene, engine=Counting)


# --- the look before a stop ------------------------------------------------------------------------


class Asked(FakeWorldEngine):
    """Servers that take their time to say whether they are in use; each answer in its turn."""

    def __init__(self, there):
        super().__init__(there)
        self.answers = {}  # model -> [(after so many seconds, what it says or raises)]
        self.times = Counter()

    async def use(self, endpoint):
        model = endpoint.url.removeprefix(SCHEME).rpartition("-")[0]
        self.times[model] += 1
        turns = self.answers.get(model, [(0.001, 0)])
        after_s, said = turns[min(self.times[model], len(turns)) - 1]
        await asyncio.sleep(after_s)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Use) else Use(busy_slots=said, served_total=None)


def ask(answers, *, tells_use=True, disk_s=0.0):
    """What servers of `a` and `c` say before they are stopped, and how often they were asked."""

    async def played():
        there = machine.world()
        engine = Asked(there)
        engine.tells_use = tells_use
        third = machine.model("c", gib=8)
        by = machine.drivers(there, engine)
        async with (
            machine.conducting(there, A, third, by=by) as conductor,
            conductor.lease(A),
            conductor.lease(third),
        ):
            engine.answers = answers
            engine.times.clear()
            residents = [resident(conductor), resident(conductor, "c")]
            told = await conductor.sensors.ask_use(residents, asyncio.sleep(disk_s))
            return [told[each.instance] for each in residents], dict(engine.times)

    return run(played())


def test_servers_are_asked_together_and_once():
    told, times = ask({"a": [(0.008, 0)], "c": [(0.008, 1)]})
    assert [each.busy for each in told] == [False, True]
    assert times == {"a": 1, "c": 1}


def test_a_slow_answer_of_its_own_is_not_asked_again():
    _, times = ask({"a": [(1.5, 0)], "c": [(1.5, 0)]})
    assert times == {"a": 1, "c": 1}


def test_who_waited_for_another_is_asked_again():
    """It was idle two seconds ago, and is in use now."""
    told, times = ask({"a": [(0.001, 0), (0.001, 1)], "c": [(2.0, 0)]})
    assert [each.busy for each in told] == [True, False]
    assert times == {"a": 2, "c": 1}


@pytest.mark.parametrize(("disk_s", "asked"), [(0.005, 1), (2.0, 2)])
def test_who_had_to_wait_for_the_disk_is_asked_again(disk_s, asked):
    """It said that it was idle before its end was written down, and is in use now."""
    told, times = ask({"a": [(0.001, 0), (0.001, 1)], "c": [(0.001, 1)]}, disk_s=disk_s)
    assert [each.busy for each in told] == [asked == 2, True]
    assert times == {"a": asked, "c": 1}


def test_what_was_served_before_the_second_question_counts():
    served = [Use(busy_slots=0, served_total=total) for total in (1.0, 5.0, 5.0)]

    async def played():
        there = machine.world()
        engine = Asked(there)
        third = machine.model("c", gib=8)
        by = machine.drivers(there, engine)
        async with (
            machine.conducting(there, A, third, by=by) as conductor,
            conductor.lease(A),
            conductor.lease(third),
        ):
            engine.times.clear()
            engine.answers = {"a": [(0.0, one) for one in served], "c": [(2.0, 0)]}
            await conductor.sensors.ask_use([resident(conductor)])
            told = await conductor.sensors.ask_use([resident(conductor), resident(conductor, "c")])
            return told[resident(conductor).instance]

    answer = run(played())
    assert (answer.busy, answer.used) == (False, True)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Unreachable("no server listens"), "no server listens"),
        (CannotAsk("too many open files"), "too many open files"),
        (OSError("a strange one"), "the daemon's log says why"),
    ],
)
def test_who_cannot_be_asked_has_not_answered(said, why):
    told, _ = ask({"a": [(0.001, said)]})
    assert [each.busy for each in told] == [None, False]
    assert told[0].unanswered == why


def test_who_hangs_is_waited_for_within_a_bound():
    told, _ = ask({"a": [(1000.0, 0)]})
    assert told[0].busy is None
    assert told[0].unanswered == f"no answer within {ANSWER_S_MAX:.1f} s"


def test_who_cannot_tell_is_not_asked_and_owes_nothing():
    told, times = ask({}, tells_use=False)
    assert [(each.busy, each.unanswered) for each in told] == [(None, ""), (None, "")]
    assert times == {}
