"""Which quantizations of one model a repository publishes."""

import pytest

from orchestrator.hub import published
from orchestrator.hub.progress import Phase, Progress
from orchestrator.hub.publishing import offers, quantization_in, without_quantization
from orchestrator.hub.references import Reference
from tests.unit.hub.pulls import BYTES, MODEL, REPO, Pulls

HERE = Reference(repo="org/Small-GGUF")


@pytest.mark.parametrize(
    ("path", "quantization"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-coder-7b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("tinyllama-1.1b-chat-v1.0.Q5_K_S.gguf", "Q5_K_S"),
        ("UD-Q4_K_XL/Big-UD-Q4_K_XL-00001-of-00003.gguf", "UD-Q4_K_XL"),
        ("m-IQ3_XXS.gguf", "IQ3_XXS"),
        ("m-BF16.gguf", "BF16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-Q8_0-F16.gguf", "F16"),
        ("Q8_0/model.gguf", None),
        ("aq4_0b.gguf", None),
    ],
)
def test_the_name_of_a_file_says_its_quantization(path: str, quantization: str | None) -> None:
    assert quantization_in(path) == quantization


def test_quantizations_of_one_model_are_called_alike() -> None:
    assert without_quantization("a/M-Q4_K_M-00001-of-00002.gguf") == without_quantization(
        "m-UD-Q8_0.gguf"
    )


def test_the_best_comes_first_and_whole_weights_behind_all_others() -> None:
    sizes = {
        "S-Q2_K.gguf": 2,
        "S-BF16.gguf": 16,
        "Q8_0/S-Q8_0-00001-of-00002.gguf": 5,
        "Q8_0/S-Q8_0-00002-of-00002.gguf": 3,
        "mmproj-F16.gguf": 1,
        "README.md": 1,
    }
    found = offers(HERE, sizes)
    assert [(offer.quantization, offer.size_bytes) for offer in found] == [
        ("Q8_0", 8),
        ("Q2_K", 2),
        ("BF16", 16),
    ]
    assert found[0].reference == "org/Small-GGUF:Q8_0/S-Q8_0-00001-of-00002.gguf"


def test_another_revision_stays_named() -> None:
    (found,) = offers(Reference(repo="o/r", revision="v2"), {"S-Q2_K.gguf": 2})
    assert found.reference == "o/r@v2:S-Q2_K.gguf"


@pytest.mark.parametrize(
    "paths",
    [
        ("a-Q4_0.gguf", "b-Q8_0.gguf"),  # two models
        ("a-Q4_0.gguf", "x/a-Q4_0.gguf"),  # twice the same
        ("a-Q4_0.gguf", "a.gguf"),  # one that does not say
        ("README.md",),
    ],
)
def test_where_size_does_not_decide_there_is_no_choice(paths: tuple[str, ...]) -> None:
    assert offers(HERE, dict.fromkeys(paths, 1)) == ()


def test_half_a_model_is_not_offered() -> None:
    sizes = {"a-Q8_0-00001-of-00002.gguf": 1, "a-Q4_0.gguf": 1}
    assert [offer.quantization for offer in offers(HERE, sizes)] == ["Q4_0"]


def test_the_hub_is_asked_for_its_list_alone(operator: Pulls) -> None:
    operator.hub.files["small-Q8_0.gguf"] = operator.hub.files[MODEL] * 2
    told: list[Progress] = []
    found = published(
        REPO, endpoint=operator.hub.url, progress=told.append, patience=operator.patience
    )
    assert [(offer.quantization, offer.size_bytes) for offer in found] == [
        ("Q8_0", 2 * len(BYTES)),
        ("Q4_K_M", len(BYTES)),
    ]
    assert [progress.phase for progress in told] == [Phase.ASKING]
    assert operator.hub.bodies() == []
