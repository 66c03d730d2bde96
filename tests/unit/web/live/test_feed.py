import asyncio
import json
from dataclasses import replace

import pytest

from orchestrator.conductor.history import UNHEARD_MAX
from orchestrator.core.values.specs import FakeBehaviour
from orchestrator.orders import LoadOrder, UnloadOrder
from orchestrator.records import Outcome
from orchestrator.web.live.cache import Board
from orchestrator.web.live.feed import (
    FRAMES_MAX,
    LISTENERS_MAX,
    PING,
    STATUS_PERIOD_S,
    Dialect,
    Feed,
)
from orchestrator.web.live.places import Places
from orchestrator.web.wire.error_answers import Answered
from tests.unit.web.office import Office
from tests.unit.web.samples import spec


def event_of(frame):
    return json.loads(frame.split(b"data: ", 1)[1])


async def take(frames, count):
    async with asyncio.timeout(60):
        return [event_of(await anext(frames)) for _ in range(count)]


async def caught_up():
    """Until the feed has read what the history told."""
    for _ in range(UNHEARD_MAX + 5):
        await asyncio.sleep(0)


def run(office, script):
    async def play():
        await script(Feed(office.desk, Board(office.desk), Places(LISTENERS_MAX)))

    office.run(play())


def change(office):
    """What the conductor does after a change of state."""
    office.desk.history.note(office.desk.snapshot())


def test_downloads_are_told_while_they_last_and_once_more(office):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            await take(frames, 1)
            with office.desk.downloads.one("org/a:Q8_0"):
                await _until_brought(frames, ["org/a:Q8_0"])
            await _until_brought(frames, [])

    run(office, script)


async def _until_brought(frames, sources):
    """It is told that these are brought, and no others."""
    told = None
    while told != sources:
        (event,) = await take(frames, 1)
        if event["type"] == "status":
            told = [one["source"] for one in event["status"]["downloads"]]


def test_status_is_coalesced_to_four_a_second(office):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            await take(frames, 1)
            for _ in range(50):
                change(office)
            await take(frames, 1)
            first_s = asyncio.get_running_loop().time()
            for _ in range(50):
                change(office)
            await take(frames, 1)
            assert asyncio.get_running_loop().time() - first_s >= STATUS_PERIOD_S * 0.95
            await frames.aclose()

    run(office, script)


def test_frame_is_encoded_once_for_all(office):
    async def script(feed):
        with feed.admit() as one, feed.admit() as other:
            hearing = [one.frames(), other.frames()]
            for frames in hearing:
                await take(frames, 1)
            office.decide("told once")
            first, second = [await anext(frames) for frames in hearing]
            assert first is second
            for frames in hearing:
                await frames.aclose()

    run(office, script)


def test_slow_listener_gets_a_new_snapshot_and_nothing_twice(office):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            await take(frames, 1)
            for number in range(FRAMES_MAX + 1):
                office.decide(f"decision {number}")
            await caught_up()
            (snapshot,) = await take(frames, 1)
            assert snapshot["type"] == "snapshot"
            assert snapshot["decisions"][-1]["id"] == FRAMES_MAX + 1
            office.decide("after")
            assert [each["text"] for each in await take(frames, 1)] == ["after"]
            await frames.aclose()

    run(office, script)


def test_gap_in_the_history_is_a_new_snapshot_for_everyone(office):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            await take(frames, 1)
            for _ in range(UNHEARD_MAX + 1):
                office.decide("too many at once")
            await caught_up()
            assert [each["type"] for each in await take(frames, 1)] == ["snapshot"]
            await frames.aclose()

    run(office, script)


def test_decision_that_is_in_the_snapshot_is_not_sent_again(office):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            office.decide("in the snapshot")
            (snapshot,) = await take(frames, 1)
            await caught_up()
            office.decide("new")
            assert len(snapshot["decisions"]) == 1
            assert [each["text"] for each in await take(frames, 1)] == ["new"]
            await frames.aclose()

    run(office, script)


def test_silence_is_filled_with_pings(office):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames(ping_period_s=0)
            await anext(frames)
            assert await anext(frames) == PING
            await frames.aclose()

    run(office, script)


def test_listeners_are_bounded_and_places_come_back(office):
    async def script(feed):
        places = [feed.admit() for _ in range(LISTENERS_MAX)]
        for place in places:
            place.__enter__()
        with pytest.raises(Answered) as refused, feed.admit():
            pass
        assert refused.value.answer.code == "too_many_listeners"
        places[0].__exit__(None, None, None)
        with feed.admit():
            assert feed.listeners == LISTENERS_MAX
        for place in places[1:]:
            place.__exit__(None, None, None)
        assert feed.listeners == 0

    run(office, script)


def test_nobody_reads_the_history_when_nobody_listens(office):
    def readers():
        return [task for task in asyncio.all_tasks() if task.get_name() == "event feed"]

    async def script(feed):
        with feed.admit():
            assert len(readers()) == 1
        await asyncio.sleep(0)
        assert readers() == []
        for _ in range(UNHEARD_MAX * 2):
            office.decide("unheard")
        with feed.admit() as listener:
            frames = listener.frames()
            assert [each["type"] for each in await take(frames, 1)] == ["snapshot"]
            await frames.aclose()

    run(office, script)


def test_router_dialect_tells_states_as_they_change(tmp_path):
    slow = replace(spec("b"), fake=FakeBehaviour(load_s=4.0))

    async def script(feed):
        desk = office.desk
        await desk.load_outcome((await desk.begin_load(LoadOrder(model="a"))).id, 10)
        with feed.admit(Dialect.ROUTER) as listener:
            frames = listener.frames()
            assert await take(frames, 1) == [status("a", "loaded")]
            await desk.begin_load(LoadOrder(model="b"))
            assert await take(frames, 1) == [status("b", "loading")]
            assert await take(frames, 1) == [status("b", "loaded")]
            await desk.unload(UnloadOrder(model="a"))
            assert await take(frames, 1) == [status("a", "unloaded")]
            await frames.aclose()

    def status(model, value):
        return {"model": model, "event": "model_status", "data": {"status": value}}

    with Office(tmp_path, models=(spec("a"), slow)) as office:
        run(office, script)


async def next_of(frames, wanted):
    """The next frame of a type: readings of devices are told in between."""
    async with asyncio.timeout(60):
        while event_of(frame := await anext(frames))["type"] != wanted:
            pass
        return frame


def ask_for(office, name="a"):
    """A request of a client that is under way."""
    return office.desk.activity.begin(
        name, protocol="openai", path="/v1/chat/completions", client="::1"
    )


def test_requests_are_told_to_those_who_want_them_and_encoded_once(office):
    async def script(feed):
        with (
            feed.admit() as plain,
            feed.admit(requests=True) as one,
            feed.admit(requests=True) as other,
        ):
            hearing = [one.frames(), other.frames()]
            for frames in hearing:
                snapshot, first = await take(frames, 2)
                assert (snapshot["type"], first["type"]) == ("snapshot", "requests")
                assert (first["running"], first["ended"]) == ([], [])
            quiet = plain.frames()
            await take(quiet, 1)
            run_ = ask_for(office)
            first, second = [await next_of(frames, "requests") for frames in hearing]
            assert first is second
            assert [each["id"] for each in event_of(first)["running"]] == [run_.id]
            office.desk.activity.end(run_, Outcome.ANSWERED, 200)
            told = event_of(await next_of(hearing[0], "requests"))
            assert (told["running"], told["ended"][0]["id"]) == ([], run_.id)
            office.decide("the last")
            heard = []
            while not heard or heard[-1]["type"] != "decision":
                heard += await take(quiet, 1)
            assert "requests" not in [each["type"] for each in heard]
            for frames in (*hearing, quiet):
                await frames.aclose()

    run(office, script)


def test_requests_are_told_four_times_a_second_at_most(office):
    async def script(feed):
        with feed.admit(requests=True) as listener:
            frames = listener.frames()
            await take(frames, 2)
            ends_s = []
            for _ in range(3):
                for _ in range(50):
                    ask_for(office)
                await next_of(frames, "requests")
                ends_s.append(asyncio.get_running_loop().time())
            assert ends_s[2] - ends_s[0] >= 2 * STATUS_PERIOD_S * 0.95
            await frames.aclose()

    run(office, script)


def test_another_catalogue_is_told_and_what_is_loaded_is_none(office):
    async def script(feed):
        with feed.admit() as listener:
            frames = listener.frames()
            await take(frames, 1)
            await office.desk.load_outcome(
                (await office.desk.begin_load(LoadOrder(model="a"))).id, 10
            )
            await office.desk.set_pin("a", pinned=True)
            change(office)
            office.decide("last")
            heard = []
            while not heard or heard[-1]["type"] != "catalogue":
                heard += await take(frames, 1)
            assert heard[-2]["type"] == "status"
            assert heard[-2]["reasons"] == []
            assert [each["type"] for each in heard].count("catalogue") == 1
            await frames.aclose()

    run(office, script)


def test_who_reconnects_hears_the_catalogue_and_the_requests_too(office):
    async def script(feed):
        position = f"{office.desk.history.epoch}-{office.desk.history.sequence}"
        office.decide("missed")
        with feed.admit(last_event_id=position, requests=True) as listener:
            frames = listener.frames()
            heard = [each["type"] for each in await take(frames, 4)]
            assert heard == ["decision", "status", "catalogue", "requests"]
            await frames.aclose()

    run(office, script)
