import asyncio

import pytest

from orchestrator.core.values.messages import DecisionKind
from orchestrator.web.rest.events import PAGES_MAX
from tests.unit.web.desk import APP, FakeDesk, asked, resident, spec
from tests.unit.web.served import listening, serving, until


@pytest.fixture
def desk():
    return FakeDesk()


def ids(answer):
    return [each["id"] for each in answer.json()["events"]]


def test_history_is_newest_first_and_goes_on_before(desk):
    for number in range(5):
        desk.decide(f"decision {number}")
    first = asked(desk, "GET", "/events?limit=2")
    assert ids(first) == [5, 4]
    assert first.json()["events"][0] == {
        "id": 5,
        "at": "2026-01-15T10:30:00.000Z",
        "kind": "load",
        "model": "a",
        "text": "decision 4",
        "why": "",
        "evicted": [],
        "remedy": "",
    }
    assert first.json()["next_before"] == 4
    assert ids(asked(desk, "GET", "/events?limit=2&before=4")) == [3, 2]
    last = asked(desk, "GET", "/events?limit=2&before=2")
    assert (ids(last), last.json()["next_before"]) == ([1], None)


def test_history_after_an_event_is_oldest_first(desk):
    for number in range(5):
        desk.decide(f"decision {number}")
    assert ids(asked(desk, "GET", "/events?after=2&limit=2")) == [3, 4]


def test_history_of_one_model_and_one_kind(desk):
    for number in range(30):
        kind = DecisionKind.EVICT if number % 10 == 0 else DecisionKind.LOAD
        desk.decide("x", kind=kind, model="a" if number % 2 == 0 else "b")
    evictions = asked(desk, "GET", "/events?kind=evict&limit=2")
    assert (ids(evictions), evictions.json()["next_before"]) == ([21, 11], 11)
    assert ids(asked(desk, "GET", "/events?kind=evict&limit=2&before=11")) == [1]
    assert ids(asked(desk, "GET", "/events?model=b&kind=evict")) == []


def test_rare_kind_is_not_looked_for_for_ever(desk):
    desk.decide("the one", kind=DecisionKind.STUCK)
    for _ in range(PAGES_MAX + 5):
        desk.decide("noise")
    answer = asked(desk, "GET", "/events?kind=stuck&limit=1")
    assert ids(answer) == []
    assert asked(
        desk, "GET", f"/events?kind=stuck&limit=1&before={answer.json()['next_before']}"
    ).json()["events"]


def test_stream_begins_with_a_snapshot_and_goes_on_with_what_happens(desk):
    desk.decide("before anybody listened")
    desk.residents["a"] = resident(spec("a"))
    desk.changed()

    async def listen():
        async with serving(desk) as url, listening(url) as events:
            (opening,) = await until(events, "snapshot")
            desk.decide("while somebody listens")
            decided = await until(events, "decision")
            del desk.residents["a"]
            desk.changed()
            spanned = await until(events, "span")
            status = await until(events, "status")
            return opening, decided[-1], spanned[-1], status[-1]

    (first_id, snapshot), (_, decision), (_, span), (status_id, status) = asyncio.run(listen())
    assert first_id == "life1-2"
    assert [each["text"] for each in snapshot["decisions"]] == ["before anybody listened"]
    assert (snapshot["spans"][0]["name"], snapshot["spans"][0]["until_at"]) == ("a", None)
    assert list(snapshot["status"]["loaded_models"]) == ["a"]
    assert (decision["id"], decision["text"]) == (2, "while somebody listens")
    assert (span["name"], span["until_at"]) == ("a", "2026-01-15T10:30:00.000Z")
    assert (status_id, status["status"]["loaded_models"]) == (None, {})


def test_listener_that_comes_back_gets_what_it_missed(desk):
    async def listen():
        async with serving(desk) as url:
            async with listening(url) as events:
                await until(events, "snapshot")
                desk.decide("heard")
                ((last_id, _),) = await until(events, "decision")
            desk.decide("missed")
            async with listening(url, **{"Last-Event-ID": last_id}) as events:
                return await until(events, "status")

    (_, missed), (_, status) = asyncio.run(listen())
    assert (missed["type"], missed["text"], status["type"]) == ("decision", "missed", "status")


@pytest.mark.parametrize("last_id", ["life0-1", "life1-999", "life1-x", "life1-", "", "life1-²"])
def test_listener_from_another_life_starts_afresh(desk, last_id):
    desk.decide("something")

    async def listen():
        headers = {"Last-Event-ID": last_id.encode()}
        async with serving(desk) as url, listening(url, **headers) as events:
            return await until(events, "snapshot")

    assert len(asyncio.run(listen())) == 1


def test_stream_ends_when_the_daemon_does(desk):
    async def listen():
        async with serving(desk) as url, listening(url) as events:
            await until(events, "snapshot")
            desk.history.close()
            return [event async for event in events]

    assert asyncio.run(listen()) == []


def test_place_of_a_listener_that_left_is_free_again(desk):
    async def come_and_go():
        async with serving(desk) as url:
            for _ in range(3):
                async with listening(url) as events:
                    await until(events, "snapshot")
            feed = APP.state.feed
            async with asyncio.timeout(5):
                while feed.listeners:
                    await asyncio.sleep(0.001)
            return feed.listeners

    assert asyncio.run(come_and_go()) == 0
