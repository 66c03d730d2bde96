import re
from dataclasses import replace

import pytest

from orchestrator.catalogue.facts import facts_of
from orchestrator.catalogue.sizing import Files
from orchestrator.core.values.residents import Placement, ResidentState
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import Serving
from orchestrator.core.values.vram import DeviceId, DeviceKind
from orchestrator.gateway.ollama import listing
from orchestrator.web.wire.error_answers import encode
from tests.unit.gguf.shapes import header
from tests.unit.web.samples import GPU, NOW_S, account, resident, spec

LLAMA = spec("llama3.1:8b", file="/models/a.gguf", serving=Serving(max_tokens=512))
PLAIN = spec("plain")
SPECS = {each.name: each for each in (LLAMA, PLAIN)}
FACTS = {
    LLAMA.name: facts_of(LLAMA, Files(model=header("llama31-8b"))),
    PLAIN.name: facts_of(PLAIN, None),
}


CARD = (account(),)


def snapshot(*residents, accounts=CARD):
    return Snapshot(
        now_s=NOW_S,
        version=1,
        accounts=accounts,
        residents=residents,
        leases=(),
        queue=(),
        pinned=frozenset(),
        breakers={},
    )


def test_every_model_is_listed_with_a_tag():
    first, second = listing.tags(SPECS, FACTS)["models"]
    assert first["name"] == first["model"] == "llama3.1:8b"
    assert first["details"]["parameter_size"] == "8.0B"
    assert second["name"] == second["model"] == "plain:latest"
    assert second["modified_at"].startswith("0001-")
    assert second["size"] == 6000 << 20
    assert all(len(each["digest"]) == 64 for each in (first, second)), "ollama list cuts it"


def test_what_runs_with_what_it_holds():
    host = account("host", kind=DeviceKind.HOST)
    shared = Placement(((GPU, 6000 << 20), (DeviceId("host"), 500 << 20)))
    loaded = resident(replace(PLAIN, ttl_s=600.0), placement=shared)
    busy = resident(LLAMA, ResidentState.DRAINING)
    first, second = listing.ps(snapshot(loaded, busy, accounts=(account(), host)), FACTS)["models"]
    assert (first["name"], first["model"]) == ("plain:latest", "plain:latest")
    assert (first["size"], first["size_vram"]) == (6500 << 20, 6000 << 20)
    assert first["context_length"] == 4096
    assert first["expires_at"] == "2026-01-15T10:40:00.000Z"
    assert second["expires_at"].startswith("9999"), "for ever"
    assert second["details"]["family"] == "llama"
    assert len(second["digest"]) == 64, "ollama ps cuts it"


def test_settings_that_are_not_ours_are_not_told():
    elsewhere = resident(replace(PLAIN, settings_ours=False))
    [told] = listing.ps(snapshot(elsewhere), FACTS)["models"]
    assert "context_length" not in told


def test_one_model():
    told = listing.show(LLAMA, FACTS[LLAMA.name])
    architecture = told["model_info"]["general.architecture"]
    assert told["model_info"][f"{architecture}.context_length"] == 4096
    assert "completion" in told["capabilities"]
    assert told["parameters"] == "num_ctx 4096\nnum_predict 512"
    plain = listing.show(PLAIN, FACTS[PLAIN.name])
    assert (plain["model_info"], plain["license"]) == ({}, "")


def test_the_version_is_one_that_clients_accept():
    """VS Code wants 0.6.4, with each part a number; Open WebUI turns the parts into numbers."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", listing.VERSION)
    assert tuple(map(int, listing.VERSION.split("."))) >= (0, 6, 4)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_what_is_listed_can_be_encoded(name):
    assert encode(listing.show(SPECS[name], FACTS[name]))
