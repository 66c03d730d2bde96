"""Orders as a person or a workflow gives them, on a fake machine."""

import asyncio
from dataclasses import replace
from typing import ClassVar

import pytest

from orchestrator.catalogue.found.discovery import Discovery, no_places
from orchestrator.catalogue.predictions import Predictions, UnderSettings
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Failure, FailureReason, Silence
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.messages import ShutdownBegan
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import Degrading, FakeBehaviour, FakeFailure, Fallback
from orchestrator.core.values.tickets import UnloadStatus
from orchestrator.core.values.vram import DeviceState, GiB
from orchestrator.errors import ConfigInvalid, Denied, RegistryFailed
from orchestrator.gguf.headers import Headers
from orchestrator.orders import LoadOrder, RoomOrder, UnloadOrder
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from orchestrator.runtimes.unshared import Unshared
from tests import machine
from tests.asynchronous import eventually
from tests.standins.memory import MemoryRegistry
from tests.unit.desk.office import FILE, G0, Office, load, loaded, play


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)


async def refused(awaitable):
    with pytest.raises(Denied) as denied:
        await awaitable
    return denied.value.refusal.code


def test_a_load_and_an_unload(office):
    async def scene(desk, conductor):
        outcome = await load(desk, "talk")
        assert (outcome.resident.name, outcome.already_loaded) == ("chat", False)
        assert (await load(desk, "chat")).already_loaded
        finished = await desk.unload(UnloadOrder(model="talk"))
        assert (finished.status, finished.verified) == (UnloadStatus.UNLOADED, True)
        assert finished.freed_bytes == 16 * GiB
        again = await desk.unload(UnloadOrder(model="chat"))
        assert again.status is UnloadStatus.NOT_LOADED

    play(office, scene)


def test_a_load_says_who_left_for_it(office):
    async def scene(desk, conductor):
        await load(desk, "chat")
        assert (await load(desk, "draw")).evicted == ("chat",)
        assert loaded(desk) == {"draw": ResidentState.READY}

    play(office, scene)


def test_what_cannot_be_is_refused_before_anything_is_begun(office):
    async def scene(desk, conductor):
        with pytest.raises(Denied):
            await desk.begin_load(LoadOrder(model="nobody"))
        assert await refused(load(desk, "huge")) is RefusalCode.DOES_NOT_FIT
        assert office.world.starts == []

    play(office, scene)


def test_two_owners_share_a_model_and_the_first_unload_leaves_it(office):
    async def scene(desk, conductor):
        await load(desk, "chat", owner="one")
        await load(desk, "chat", owner="two")
        first = await desk.unload(UnloadOrder(model="chat", owner="one"))
        assert (first.status, first.remaining_leases) == (UnloadStatus.RELEASED, 1)
        second = await desk.unload(UnloadOrder(model="chat", owner="two"))
        assert second.status is UnloadStatus.UNLOADED

    play(office, scene)


def test_an_unload_in_vain_says_in_use_and_one_that_is_given_up_changes_nothing(office):
    async def scene(desk, conductor):
        await load(desk, "chat", owner="one")
        vain = desk.unload(UnloadOrder(model="chat", wait_s=0))
        assert await refused(vain) is RefusalCode.IN_USE
        waiting = asyncio.create_task(desk.unload(UnloadOrder(model="chat", wait_s=60)))
        await eventually(lambda: loaded(desk)["chat"] is ResidentState.DRAINING)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert not conductor.scheduler.state.unloads

    play(office, scene)


class Suggesting(Predictions):
    def suggestions(self, spec, room_bytes, **room):
        return ({"context_size": spec.serving.context_size // 2},)


def test_a_refusal_says_what_would_fit_instead(office):
    office.predictions = Suggesting(Headers())

    async def scene(desk, conductor):
        order = LoadOrder(model="huge", context_size=8192)
        operation = await desk.begin_load(order)
        with pytest.raises(Denied) as denied:
            await desk.load_outcome(operation.id, 10)
        refused = denied.value.refusal
        assert refused.suggestions == ({"context_size": 4096},)
        assert "It would fit with context_size 4096." in refused.remedy
        assert (await desk.preview(order)).refusal.suggestions == refused.suggestions

    play(office, scene)


# --- plans -------------------------------------------------------------------------------------


def test_a_forecast_is_what_the_load_then_does(office):
    async def scene(desk, conductor):
        await load(desk, "chat")
        preview = await desk.preview(LoadOrder(model="draw"))
        assert [each.name for each in preview.plan.evict] == ["chat"]
        assert (preview.refusal, preview.already_loaded) == (None, False)
        assert loaded(desk) == {"chat": ResidentState.READY}
        outcome = await load(desk, "draw")
        assert outcome.evicted == ("chat",)
        assert outcome.resident.placement == preview.plan.placement

    play(office, scene)


def test_a_forecast_of_what_is_there_and_of_what_can_never_be(office):
    async def scene(desk, conductor):
        await load(desk, "chat")
        there = await desk.preview(LoadOrder(model="chat"))
        assert (there.already_loaded, there.eta_s, there.plan.evict) == (True, 0.0, ())
        never = await desk.preview(LoadOrder(model="huge"))
        assert (never.plan, never.eta_s) == (None, None)
        assert never.refusal.code is RefusalCode.DOES_NOT_FIT

    play(office, scene)


class Yielding(Predictions):
    """Knows of lesser settings."""

    def under(self, serving, spec):
        less = Footprint(device_bytes=8 * GiB)
        shorter = replace(serving, context_size=2048)
        step = Fallback(serving=shorter, footprint=less, given_up=("half the context",))
        return UnderSettings(spec.footprint, spec.footprint, (step,))


def test_a_forecast_gives_up_what_the_load_then_gives_up(office):
    office.predictions = Yielding(Headers())
    office.changes = {"huge": {"degrade": (Degrading.CONTEXT_SIZE,)}}

    async def scene(desk, conductor):
        preview = await desk.preview(LoadOrder(model="huge"))
        assert preview.refusal is None
        assert preview.spec.given_up == ("half the context",)
        outcome = await load(desk, "huge")
        assert outcome.resident.spec.given_up == preview.spec.given_up
        assert outcome.resident.placement == preview.plan.placement
        there = await desk.preview(LoadOrder(model="huge"))
        assert (there.already_loaded, there.spec.given_up) == (True, ("half the context",))

    play(office, scene)


def test_what_the_files_have_to_say_is_said_after_a_reload(office):
    class Telling(Predictions):
        def news(self):
            return (Decide(kind=DecisionKind.CATALOGUE, text="chat is declared wrongly."),)

    office.predictions = Telling(Headers())

    async def scene(desk, conductor):
        await desk.reload()
        assert [each.decision.text for each in conductor.history.decisions()] == [
            "chat is declared wrongly."
        ]

    play(office, scene)


# --- leases ------------------------------------------------------------------------------------


def test_room_is_leased_renewed_and_given_back(office):
    async def scene(desk, conductor):
        await load(desk, "chat")
        order = RoomOrder(vram_mb=20 << 10, owner="train", lease_s=60)
        outcome = await desk.lease_room(order)
        assert outcome.evicted == ("chat",)
        assert outcome.resident.placement.on(G0) == 20 * GiB
        renewed = await desk.renew_lease(outcome.lease.id, 600)
        assert renewed.lease.expires_s > outcome.lease.expires_s
        assert await desk.release_lease(outcome.lease.id)
        assert await desk.release_lease(outcome.lease.id), "also if it has ended already"
        assert loaded(desk) == {}
        with pytest.raises(KeyError):
            await desk.renew_lease(outcome.lease.id, 600)

    play(office, scene)


def test_room_that_is_not_waited_for_is_not_leased(office):
    async def scene(desk, conductor):
        await load(desk, "chat", owner="one")
        order = RoomOrder(vram_mb=20 << 10, owner="train", lease_s=60)
        waiting = asyncio.create_task(desk.lease_room(order))
        await eventually(lambda: len(conductor.scheduler.state.queue) == 1)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert len(conductor.scheduler.state.queue) == 0
        assert [each.owner for each in desk.snapshot().leases] == ["one"]

    play(office, scene)


# --- what outlives a restart -------------------------------------------------------------------


class Disk(MemoryRegistry):
    """Takes changes one after the other, when and as long as it is told to."""

    def __init__(self):
        super().__init__()
        self.takes = True
        self.turn = asyncio.Lock()
        self.answers = asyncio.Event()
        self.answers.set()

    async def change(self, table, key, value):
        async with self.turn:
            await self.answers.wait()
            return self.takes and await super().change(table, key, value)


ROOM = RoomOrder(vram_mb=1024, owner="train", lease_s=60)
NEW = {"service": "rehearsal", "vram_mb": 1000, "pinned": True}


async def lease_of(desk):
    return (await load(desk, "chat", owner="me")).lease.id


# What is answered when the disk has it: prepared, asked for, and found on the disk.
PROMISES = {
    "lease": (None, lambda desk, _: load(desk, "chat", owner="me"), "leases"),
    "pin with a load": (None, lambda desk, _: load(desk, "chat", pin=True), "pins"),
    "renewal": (lease_of, lambda desk, lease: desk.renew_lease(lease, 600), "leases"),
    "release": (lease_of, lambda desk, lease: desk.release_lease(lease), "leases"),
    "release with an unload": (
        lease_of,
        lambda desk, lease: desk.unload(UnloadOrder(model="chat", lease=lease)),
        "leases",
    ),
    "room": (None, lambda desk, _: desk.lease_room(ROOM), "leases"),
    "pin": (None, lambda desk, _: desk.set_pin("chat", pinned=True), "pins"),
    "unpin": (None, lambda desk, _: desk.set_pin("chat", pinned=False), "pins"),
    "a model put": (None, lambda desk, _: desk.put_model("new", NEW), "pins"),
}


@pytest.mark.parametrize(("prepare", "ask", "table"), PROMISES.values(), ids=PROMISES)
def test_what_was_answered_is_on_the_disk(office, prepare, ask, table):
    office.registry = Disk()

    async def scene(desk, conductor):
        await load(desk, "chat")
        async with conductor.lease(desk.catalogue["chat"]):  # its unload waits for another holder
            prepared = None if prepare is None else await prepare(desk)
            before = await getattr(office.registry, table).all()
            office.registry.answers.clear()
            asked = asyncio.create_task(ask(desk, prepared))
            await asyncio.sleep(0.05)
            assert not asked.done()
            assert (await load(desk, "chat")).already_loaded, "who is promised nothing is served"
            office.registry.answers.set()
            outcome = await asked
            assert outcome is True or outcome.durable
            assert table == "pins" or await getattr(office.registry, table).all() != before

    play(office, scene)


@pytest.mark.parametrize(("prepare", "ask", "table"), PROMISES.values(), ids=PROMISES)
def test_what_the_disk_refuses_is_answered_and_said_to_be_so(office, prepare, ask, table):
    office.registry = Disk()

    async def scene(desk, conductor):
        await load(desk, "chat")
        async with conductor.lease(desk.catalogue["chat"]):
            prepared = None if prepare is None else await prepare(desk)
            office.registry.takes = False
            outcome = await ask(desk, prepared)
            assert outcome is False or not outcome.durable

    play(office, scene)


def test_a_caller_who_leaves_while_its_answer_waits_for_the_disk_keeps_nothing(office):
    office.registry = Disk()

    async def scene(desk, conductor):
        await load(desk, "chat")
        office.registry.answers.clear()
        operation = await desk.begin_load(LoadOrder(model="chat", owner="me", pin=True))
        asked = [
            asyncio.create_task(desk.load_outcome(operation.id, 60)),
            asyncio.create_task(desk.lease_room(ROOM)),
        ]
        await asyncio.sleep(0.05)
        for each in asked:
            each.cancel()
        await asyncio.sleep(0)
        office.registry.answers.set()
        await asyncio.sleep(0.05)
        assert (desk.snapshot().leases, desk.snapshot().pinned) == ((), set())
        assert await office.registry.leases.all() == ()
        assert [pin.pinned for pin in await office.registry.pins.all()] == [False]

    play(office, scene)


def test_how_long_it_stays_can_be_said_of_a_model_that_is_ready(office):
    async def scene(desk, conductor):
        desk.stays("chat", 5.0)
        assert loaded(desk) == {}, "it is no reason to load one"
        await load(desk, "chat")
        desk.stays("chat", 5.0)
        [chat] = desk.snapshot().residents
        assert (chat.ttl_s, chat.lease_count) == (5.0, 0)
        desk.stays("chat", 0.0)
        async with asyncio.timeout(10):
            while loaded(desk):
                await asyncio.sleep(0.02)

    play(office, scene)


# --- the catalogue -----------------------------------------------------------------------------


def test_a_pin_keeps_a_model(office):
    async def scene(desk, conductor):
        await load(desk, "chat")
        assert (await desk.set_pin("talk", pinned=True)).spec.name == "chat"
        assert await refused(load(desk, "draw")) is RefusalCode.NO_ROOM
        await desk.set_pin("chat", pinned=False)
        assert (await load(desk, "draw")).evicted == ("chat",)

    play(office, scene)


def test_a_model_that_is_put_can_be_loaded_and_deleted_once_it_is_gone(office):
    async def scene(desk, conductor):
        body = {"service": "rehearsal", "vram_mb": 1024, "fake": {"load_s": 0.01}}
        await desk.put_model("new", body)
        await load(desk, "new")
        assert await refused(desk.delete_model("new")) is RefusalCode.CONFLICT
        await desk.unload(UnloadOrder(model="new"))
        await desk.delete_model("new")
        assert "new" not in desk.catalogue
        with pytest.raises(ConfigInvalid):
            await desk.put_model("new", {"service": "nowhere"})

    play(office, scene)


def test_a_reload_holds_from_the_next_decision_on(office):
    async def scene(desk, conductor):
        text = FILE.replace("headroom_mb: 0", "headroom_mb: 0, budget_mb: 20480")
        office.file.write_text(text.replace("protect_idle_s: 0", "protect_idle_s: 7"))
        outcome = await desk.reload()
        assert outcome.changed == ("scheduling", "devices")
        assert conductor.scheduler.state.rules.protect_idle_s == 7
        (account,) = desk.snapshot().accounts
        assert account.available_bytes == 20 * GiB

    play(office, scene)


def test_a_budget_may_differ_from_device_to_device(office):
    async def scene(desk, conductor):
        office.file.write_text(FILE.replace("headroom_mb: 0", "budget_mb: {g0: 1024}"))
        await desk.reload()
        (account,) = desk.snapshot().accounts
        assert account.available_bytes == GiB

    play(office, scene)


def test_a_model_taken_out_while_it_runs_can_still_be_told_to_go(office):
    async def scene(desk, conductor):
        await load(desk, "draw")
        office.file.write_text(FILE.replace("  draw:", "  paint:"))
        await desk.reload()
        assert await desk.log_tail("draw", 5) is not None
        assert (await desk.unload(UnloadOrder(model="draw"))).status is UnloadStatus.UNLOADED
        assert await refused(desk.unload(UnloadOrder(model="draw"))) == RefusalCode.UNKNOWN_MODEL

    play(office, scene)


def test_a_service_that_came_with_a_reload_waits_for_a_restart(office):
    async def scene(desk, conductor):
        late = "  late: {engine: fake}\nmodels:\n  new: {service: late, vram_mb: 1}"
        office.file.write_text(FILE.replace("models:", late))
        outcome = await desk.reload()
        assert outcome.needs_restart == ("services.late",)
        with pytest.raises(Denied) as denied:
            await desk.begin_load(LoadOrder(model="new"))
        assert denied.value.refusal.code is RefusalCode.CONFLICT
        assert "Restart" in denied.value.refusal.remedy
        assert loaded(desk) == {}

    play(office, scene)


# --- what is and what was ----------------------------------------------------------------------


def test_whoever_should_not_be_sent_work_says_why(office):
    async def scene(desk, conductor):
        assert desk.degraded() == ()
        office.problems.append("the disk is full")
        office.world.set_fault(G0, DeviceState.LOST, "it fell off the bus")
        await conductor.sensors.sample()
        conductor.tell(ShutdownBegan(stop_residents=False))
        assert desk.degraded() == (
            "the disk is full",
            "the orchestrator is shutting down",
            "g0: it fell off the bus",
        )

    play(office, scene)


class Mute(MemoryRegistry):
    """A disk that takes what is written and gives nothing back."""

    async def page(self, page):
        raise RegistryFailed(f"the disk is gone: {page}")


def test_decisions_are_told_from_memory_where_the_disk_does_not_answer(office):
    office.registry = Mute()

    async def scene(desk, conductor):
        await load(desk, "chat")
        conductor.say(Decide(kind=DecisionKind.DEVICE, text="g0 is lost."))
        asked = {"before_id": None, "after_id": None, "model": None, "limit": 3}
        remembered = await desk.decisions(**asked)
        assert [each.id for each in remembered] == [
            each.id for each in reversed(conductor.history.decisions()[-3:])
        ]
        before = await desk.decisions(**{**asked, "before_id": remembered[-1].id})
        assert before == conductor.history.decisions()[-4:-7:-1]
        of_chat = await desk.decisions(**{**asked, "model": "chat"})
        assert {each.decision.model for each in of_chat} == {"chat"}

    play(office, scene)


def test_an_operation_can_be_looked_up(office):
    async def scene(desk, conductor):
        operation = await desk.begin_load(LoadOrder(model="chat"))
        await desk.load_outcome(operation.id, 10)
        assert (await desk.operation(operation.id)).model == "chat"
        assert desk.load_progress(operation.id)[1] == 0.0
        assert await desk.operation("nobody") is None

    play(office, scene)


def test_the_log_of_a_model_is_found_by_its_alias(office):
    async def scene(desk, conductor):
        assert await desk.log_tail("talk", 5) == ()
        await load(desk, "chat")
        (thing,) = office.world.running.values()
        thing.log.append("a word")
        assert await desk.log_tail("talk", 5) == ("a word",)

    play(office, scene)


def test_a_daemon_whose_only_runtime_is_silent_is_not_ready_and_says_so(office):
    async def scene(desk, conductor):
        assert desk.doubts() == ()
        office.world.silence = Silence(who="Docker", for_s=7.0, problem="Docker is silent.")
        await asyncio.sleep(2)
        said = "Docker has not answered for 7 s; nothing is started there."
        assert desk.doubts() == desk.degraded() == (said,)
        preview = await desk.preview(LoadOrder(model="chat"))
        assert preview.refusal.code is RefusalCode.RUNTIME_UNAVAILABLE
        with pytest.raises(Denied, match="Docker is silent"):
            await load(desk, "chat")

    play(office, scene)


def test_with_another_runtime_it_is_ready_all_the_same(office):
    async def scene(desk, conductor):
        conductor.drivers["elsewhere"] = replace(
            conductor.drivers[machine.SERVICE], runtime=Unshared()
        )
        office.world.silence = Silence(who="Docker", for_s=7.0, problem="Docker is silent.")
        await asyncio.sleep(2)
        assert desk.doubts() != ()
        assert desk.degraded() == ()

    play(office, scene)


# --- a plan says what a load would say ---------------------------------------------------------

NO_CONTAINER = Failure(
    reason=FailureReason.IMAGE_MISSING, detail="There is no container.", remedy="Make it."
)


class Lacking(FakeWorldEngine):
    """What it lacks is the one thing that it finds."""

    lacks: ClassVar = {}

    async def check(self, spec):
        return self.lacks.get(spec.name)


@pytest.fixture
def lacks(monkeypatch):
    monkeypatch.setattr(Lacking, "lacks", {})
    monkeypatch.setattr(machine, "FakeWorldEngine", Lacking)
    return Lacking.lacks


async def told(awaitable):
    with pytest.raises(Denied) as denied:
        await awaitable
    return denied.value.refusal


def test_a_plan_makes_the_same_checks_as_a_load(office, lacks):
    lacks["draw"] = NO_CONTAINER

    async def scene(desk, conductor):
        await load(desk, "chat")
        for _ in range(2):  # before a load, and with the breaker that it leaves behind
            preview = await desk.preview(LoadOrder(model="draw"))
            assert preview.plan is None
            assert conductor.scheduler.state.breakers.keys() <= {"draw"}
            heard = await told(load(desk, "draw"))
            same = replace(heard, retry_after_s=preview.refusal.retry_after_s)
            assert preview.refusal == same
        assert heard.code is RefusalCode.BREAKER_OPEN
        assert loaded(desk) == {"chat": ResidentState.READY}, "no model left for it"
        del lacks["draw"]
        assert (await desk.preview(LoadOrder(model="draw"))).plan.evict, "mended: it is planned"

    play(office, scene)


def test_a_plan_says_that_a_server_crashed_too_often(office):
    office.changes["draw"] = {"fake": FakeBehaviour(load_s=0.02, fail=FakeFailure.EXITS)}

    async def scene(desk, conductor):
        for _ in range(3):
            await told(load(desk, "draw"))
        preview = await desk.preview(LoadOrder(model="draw"))
        assert preview.refusal.code is RefusalCode.BREAKER_OPEN
        assert preview.refusal.detail == (await told(load(desk, "draw"))).detail

    play(office, scene)


def test_a_plan_that_has_no_room_says_so_without_a_look(office, lacks):
    lacks["huge"] = NO_CONTAINER

    async def scene(desk, conductor):
        preview = await desk.preview(LoadOrder(model="huge"))
        assert preview.refusal.code is RefusalCode.DOES_NOT_FIT
        assert (await told(load(desk, "huge"))).code is RefusalCode.DOES_NOT_FIT

    play(office, scene)


def test_a_plan_for_a_model_that_stands_as_failed_says_why(office):
    office.changes["draw"] = {"failed": NO_CONTAINER}

    async def scene(desk, conductor):
        desk._catalogue._as_it_is_now = desk._catalogue.specs.__getitem__
        preview = await desk.preview(LoadOrder(model="draw"))
        assert preview.refusal == await told(load(desk, "draw"))
        assert preview.refusal.failure == NO_CONTAINER

    play(office, scene)


class Finding(Discovery):
    """Finds one model, when it is told to."""

    def __init__(self):
        super().__init__(no_places, Headers().of)
        self.there = {}

    def sweep(self, settings):
        return True

    def beside(self, config, specs, estimate):
        return self.there


def test_models_that_are_found_come_to_whoever_asks_and_go(office):
    found = Finding()
    office.discovery = found
    office.file.write_text(f"discovery: {{folders: [/m]}}\n{FILE}")

    async def scene(desk, conductor):
        known = conductor.scheduler.state
        new = replace(desk.catalogue["chat"], name="new", found=True, aliases=())
        found.there = {"new": new}
        await desk.sweep()
        assert "new" in known.catalogue
        await load(desk, "new")
        with pytest.raises(Denied, match="its file is there"):
            await desk.delete_model("new")
        found.there = {}
        await desk.sweep()
        assert "new" not in known.catalogue
        await desk.unload(UnloadOrder(model="new"))

    play(office, scene)
