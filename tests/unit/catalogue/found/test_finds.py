"""Names and projectors of what was found."""

from dataclasses import replace

import pytest

from orchestrator.catalogue.found.finds import finds, key_of, nameable, named, suits
from orchestrator.catalogue.found.sets import FileSet
from orchestrator.config.models import name_mistake
from tests.unit.catalogue.found.things import header, model, projector, seen


def paired(*sets):
    return {find.name: find.projector and find.projector.name for find in finds(sets)}


def test_a_model_is_named_after_its_file():
    split = FileSet(files=tuple(seen(f"Big-0000{n}-of-00002.gguf") for n in (1, 2)))
    stored = FileSet(files=(replace(seen("sha256-ab"), called="llama3.2:3b"),), header=header())
    assert set(named([model("Qwen3-0.6B-Q8_0.gguf"), split, stored])) == {
        "Qwen3-0.6B-Q8_0",
        "Big",
        "llama3.2:3b",
    }


def test_of_two_of_the_same_name_the_upper_one_has_it():
    given = named([model("x/a.gguf"), model("a.gguf"), model("y/x/a.gguf"), model("x-a.gguf")])
    assert {name: str(each.first.path) for name, each in given.items()} == {
        "a": "/m/a.gguf",
        "x-a": "/m/x-a.gguf",
        "a-2": "/m/x/a.gguf",
        "a-3": "/m/y/x/a.gguf",
    }
    assert set(named([model("b/a.gguf"), model("c/a.gguf")])) == {"a", "c-a"}


@pytest.mark.parametrize("text", ["My model (1)", "..a..b", "--x", "", "日本", "load", "a" * 300])
def test_any_text_becomes_a_name(text):
    assert name_mistake(nameable(text)) is None


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("Qwen2.5-VL-7B-Instruct-UD-Q4_K_XL", "qwen2 5 vl 7b instruct"),
        ("mmproj-Qwen2.5-VL-7B-Instruct-f16", "qwen2 5 vl 7b instruct"),
        ("SmolLM2-135M-Instruct.Q4_1", "smollm2 135m instruct"),
        ("gpt-oss-20b-MXFP4", "gpt oss 20b"),
        ("mmproj-model-f16", ""),
        ("mmproj-BF16", ""),
    ],
)
def test_what_says_only_how_exact_it_is_is_left_out(stem, words):
    assert " ".join(key_of(stem)) == words


def test_a_projector_goes_to_the_model_of_its_name():
    pictures, text = model("Qwen-VL-7B-Q4_K_M.gguf"), model("Llama-8B-Q4_K_M.gguf")
    exact, coarse = projector("mmproj-Qwen-VL-7B-f16.gguf"), projector("mmproj-Qwen-VL-7B-f32.gguf")
    assert paired(pictures, text, coarse, exact) == {
        "Qwen-VL-7B-Q4_K_M": "mmproj-Qwen-VL-7B-f16.gguf",
        "Llama-8B-Q4_K_M": None,
    }


def test_a_projector_without_a_name_goes_to_the_only_model_beside_it():
    one, other = model("x/a-Q4_K_M.gguf"), model("x/a-Q8_0.gguf")
    assert set(paired(one, other, projector("x/mmproj-F16.gguf")).values()) == {"mmproj-F16.gguf"}
    stranger = model("x/b.gguf")
    assert set(paired(one, stranger, projector("x/mmproj-F16.gguf")).values()) == {None}


def test_headers_tell_whose_a_projector_without_a_name_is():
    told = {"general__name": "Qwen VL 7B"}
    one, stranger = model("x/some.gguf", header(**told)), model("x/b.gguf")
    assert paired(one, stranger, projector("x/mmproj.gguf", **told)) == {
        "some": "mmproj.gguf",
        "b": None,
    }


def test_a_projector_of_another_width_is_not_the_models():
    assert suits(model("a.gguf"), projector("mmproj-a.gguf", 4096), alone=True) is None
    unsaid = replace(projector("mmproj-a.gguf"), header=header("clip", ("v.x", (1, 2))))
    assert suits(model("a.gguf"), unsaid, alone=True) == 0
    longer = model("a-b-instruct.gguf")
    assert suits(longer, projector("mmproj-a-b.gguf"), alone=False) == 2


def test_parts_in_a_folder_find_the_projector_above():
    split = FileSet(files=(seen("repo/Q4/a-00001-of-00001.gguf"),), header=header())
    assert paired(split, projector("repo/mmproj-F16.gguf")) == {"a": "mmproj-F16.gguf"}


def test_a_torn_projector_is_shown_and_an_adapter_is_not():
    torn = FileSet(files=(seen("mmproj-a.gguf"),), problem="is truncated")
    adapter = model("lora.gguf", header(general__type="adapter"))
    assert paired(model("a.gguf"), torn, adapter) == {"a": None, "mmproj-a": None}
