import json
from dataclasses import replace

import pytest

from orchestrator.catalogue.facts import facts_of
from orchestrator.catalogue.sizing import Files
from orchestrator.config.sections import GatewaySettings
from orchestrator.core.room.planner import Fits
from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import Serving
from orchestrator.core.values.vram import DeviceKind, MiB
from orchestrator.web.wire.models import About, Shelf, entry, with_other_names
from tests.unit.gguf.shapes import header
from tests.unit.web.samples import NOW_S, account, resident, snapshot, spec

CATALOGUE = {each.name: each for each in (spec("a"), spec("b", aliases=("bee",)))}


def listed(shelf, moment, catalogue=CATALOGUE):
    body = json.loads(shelf.listing(catalogue, moment))
    return {each["id"]: each for each in body["data"]}


@pytest.mark.parametrize("state", ResidentState)
def test_every_state_has_a_word_that_llama_cpp_knows(state):
    body = entry(spec("a"), resident(spec("a"), state), snapshot())
    assert body["status"]["value"] in {"unloaded", "loading", "loaded"}


def test_listing_follows_what_changes():
    shelf = Shelf()
    assert {each["state"] for each in listed(shelf, snapshot()).values()} == {"unloaded"}
    assert listed(shelf, snapshot(resident(spec("a"))))["a"]["state"] == "loaded"
    pinned = snapshot(pinned={"b"})
    assert [each["pinned"] for each in listed(shelf, pinned).values()] == [False, True]
    changed = {"b": replace(CATALOGUE["b"], priority=9)}
    assert [each["priority"] for each in listed(shelf, pinned, changed).values()] == [9]


def test_listing_says_the_same_as_the_entry():
    shelf = Shelf()
    for each in CATALOGUE.values():
        assert listed(shelf, snapshot())[each.name] == entry(each, None, snapshot())


def test_broken_model_is_failed_until_its_breaker_closes():
    failure = Failure(reason=FailureReason.MODEL_FILE, detail="Truncated.", remedy="Fetch it.")
    breakers = {"a": Breaker().after(failure, NOW_S)}
    broken = listed(Shelf(), snapshot(breakers=breakers))["a"]
    assert broken["status"] == {"value": "unloaded", "args": [], "failed": True}
    assert (broken["breaker"]["cause"], broken["breaker"]["remedy"]) == ("model_file", "Fetch it.")
    later = snapshot(breakers=breakers, now_s=NOW_S + 3600)
    assert "failed" not in listed(Shelf(), later)["a"]["status"]


@pytest.mark.parametrize(
    ("kind", "shown"), [(DeviceKind.GPU, (800, 90)), (DeviceKind.HOST, (700, 0))]
)
def test_a_model_is_listed_with_what_it_takes_on_this_machine(kind, shown):
    footprint = Footprint(device_bytes=800 * MiB, host_bytes=90 * MiB, host_only_bytes=700 * MiB)
    here = snapshot(accounts=(account("d", kind=kind),))
    told = listed(Shelf(), here, {"a": replace(spec("a"), footprint=footprint)})["a"]
    assert (told["vram_mb"], told["host_mb"]) == shown


def test_a_model_that_cannot_be_loaded_as_it_is_written_is_listed_as_failed():
    failure = Failure(reason=FailureReason.MODEL_FILE, detail="It is gone.", remedy="Bring it.")
    failed = {"a": replace(spec("a"), failed=failure)}
    told = listed(Shelf(), snapshot(), failed)["a"]
    assert (told["state"], told["status"]["failed"]) == ("failed", True)
    assert told["failure"] == {
        "cause": "model_file",
        "detail": "It is gone.",
        "remedy": "Bring it.",
    }
    runs = listed(Shelf(), snapshot(resident(failed["a"])), failed)["a"]
    assert (runs["state"], "failed" in runs["status"]) == ("loaded", False)


@pytest.mark.parametrize(
    "listing", [b'{"object":"list","data":[]}', b'{"object":"list","data":[1]}']
)
@pytest.mark.parametrize("names", [0, 1, 2])
def test_other_names_stand_behind_the_models(listing, names):
    gateway = GatewaySettings(
        tasks={"quick": "a"} if names else {}, chains={"best": ("a", "b")} if names == 2 else {}
    )
    said = json.loads(with_other_names(listing, gateway))["data"]
    before = json.loads(listing)["data"]
    assert said[: len(before)] == before
    assert [each["id"] for each in said[len(before) :]] == ["task:quick", "best"][:names]


def test_slots_are_those_that_the_server_tells():
    """Also of a container whose settings are not ours; else what it would be started with."""
    ours = spec("a", serving=Serving(slots=4, context_size=2048))
    told = resident(ours, slots=(1024,) * 4)
    shown = [entry(ours, one, snapshot()) for one in (None, told)]
    assert [(one["slots"], one["context_per_slot"]) for one in shown] == [(4, 2048), (4, 1024)]
    others = replace(ours, settings_ours=False)
    shown = [entry(others, one, snapshot()) for one in (None, told)]
    assert [(one["slots"], one["context_per_slot"]) for one in shown] == [(None, None), (4, 1024)]


def test_clients_are_told_what_a_model_can_and_whether_it_fits():
    facts = facts_of(spec("a"), Files(model=header("llama31-8b")))
    told = entry(spec("a"), None, snapshot(), About(facts, Fits.AFTER_EVICTIONS))
    assert told["fits"] == "after_evictions"
    assert (told["modalities"], told["tools"]) == (["text"], False)
    assert (told["trained_context"], told["quantization"], told["parameters"]) == (
        facts.trained_context, facts.quantization, "8.0B",
    )  # fmt: skip
    sees = replace(facts, capabilities=("completion", "tools", "vision", "audio"))
    told = entry(spec("a"), None, snapshot(), About(sees))
    assert (told["modalities"], told["tools"]) == (["text", "image", "audio"], True)
    others = entry(spec("a"), None, snapshot(), About(facts_of(spec("a"), None)))
    assert {others[key] for key in ("modalities", "tools", "quantization", "parameters")} == {None}


def test_listing_follows_what_fits():
    shelf, moment = Shelf(), snapshot()
    for fits in (Fits.NOW, Fits.NEVER, None):
        body = json.loads(shelf.listing(CATALOGUE, moment, lambda _, fits=fits: About(fits=fits)))
        assert {one["fits"] for one in body["data"]} == {fits}
