import asyncio

import pytest

from orchestrator.conductor.conductor import NOTE_S
from orchestrator.core.values.decisions import DecisionKind
from orchestrator.orders import UnloadOrder
from orchestrator.web.rest.events import PAGES_MAX
from tests.unit.web.office import APP, Office
from tests.unit.web.served import listening, serving, until


def ids(answer):
    return [each["id"] for each in answer.json()["events"]]


def test_history_is_newest_first_and_goes_on_before(office):
    for number in range(5):
        office.decide(f"decision {number}")
    first = office.asked("GET", "/events?limit=2")
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
    assert ids(office.asked("GET", "/events?limit=2&before=4")) == [3, 2]
    last = office.asked("GET", "/events?limit=2&before=2")
    assert (ids(last), last.json()["next_before"]) == ([1], None)


def test_history_after_an_event_is_oldest_first(office):
    for number in range(5):
        office.decide(f"decision {number}")
    assert ids(office.asked("GET", "/events?after=2&limit=2")) == [3, 4]


def test_history_of_one_model_and_one_kind(office):
    for number in range(30):
        kind = DecisionKind.EVICT if number % 10 == 0 else DecisionKind.LOAD
        office.decide("x", kind=kind, model="a" if number % 2 == 0 else "b")
    evictions = office.asked("GET", "/events?kind=evict&limit=2")
    assert (ids(evictions), evictions.json()["next_before"]) == ([21, 11], 11)
    assert ids(office.asked("GET", "/events?kind=evict&limit=2&before=11")) == [1]
    assert ids(office.asked("GET", "/events?model=b&kind=evict")) == []


def test_rare_kind_is_not_looked_for_for_ever(office):
    office.decide("the one", kind=DecisionKind.STUCK)
    for _ in range(PAGES_MAX + 5):
        office.decide("noise")
    answer = office.asked("GET", "/events?kind=stuck&limit=1")
    assert ids(answer) == []
    assert office.asked(
        "GET", f"/events?kind=stuck&limit=1&before={answer.json()['next_before']}"
    ).json()["events"]


@pytest.fixture
def unopened(tmp_path):
    return Office(tmp_path)


def test_stream_begins_with_a_snapshot_and_goes_on_with_what_happens(unopened):
    office = unopened

    async def listen():
        async with serving(office, "a") as url:
            await asyncio.sleep(2 * NOTE_S)  # the load has been noted by then
            said = len(office.desk.history.decisions())
            async with listening(url) as events:
                (opening,) = await until(events, "snapshot")
                office.decide("while somebody listens")
                decided = await until(events, "decision")
                await office.desk.unload(UnloadOrder(model="a"))
                heard = await until(events, "span")
                while not any(each.get("status") and not loaded(each) for _, each in heard):
                    heard += await until(events, "status")  # it may come before the span, too
                return said, opening, decided[-1], heard

    def loaded(status):
        return status["status"]["loaded_models"]

    said, opening, (_, decision), heard = asyncio.run(listen())
    span = [one for _, one in heard if one["type"] == "span"][-1]
    status_id, status = [each for each in heard if each[1]["type"] == "status"][-1]
    first_id, snapshot = opening
    assert first_id.startswith("test-")
    assert [each["id"] for each in snapshot["decisions"]] == list(range(1, said + 1))
    assert (snapshot["spans"][0]["name"], snapshot["spans"][0]["until_at"]) == ("a", None)
    assert list(snapshot["status"]["loaded_models"]) == ["a"]
    assert (decision["id"], decision["text"]) == (said + 1, "while somebody listens")
    assert span["name"] == "a"
    assert span["until_at"].startswith("2026-01-15T10:3")  # a crowded machine takes its time
    assert (status_id, status["status"]["loaded_models"]) == (None, {})


def test_listener_that_comes_back_gets_what_it_missed(unopened):
    office = unopened

    async def listen():
        async with serving(office) as url:
            async with listening(url) as events:
                await until(events, "snapshot")
                office.decide("heard")
                ((last_id, _),) = await until(events, "decision")
            office.decide("missed")
            async with listening(url, **{"Last-Event-ID": last_id}) as events:
                return await until(events, "status")

    (_, missed), (_, status) = asyncio.run(listen())
    assert (missed["type"], missed["text"], status["type"]) == ("decision", "missed", "status")


@pytest.mark.parametrize("last_id", ["life0-1", "test-999", "test-x", "test-", "", "test-²"])
def test_listener_from_another_life_starts_afresh(unopened, last_id):
    office = unopened

    async def listen():
        headers = {"Last-Event-ID": last_id.encode()}
        async with serving(office) as url:
            office.decide("something")
            async with listening(url, **headers) as events:
                return await until(events, "snapshot")

    assert len(asyncio.run(listen())) == 1


def test_stream_says_that_the_daemon_ends(unopened):
    async def listen():
        async with serving(unopened) as url, listening(url) as events:
            await until(events, "snapshot")
            unopened.desk.history.close()
            return [event async for event in events]

    ((_, last),) = asyncio.run(listen())
    assert (last["type"], last["code"], last["retry_after_seconds"]) == ("end", "shutting_down", 5)
    assert last["remedy"]


def test_place_of_a_listener_that_left_is_free_again(unopened):
    async def come_and_go():
        async with serving(unopened) as url:
            for _ in range(3):
                async with listening(url) as events:
                    await until(events, "snapshot")
            feed = APP.state.feed
            async with asyncio.timeout(5):
                while feed.listeners:
                    await asyncio.sleep(0.001)
            return feed.listeners

    assert asyncio.run(come_and_go()) == 0
