"""What one request gets of a model that somebody else has ordered, or that changes meanwhile."""

import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import FakeBehaviour
from orchestrator.desk.holds import ModelHold
from orchestrator.gateway.routes import ON_ITS_WAY
from orchestrator.orders import LoadOrder, UnloadOrder
from tests.asynchronous import eventually
from tests.unit.desk.office import FILE, Office, load, loaded, play

SMALL = 512
ASKED = ModelHold(model="chat", wait_s=10)


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)


def context_of(granted):
    return granted.resident.spec.serving.context_size


async def held(desk, hold=ASKED):
    async with desk.held(hold) as granted:
        return granted.resident.instance, context_of(granted)


def test_who_asks_for_no_settings_is_served_by_what_another_caller_has_ordered(office):
    async def scene(desk, conductor):
        ordered = await load(desk, "chat", context_size=SMALL)
        assert await held(desk) == (ordered.resident.instance, SMALL)
        larger, context = await held(desk, replace(ASKED, context_size=2 * SMALL))
        assert (larger != ordered.resident.instance, context) == (True, 2 * SMALL)

    play(office, scene)


def test_also_by_what_is_only_coming_up(office):
    office.changes = {"chat": {"fake": FakeBehaviour(load_s=0.3)}}

    async def scene(desk, conductor):
        await desk.begin_load(LoadOrder(model="chat", context_size=SMALL))
        assert loaded(desk)["chat"] in ON_ITS_WAY
        _, context = await held(desk)
        assert context == SMALL
        assert len(office.world.starts) == 1

    play(office, scene)


def test_what_the_catalogue_has_changed_since_is_started_anew(office):
    async def scene(desk, conductor):
        before = await load(desk, "chat", context_size=SMALL)
        office.file.write_text(
            FILE.replace("aliases: [talk], fake: {load_s: 0.02}", "fake: {load_s: 0.03}")
        )
        await desk.reload()
        instance, context = await held(desk)
        assert instance != before.resident.instance
        assert context != SMALL

    play(office, scene)


def test_what_is_leaving_is_not_ordered_again_as_it_was(office):
    office.changes = {"chat": {"fake": FakeBehaviour(load_s=0.02, stop_s=0.3)}}

    async def scene(desk, conductor):
        await load(desk, "chat", context_size=SMALL)
        going = asyncio.create_task(desk.unload(UnloadOrder(model="chat", wait_s=10)))
        await eventually(lambda: loaded(desk).get("chat") is ResidentState.UNLOADING)
        _, context = await held(desk)
        await asyncio.wait({going})
        assert context != SMALL

    play(office, scene)


def test_how_long_it_stays_is_of_no_matter_to_what_is_not_ready_or_hears_nothing_new(office):
    office.changes = {"chat": {"fake": FakeBehaviour(load_s=0.3)}}

    async def scene(desk, conductor):
        def said():
            return [(one.state, one.ttl_s) for one in desk.snapshot().residents]

        desk.stays("chat", 5.0)
        desk.stays("nobody", 5.0)
        assert said() == []
        operation = await desk.begin_load(LoadOrder(model="chat"))
        desk.stays("chat", 5.0)
        [(state, ttl_s)] = said()
        assert (state in ON_ITS_WAY, ttl_s) == (True, None)
        await desk.load_outcome(operation.id, 10)
        desk.stays("chat", 5.0)
        assert said() == [(ResidentState.READY, 5.0)]
        version = conductor.scheduler.state.ledger.version
        desk.stays("chat", 5.0)
        assert conductor.scheduler.state.ledger.version == version

    play(office, scene)
