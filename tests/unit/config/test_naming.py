"""What requests may call a model: every mistake is said with its place."""

import pytest

from orchestrator.config.loading import load_config
from orchestrator.errors import ConfigInvalid

MODELS = """
services: {r: {engine: fake}}
models:
  big: {service: r, vram_mb: 100, aliases: [large]}
  small: {service: r, vram_mb: 10}
"""


def load(tmp_path, gateway):
    file = tmp_path / "o.yaml"
    file.write_text(f"gateway: {gateway}\n{MODELS}")
    return load_config(file).gateway


def test_names_of_models_aliases_and_chains_are_known(tmp_path):
    gateway = load(
        tmp_path,
        "{default_model: best, tasks: {quick_nlp: small, default: large}, chains: {best: [large, small]}}",
    )
    assert gateway.chains == {"best": ("large", "small")}
    assert gateway.tasks["default"] == "large"


@pytest.mark.parametrize(
    ("gateway", "said"),
    [
        ("{default_model: bigg}", 'gateway.default_model: "bigg" is no model here'),
        ("{tasks: {x: smal}}", 'gateway.tasks.x: "smal" is no model here'),
        ("{chains: {best: [large, no]}}", 'gateway.chains.best[1]: "no" is no model here'),
        ("{chains: {best: []}}", "gateway.chains.best: needs 1 to 16 models"),
        ("{chains: {large: [small]}}", "gateway.chains.large: is the name or an alias of a model"),
        ("{chains: {'a/b': [small]}}", "is no name"),
    ],
)
def test_a_mistake_is_said_with_its_place(tmp_path, gateway, said):
    with pytest.raises(ConfigInvalid) as raised:
        load(tmp_path, gateway)
    assert said in str(raised.value)


def test_a_name_may_be_that_of_a_model_that_is_found(tmp_path):
    file = tmp_path / "o.yaml"
    written = (
        "discovery: {folders: [/m]}\ngateway: {default_model: Qwen3, chains: {c: [Qwen3, big]}"
    )
    file.write_text(f"{written}, tasks: {{x: Gemma}}}}\n{MODELS}")
    assert load_config(file).gateway.default_model == "Qwen3"
    file.write_text(f"{written.replace('big', 'c')}}}\n{MODELS}")
    with pytest.raises(ConfigInvalid, match=r'chains.c\[1\]: "c" is no model here'):
        load_config(file)
