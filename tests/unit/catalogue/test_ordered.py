"""What an order asks for: a model by its name, other settings, an estimate of a file."""

from dataclasses import replace

import pytest

from orchestrator.catalogue.ordered import named, on_hub, ordered, to_estimate
from orchestrator.config.loading import load_config
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.specs import Profile
from orchestrator.errors import ConfigInvalid, Denied
from orchestrator.orders import EstimateOrder, LoadOrder

FILE = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  rehearsal: {engine: fake}
  other: {engine: fake}
  wheel: {engine: xllamacpp, models_dir: /models}
  theirs: {engine: llama_cpp, runtime: docker, container: llama-cpp, url: http://a:1}
models:
  chat: {service: rehearsal, vram_mb: 6000, aliases: [talk]}
  see: {service: wheel, file: a.gguf, vram_mb: 1, span: 2, gpu_layers: 3, flash_attention: false}
  adapted: {service: wheel, file: a.gguf, vram_mb: 1, lora: [x.gguf, {file: y.gguf, scale: 0.5}]}
  foreign: {service: theirs, vram_mb: 100}
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "orchestrator.yaml"
    file.write_text(FILE)
    return load_config(file, environ={})


def asked(config, model="chat", **order):
    return ordered(LoadOrder(model=model, **order), named(model, config.catalogue), config)


def refusal(act):
    with pytest.raises(Denied) as denied:
        act()
    return denied.value.refusal


def test_a_model_is_known_by_its_name_and_its_aliases(config):
    assert named("chat", config.catalogue) is named("talk", config.catalogue)


def test_a_load_may_choose_how_much_of_each_adapter_is_applied(config):
    model = config.catalogue["adapted"]
    assert model.adapters == (("/models/x.gguf", 1.0), ("/models/y.gguf", 0.5))
    chosen = asked(config, "adapted", lora_scales=(0.0, 2.0))
    assert [scale for _, scale in chosen.adapters] == [0.0, 2.0]
    assert not chosen.launches_like(model)
    assert asked(config, "adapted", lora_scales=(1.0, 0.5)) is model
    assert asked(config, "adapted", lora_scales=(1.0, 1.0)).lora_scales == ()


@pytest.mark.parametrize(("model", "scales"), [("adapted", (1.0,)), ("see", (1.0,))])
def test_there_is_one_scale_for_each_adapter(config, model, scales):
    said = refusal(lambda: asked(config, model, lora_scales=scales))
    assert said.code is RefusalCode.CONFLICT
    assert "LoRA adapters, and lora_scales 1." in said.detail


@pytest.mark.parametrize(("name", "meant"), [("chta", "chat"), ("tlak", "talk"), ("zzz", None)])
def test_an_unknown_name_is_answered_with_the_nearest(config, name, meant):
    said = refusal(lambda: named(name, config.catalogue))
    assert said.code is RefusalCode.UNKNOWN_MODEL
    assert (meant in said.remedy) if meant else ("Did you mean" not in said.remedy)


def test_a_name_of_any_length_is_quoted_in_part(config):
    assert len(refusal(lambda: named("x" * 100_000, config.catalogue)).detail) < 400


def test_a_service_may_be_named_if_it_is_the_models_own(config):
    assert asked(config, service="rehearsal").service == "rehearsal"
    said = refusal(lambda: asked(config, service="elsewhere"))
    assert said.code is RefusalCode.UNKNOWN_SERVICE


def test_a_service_that_exists_but_is_not_its_own_is_a_conflict(config):
    assert refusal(lambda: asked(config, service="other")).code is RefusalCode.CONFLICT


def test_an_order_that_changes_nothing_is_for_the_model_itself(config):
    chat = config.catalogue["chat"]
    assert asked(config) is chat
    assert asked(config, context_size=chat.serving.context_size) is chat


def test_a_profile_is_a_set_of_settings(config):
    spec = asked(config, profile=Profile.MEMORY)
    assert spec.profile is Profile.MEMORY
    assert spec.serving != config.catalogue["chat"].serving


def test_a_profile_of_the_configuration_is_one_like_those_that_ship(tmp_path):
    file = tmp_path / "orchestrator.yaml"
    file.write_text(f"profiles: {{long: {{context_size: 65536}}}}\n{FILE}")
    config = load_config(file, environ={})
    assert asked(config, profile="long").serving.context_size == 65536
    of_file = to_estimate(
        EstimateOrder(model="see", profile="long", cache_type="f32"), config.catalogue, config
    )
    assert (of_file.serving.context_size, of_file.serving.cache_type_k) == (65536, "f32")
    with pytest.raises(Denied) as refused:
        asked(config, profile="lang")
    assert refused.value.refusal.code is RefusalCode.UNKNOWN_PROFILE
    assert "'lang' is no profile; there are fast, " in refused.value.refusal.detail


@pytest.mark.parametrize(
    "settings",
    [{"context_size": 8192}, {"profile": "fast"}, {"gpu_layers": 0}, {"lora_scales": ()}],
)
def test_a_load_chooses_no_settings_for_a_server_that_others_defined(config, settings):
    assert asked(config, "foreign").name == "foreign"
    said = refusal(lambda: asked(config, "foreign", **settings))
    assert said.code is RefusalCode.CONFLICT
    assert next(iter(settings)) in said.detail
    assert "container llama-cpp is defined" in said.remedy


# --- estimates ---------------------------------------------------------------------------------


def estimated(config, **order):
    return to_estimate(EstimateOrder(model="see", **order), config.catalogue, config)


def test_an_estimate_is_made_for_the_model_with_what_was_said(config):
    assert estimated(config) == config.catalogue["see"]
    other = estimated(config, mmproj="eyes.gguf", gpus=4, gpu_layers=7, context_size=99)
    assert (other.mmproj, other.span) == ("/models/eyes.gguf", 4)
    assert (other.serving.gpu_layers, other.serving.context_size) == (7, 99)


def test_all_layers_are_not_those_that_the_model_says(config):
    assert estimated(config).serving.gpu_layers == 3
    assert estimated(config, gpu_layers="all").serving.gpu_layers is None
    assert asked(config, "see", gpu_layers="all").serving.gpu_layers is None


def test_a_file_on_a_hub_goes_to_the_first_service_that_could_run_it(config):
    found = on_hub(EstimateOrder(file="org/repo:Q4_K_M"), config)
    assert (found.hub, found.file, found.footprint.unknown) == ("org/repo:Q4_K_M", None, True)
    assert on_hub(EstimateOrder(file="/models/a.gguf"), config) is None
    assert on_hub(EstimateOrder(model="see"), config) is None
    with pytest.raises(ConfigInvalid, match="no service 'none' whose engine reads files"):
        on_hub(EstimateOrder(file="org/repo:Q4_K_M", service="none"), config)
    sized = replace(found, file="/cache/a.gguf")
    order = EstimateOrder(file="org/repo:Q4_K_M", context_size=99)
    spec = to_estimate(order, config.catalogue, config, sized)
    assert (spec.file, spec.serving.context_size) == ("/cache/a.gguf", 99)


@pytest.mark.parametrize(
    ("order", "mistake"),
    [
        ({"mmproj": "/etc/passwd"}, "mmproj: lies outside /models"),
        ({"cache_type": "q8_0"}, "cache_type: q8_0 needs flash_attention: true"),
    ],
)
def test_what_cannot_be_estimated_is_named(config, order, mistake):
    with pytest.raises(ConfigInvalid, match=mistake):
        estimated(config, **order)
