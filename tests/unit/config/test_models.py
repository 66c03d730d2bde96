from dataclasses import replace

import pytest

from orchestrator.config.adapters import ScaledAdapter
from orchestrator.config.cores import physical_cores
from orchestrator.config.models import (
    build_spec,
    declared_only,
    name_mistake,
    serving_of,
)
from orchestrator.config.sections import (
    CacheType,
    ModelEntry,
    RuntimeName,
    ServiceEntry,
)
from orchestrator.config.yaml_lines import show
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.specs import Degrading, FakeBehaviour, Profile, Serving
from orchestrator.core.values.vram import MiB
from orchestrator.errors import Unpredictable

FAKE = ServiceEntry(engine="fake")
WHEEL = ServiceEntry(engine="xllamacpp", models_dir="/models")
ELSEWHERE = ServiceEntry(
    engine="llama_cpp",
    runtime=RuntimeName.EXTERNAL,
    url="http://there:8080",
    models_dir="/",
)


def entry(**keys):
    return ModelEntry(**{"service": "s", "vram_mb": 100, **keys})


def built(entry, service, estimate=declared_only):
    found = build_spec("m", entry, service, estimate)
    assert found.mistakes == ()
    return found.spec


def complaints(entry, service):
    found = build_spec("m", entry, service, declared_only)
    assert found.spec is None
    return {show(each.where): each.sentence for each in found.mistakes}


@pytest.mark.parametrize(
    "name", ["a", "qwen3-vl-30b", "llama-3.2:latest", "org_x@main", "9", "a" * 128]
)
def test_these_are_names(name):
    assert name_mistake(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "a b", "..", "a..b", "-rf", ".hidden", "a\0", "a\n", "é", "a" * 129, "x" * 10_240],
)
def test_these_are_not(name):
    sentence = name_mistake(name)
    assert sentence is not None
    assert len(sentence) < 250


@pytest.mark.parametrize("name", ["status", "load", "plan"])
def test_a_name_that_the_api_uses_is_refused(name):
    assert f"/models/{name}" in name_mistake(name)


def test_any_container_needs_no_file_and_reads_none():
    keys = {"runtime": RuntimeName.DOCKER, "container": "whisperx", "url": "http://whisperx:9000"}
    service = ServiceEntry(engine="container", **keys, health="/ready")
    assert built(entry(), service).file is None
    assert not built(entry(), service).load_known
    assert built(entry(load_seconds=5), service).load_known
    assert complaints(entry(file="a.gguf"), service) == {
        "file": "is not read by engine container: remove it"
    }
    assert "vram_mb" in complaints(entry(vram_mb=None), service)


def test_a_stand_in_has_a_behaviour_even_if_none_was_written():
    spec = built(entry(), FAKE)
    assert spec.fake == FakeBehaviour()
    assert (spec.load_s, spec.load_known) == (FakeBehaviour().load_s, True)
    assert spec.footprint == Footprint(device_bytes=100 * MiB)


def test_host_ram_is_charged_beside_vram():
    spec = built(entry(vram_mb=0, host_mb=5), FAKE)
    assert spec.footprint == Footprint(device_bytes=0, host_bytes=5 * MiB)


def test_what_is_not_declared_is_estimated_from_the_whole_draft():
    def estimate(draft):
        assert draft.file == "/models/a.gguf"
        assert draft.serving.context_size == 512
        return Footprint(device_bytes=7, provenance=Provenance.ESTIMATED)

    spec = built(entry(vram_mb=None, file="a.gguf", context_size=512), WHEEL, estimate)
    assert spec.footprint.provenance is Provenance.ESTIMATED


def test_the_file_is_believed_before_what_was_declared():
    def estimate(draft):
        assert draft.footprint == Footprint(device_bytes=100 * MiB, host_bytes=5 * MiB)
        return Footprint(device_bytes=7, provenance=Provenance.ESTIMATED)

    spec = built(entry(file="a.gguf", host_mb=5), WHEEL, estimate)
    assert spec.footprint.device_bytes == 7


def test_a_file_that_is_not_visible_here_is_no_mistake_where_it_was_declared():
    def estimate(draft):
        raise Unpredictable(("file",), f"cannot be used: {draft.file} does not exist")

    docker = ServiceEntry(
        engine="llama_cpp", runtime=RuntimeName.DOCKER, image="i", models_dir="/models"
    )
    spec = built(entry(file="a.gguf"), docker, estimate)
    assert spec.footprint == Footprint(device_bytes=100 * MiB)
    assert spec.footprint.provenance is Provenance.DECLARED
    found = build_spec("m", entry(file="a.gguf", vram_mb=None), docker, estimate)
    assert [show(each.where) for each in found.mistakes] == ["file"]


def test_what_can_be_neither_declared_nor_estimated_is_a_mistake():
    said = complaints(entry(vram_mb=None, file="a.gguf"), WHEEL)
    assert list(said) == ["vram_mb"]


@pytest.mark.parametrize(
    ("keys", "service", "where"),
    [
        ({"file": "a.gguf"}, FAKE, "file"),
        ({"fake": FakeBehaviour(), "file": "a"}, WHEEL, "fake"),
        ({"fake": FakeBehaviour(tokens_per_s=0)}, FAKE, "fake.tokens_per_s"),
        ({"fake": FakeBehaviour(load_s=-1)}, FAKE, "fake.load_s"),
        ({}, WHEEL, "file"),
        ({"file": "/etc/passwd"}, WHEEL, "file"),
        ({"file": "a", "mmproj": "../b"}, WHEEL, "mmproj"),
        ({"file": "a", "lora": ("ok", "/x")}, WHEEL, "lora[1]"),
        ({"file": "a", "lora": ("ok", ScaledAdapter(file="a,b", scale=2))}, WHEEL, "lora[1]"),
        ({"file": "a", "lora": (ScaledAdapter(file="../b"),)}, WHEEL, "lora[0]"),
        ({"url": "http://a"}, FAKE, "url"),
        ({"aliases": ("ok", "a/b")}, FAKE, "aliases[1]"),
        ({"batch": 4, "ubatch": 8}, FAKE, "ubatch"),
        ({"cache_type_v": CacheType.Q8_0, "flash_attention": False}, FAKE, "cache_type_v"),
        ({"vram_mb": 0}, FAKE, "vram_mb"),
        ({"degrade": (Degrading.UBATCH,)}, FAKE, "degrade"),
        ({"degrade": (Degrading.UBATCH,), "file": "/m.gguf"}, ELSEWHERE, "degrade"),
    ],
)
def test_what_does_not_go_together_in_a_model(keys, service, where):
    assert list(complaints(entry(**keys), service)) == [where]


def test_a_server_that_is_not_ours_needs_no_file_but_an_address():
    assert built(entry(), ELSEWHERE).url == "http://there:8080"
    assert built(entry(url="http://own:1"), ELSEWHERE).url == "http://own:1"
    nowhere = ServiceEntry(engine="llama_cpp", runtime=RuntimeName.EXTERNAL)
    assert list(complaints(entry(), nowhere)) == ["url"]


def test_without_a_profile_the_defaults_serve():
    assert serving_of(entry()) == Serving()


def test_a_profile_sets_what_was_not_written():
    serving = serving_of(entry(profile=Profile.QUALITY))
    assert (serving.batch, serving.context_size, serving.max_tokens) == (512, 8192, 2048)
    assert serving.threads == min(8, physical_cores())


def test_what_was_written_wins_over_the_profile():
    serving = serving_of(
        entry(profile=Profile.MEMORY, context_size=777, batch=1024, threads=3, max_tokens=9)
    )
    assert (serving.context_size, serving.batch, serving.threads) == (777, 1024, 3)
    assert serving.max_tokens == 9


def test_what_a_server_keeps_in_host_ram_can_be_said():
    serving = serving_of(entry(host_cache_mb=256, context_checkpoints=32))
    assert (serving.host_cache_mb, serving.context_checkpoints) == (256, 32)


def test_a_micro_batch_is_never_larger_than_the_batch():
    assert serving_of(entry(profile=Profile.MEMORY)).ubatch == 128
    assert serving_of(entry(batch=64)).ubatch == 64


@pytest.mark.parametrize(
    "file", ["org/repo:a.gguf", "org/repo:Q4_K_M", "org/repo@v1:sub/a-00001-of-00002.gguf"]
)
def test_a_file_of_a_hub_is_not_looked_for_here(file):
    spec = built(ModelEntry(service="s", file=file), WHEEL)
    assert (spec.hub, spec.file, spec.footprint.provenance) == (file, None, Provenance.UNKNOWN)


@pytest.mark.parametrize(
    ("keys", "service", "key"),
    [
        ({"file": "a.gguf", "auto_download": True}, WHEEL, "auto_download"),
        ({"file": "org/repo:../a.gguf"}, WHEEL, "file"),
        ({"file": "org/repo:a.gguf"}, ELSEWHERE, "file"),
    ],
)
def test_hub_files_that_cannot_be(keys, service, key):
    assert key in complaints(entry(**keys), service)


DOCKER = ServiceEntry(
    engine="llama_cpp", runtime=RuntimeName.DOCKER, image="org/server:1", auto_pull=True
)


def test_an_image_that_may_be_pulled_is_looked_for_before_room_is_promised():
    model = entry(file="/models/a.gguf")
    roots = {"models_dir": "/models"}
    assert built(model, replace(DOCKER, **roots)).supplied
    assert not built(model, replace(DOCKER, auto_pull=False, **roots)).supplied


NAMED = ServiceEntry(
    engine="llama_cpp", runtime=RuntimeName.DOCKER, container="llama-cpp", url="http://a:1"
)


@pytest.mark.parametrize(("service", "home"), [(NAMED, "llama-cpp"), (ELSEWHERE, "external")])
def test_settings_of_a_server_that_others_defined_are_refused(service, home):
    keys = {"context_size": 8192, "profile": Profile.FAST, "gpu_layers": 0, "jinja": False}
    said = complaints(entry(**keys), service)
    assert set(said) == set(keys)
    assert all("would change nothing" in each and home in each for each in said.values())


def test_whose_settings_they_are_is_known_of_every_model():
    file = {"file": "/models/a.gguf"}
    assert not built(entry(priority=9, ttl_seconds=60), NAMED).settings_ours
    assert not built(entry(), ELSEWHERE).settings_ours
    assert built(entry(**file, context_size=8192), WHEEL).settings_ours
