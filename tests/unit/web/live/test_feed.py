import asyncio
import json

import pytest

from orchestrator.conductor.history import UNHEARD_MAX
from orchestrator.core.values.residents import ResidentState
from orchestrator.web.live.cache import Board
from orchestrator.web.live.feed import (
    FRAMES_MAX,
    LISTENERS_MAX,
    PING,
    STATUS_PERIOD_S,
    Dialect,
    Feed,
)
from orchestrator.web.wire.denials import Declined
from tests.unit.web.desk import FakeDesk, resident, spec


@pytest.fixture
def desk():
    return FakeDesk()


def event_of(frame):
    return json.loads(frame.split(b"data: ", 1)[1])


async def take(frames, count):
    async with asyncio.timeout(5):
        return [event_of(await anext(frames)) for _ in range(count)]


async def caught_up(desk):
    """Until the feed has read what the history told."""
    for _ in range(UNHEARD_MAX + 5):
        await asyncio.sleep(0)


def run(desk, script):
    async def play():
        await script(Feed(desk, Board(desk)))

    asyncio.run(play())


def test_status_is_coalesced_to_four_a_second(desk):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            await take(frames, 1)
            for _ in range(50):
                desk.changed()
            await take(frames, 1)
            first_s = asyncio.get_running_loop().time()
            for _ in range(50):
                desk.changed()
            await take(frames, 1)
            assert asyncio.get_running_loop().time() - first_s >= STATUS_PERIOD_S * 0.95
            await frames.aclose()

    run(desk, script)


def test_frame_is_encoded_once_for_all(desk):
    async def script(feed):
        with feed.admit() as one, feed.admit() as other:
            hearing = [one.frames(), other.frames()]
            for frames in hearing:
                await take(frames, 1)
            desk.decide("told once")
            first, second = [await anext(frames) for frames in hearing]
            assert first is second
            for frames in hearing:
                await frames.aclose()

    run(desk, script)


def test_slow_listener_gets_a_new_snapshot_and_nothing_twice(desk):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            await take(frames, 1)
            for number in range(FRAMES_MAX + 1):
                desk.decide(f"decision {number}")
            await caught_up(desk)
            (snapshot,) = await take(frames, 1)
            assert snapshot["type"] == "snapshot"
            assert snapshot["decisions"][-1]["id"] == FRAMES_MAX + 1
            desk.decide("after")
            assert [each["text"] for each in await take(frames, 1)] == ["after"]
            await frames.aclose()

    run(desk, script)


def test_gap_in_the_history_is_a_new_snapshot_for_everyone(desk):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            await take(frames, 1)
            for _ in range(UNHEARD_MAX + 1):
                desk.decide("too many at once")
            await caught_up(desk)
            assert [each["type"] for each in await take(frames, 1)] == ["snapshot"]
            await frames.aclose()

    run(desk, script)


def test_decision_that_is_in_the_snapshot_is_not_sent_again(desk):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            desk.decide("in the snapshot")
            (snapshot,) = await take(frames, 1)
            await caught_up(desk)
            desk.decide("new")
            assert len(snapshot["decisions"]) == 1
            assert [each["text"] for each in await take(frames, 1)] == ["new"]
            await frames.aclose()

    run(desk, script)


def test_silence_is_filled_with_pings(desk):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames(ping_period_s=0)
            await anext(frames)
            assert await anext(frames) == PING
            await frames.aclose()

    run(desk, script)


def test_listeners_are_bounded_and_places_come_back(desk):
    async def script(feed):
        places = [feed.admit() for _ in range(LISTENERS_MAX)]
        for place in places:
            place.__enter__()
        with pytest.raises(Declined) as refused, feed.admit():
            pass
        assert refused.value.denial.code == "too_many_listeners"
        places[0].__exit__(None, None, None)
        with feed.admit():
            assert feed.listeners == LISTENERS_MAX
        for place in places[1:]:
            place.__exit__(None, None, None)
        assert feed.listeners == 0

    run(desk, script)


def test_nobody_reads_the_history_when_nobody_listens(desk):
    async def script(feed):
        with feed.admit():
            assert len(asyncio.all_tasks()) == 2
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1
        for _ in range(UNHEARD_MAX * 2):
            desk.decide("unheard")
        with feed.admit() as listener:
            frames = listener.frames()
            assert [each["type"] for each in await take(frames, 1)] == ["snapshot"]
            await frames.aclose()

    run(desk, script)


def test_router_dialect_tells_states_as_they_change(desk):
    desk.residents["a"] = resident(spec("a"))

    async def script(feed):
        with feed.admit(Dialect.ROUTER) as listener:
            frames = listener.frames()
            assert await take(frames, 1) == [status("a", "loaded")]
            desk.residents["b"] = resident(spec("b"), ResidentState.LOADING)
            desk.changed()
            assert await take(frames, 1) == [status("b", "loading")]
            del desk.residents["a"]
            desk.residents["b"] = resident(spec("b"))
            desk.changed()
            assert await take(frames, 2) == [status("a", "unloaded"), status("b", "loaded")]
            await frames.aclose()

    def status(model, value):
        return {"model": model, "event": "model_status", "data": {"status": value}}

    run(desk, script)
