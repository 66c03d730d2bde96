"""Arguments of llama-server that are the operator's own, and those that keys stand for."""

from itertools import chain

import pytest

from orchestrator.config.llama_flags import BY_KEY, NOT_FOR_MODELS, extra_mistakes, moving, spelled
from orchestrator.config.models import build_spec, declared_only
from orchestrator.config.sections import ModelEntry, RuntimeName, ServiceEntry
from orchestrator.config.yaml_lines import show

LLAMA = ServiceEntry(engine="llama_cpp", models_dir="/models")


def said(*extra_args):
    return {show(mistake.where): mistake.sentence for mistake in extra_mistakes(extra_args)}


def built(service=LLAMA, **keys):
    found = build_spec(
        "m", ModelEntry(service="s", file="a.gguf", **keys), service, lambda spec: spec.footprint
    )
    return found.spec, {show(mistake.where): mistake.sentence for mistake in found.mistakes}


def test_what_costs_nothing_is_passed_on():
    assert not said("--top-k", "20", "--min-p", "0.05", "--seed", "-1", "--reasoning-format=none")
    assert not said("--chat-template-kwargs", '{"enable_thinking": false}', "--no-context-shift")


@pytest.mark.parametrize("flag", sorted(chain(*BY_KEY.values())))
def test_what_a_key_says_is_refused_with_that_key(flag):
    key = next(key for key, flags in BY_KEY.items() if flag in flags)
    [(where, sentence)] = said("--top-k", "20", flag, "1").items()
    assert where == "extra_args[2]"
    assert f"`{key}`" in sentence or "/" in key


@pytest.mark.parametrize("flag", sorted(NOT_FOR_MODELS))
def test_what_is_not_a_models_to_say_is_refused_with_its_reason(flag):
    [sentence] = said(flag).values()
    assert sentence.startswith(f"{flag} is not passed on: ")


def test_every_key_is_one_of_a_model():
    known = set(ModelEntry.__dataclass_fields__)
    assert set(BY_KEY) <= known


@pytest.mark.parametrize(
    ("word", "flag"),
    [
        ("--ctx_size", "--ctx-size"),
        ("--ctx-size=4096", "--ctx-size"),
        ("-ngl", "-ngl"),
        ("-1", None),
        ("0.5", None),
        ("{}", None),
    ],
)
def test_words_are_told_as_the_server_reads_them(word, flag):
    assert spelled(word) == flag


def test_one_item_with_a_blank_in_it_and_a_value_without_a_flag_are_slips():
    assert "write --top-k and its value as two items" in said("--top-k 20")["extra_args[0]"]
    assert "begins with 20, which is no flag" in said("20", "--top-k")["extra_args[0]"]


@pytest.mark.parametrize(
    ("extra_args", "flag"),
    [
        (("--n_cpu_moe", "6"), "--n-cpu-moe"),
        (("--top-k", "1", "-ot", ".ffn_.*=CPU"), "-ot"),
        (("--spec-type", "draft-mtp"), "--spec-type"),
        (("--spec-type", "ngram-mod"), None),
        (("--spec-draft-n-max", "16"), None),
    ],
)
def test_what_moves_bytes_needs_a_declaration(extra_args, flag):
    assert moving(extra_args) == flag


def test_a_model_with_such_an_argument_is_charged_what_is_declared():
    _, mistakes = built(extra_args=("--cpu-moe",))
    assert mistakes["vram_mb"].startswith("is required with --cpu-moe")
    spec, _ = built(extra_args=("--cpu-moe",), vram_mb=100)
    assert spec.serving.extra_args == ("--cpu-moe",)


def test_other_settings_are_another_server():
    one, _ = built(vram_mb=1, extra_args=("--top-k", "20"))
    other, _ = built(vram_mb=1)
    assert not one.launches_like(other)


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        (
            ServiceEntry(engine="xllamacpp", models_dir="/models"),
            "is only for engine llama_cpp",
        ),
        (
            ServiceEntry(
                engine="llama_cpp",
                runtime=RuntimeName.EXTERNAL,
                url="http://a",
                models_dir="/",
            ),
            "would change nothing",
        ),
    ],
)
def test_only_a_llama_server_of_ours_takes_them(service, sentence):
    found = build_spec(
        "m",
        ModelEntry(service="s", file="a.gguf", vram_mb=1, extra_args=("--top-k", "1")),
        service,
        declared_only,
    )
    assert any(sentence in mistake.sentence for mistake in found.mistakes)
