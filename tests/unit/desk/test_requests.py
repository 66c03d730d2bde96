"""Requests of now and of the past; the disk delays none of them."""

import asyncio

from orchestrator.desk.activity import BATCH_MAX, Activity
from orchestrator.desk.requests import RequestHistory
from orchestrator.errors import RegistryFailed
from orchestrator.records import Outcome, RequestPage
from tests.standins.memory import MemoryRegistry


class Refusing(MemoryRegistry):
    refuses = True

    async def add_requests(self, records):
        if self.refuses:
            raise RegistryFailed("the disk is full")
        await super().add_requests(records)

    async def page_of_requests(self, page):
        if self.refuses:
            raise RegistryFailed("the disk is full")
        return await super().page_of_requests(page)


def history(registry=None):
    activity = Activity(lambda: 1000.0)
    return activity, RequestHistory(activity, registry or MemoryRegistry())


def request(activity, asked="a", outcome=Outcome.ANSWERED, **more):
    run = activity.begin(asked, protocol="openai", path="/x", client="c", **more)
    activity.end(run, outcome, 200)
    return run


PAGE = RequestPage(limit=10)


def test_what_has_ended_is_kept_and_found_again():
    async def scene():
        activity, requests = history()
        first, second = request(activity), request(activity, "b")
        await requests.keep()
        assert [one.id for one in await requests.ended(PAGE)] == [second.id, first.id]
        assert (await requests.find(first.id)).asked == "a"
        assert await requests.find(99) is None
        only = await requests.ended(RequestPage(model="b", limit=10))
        assert [one.id for one in only] == [second.id]

    asyncio.run(scene())


def test_those_under_way_are_shown():
    async def scene():
        activity, requests = history()
        run = activity.begin("a", protocol="openai", path="/x", client="c")
        (shown,) = requests.running(PAGE)
        assert (shown.id, shown.outcome) == (run.id, None)
        assert (await requests.find(run.id)).ended_at is None

    asyncio.run(scene())


def test_what_the_disk_refuses_is_tried_again_and_shown_from_memory():
    async def scene():
        registry = Refusing()
        activity, requests = history(registry)
        run = request(activity)
        await requests.keep()
        assert [one.id for one in await requests.ended(PAGE)] == [run.id]
        registry.refuses = False
        await requests.keep()
        assert [one.id for one in await registry.page_of_requests(PAGE)] == [run.id]
        assert requests.not_kept == 0

    asyncio.run(scene())


def test_what_is_too_much_is_counted():
    async def scene():
        activity, requests = history(Refusing())
        for _ in range(3):
            for _ in range(BATCH_MAX):
                request(activity)
            await requests.keep()
        assert requests.not_kept == 2 * BATCH_MAX

    asyncio.run(scene())
