import json
from dataclasses import replace

import pytest

from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.vram import DeviceKind, MiB
from orchestrator.web.wire.models import Shelf, entry
from tests.unit.web.desk import FakeDesk, account, resident, spec


@pytest.fixture
def desk():
    return FakeDesk()


def listed(shelf, desk):
    body = json.loads(shelf.listing(desk.catalogue, desk.snapshot()))
    return {each["id"]: each for each in body["data"]}


@pytest.mark.parametrize("state", ResidentState)
def test_every_state_has_a_word_that_llama_cpp_knows(desk, state):
    body = entry(spec("a"), resident(spec("a"), state), desk.snapshot())
    assert body["status"]["value"] in {"unloaded", "loading", "loaded"}


def test_listing_follows_what_changes(desk):
    shelf = Shelf()
    assert {each["state"] for each in listed(shelf, desk).values()} == {"unloaded"}
    desk.residents["a"] = resident(spec("a"))
    assert listed(shelf, desk)["a"]["state"] == "loaded"
    desk.residents.clear()
    desk.pinned = {"b"}
    assert [each["pinned"] for each in listed(shelf, desk).values()] == [False, True]
    desk.catalogue = {"b": replace(desk.catalogue["b"], priority=9)}
    assert [each["priority"] for each in listed(shelf, desk).values()] == [9]


def test_listing_says_the_same_as_the_entry(desk):
    shelf = Shelf()
    snapshot = desk.snapshot()
    for each in desk.catalogue.values():
        assert listed(shelf, desk)[each.name] == entry(each, None, snapshot)


def test_broken_model_is_failed_until_its_breaker_closes(desk):
    failure = Failure(reason=FailureReason.MODEL_FILE, detail="Truncated.", remedy="Fetch it.")
    desk.breakers = {"a": Breaker().after(failure, desk.now_s)}
    broken = listed(Shelf(), desk)["a"]
    assert broken["status"] == {"value": "unloaded", "args": [], "failed": True}
    assert (broken["breaker"]["cause"], broken["breaker"]["remedy"]) == ("model_file", "Fetch it.")
    desk.now_s += 3600
    assert "failed" not in listed(Shelf(), desk)["a"]["status"]


@pytest.mark.parametrize(
    ("kind", "shown"), [(DeviceKind.GPU, (800, 90)), (DeviceKind.HOST, (700, 0))]
)
def test_a_model_is_listed_with_what_it_takes_on_this_machine(desk, kind, shown):
    footprint = Footprint(device_bytes=800 * MiB, host_bytes=90 * MiB, host_only_bytes=700 * MiB)
    desk.accounts = (account("d", kind=kind),)
    desk.catalogue = {"a": replace(spec("a"), footprint=footprint)}
    told = listed(Shelf(), desk)["a"]
    assert (told["vram_mb"], told["host_mb"]) == shown
