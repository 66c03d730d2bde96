import pytest

from orchestrator.gateway.ollama.names import hub_reference, meant, tagged
from tests.unit.web.samples import spec

SPECS = {
    each.name: each
    for each in (
        spec("qwen3:8b", aliases=("big",)),
        spec("phi"),
        spec("old:latest"),
        spec("smol", hub="org/smol-GGUF:Q8_0"),
    )
}


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("phi", "phi"),
        ("phi:latest", "phi"),
        ("old", "old:latest"),
        ("old:latest", "old:latest"),
        ("big:latest", "qwen3:8b"),
        ("qwen3:8b", "qwen3:8b"),
        ("qwen3", "qwen3"),
        ("hf.co/org/smol-GGUF:Q8_0", "smol"),
        ("https://huggingface.co/org/smol-GGUF:Q8_0", "smol"),
        ("hf.co/org/other:Q8_0", "hf.co/org/other:Q8_0"),
        ("nobody:latest", "nobody"),
    ],
)
def test_names_with_and_without_latest_are_the_same(said, means):
    assert meant(said, SPECS) == means


def test_a_list_shows_a_tag():
    assert [tagged(name) for name in ("phi", "qwen3:8b")] == ["phi:latest", "qwen3:8b"]


def test_what_is_on_a_hub():
    assert hub_reference("hf.co/a/b:latest") == "a/b"
    assert hub_reference("a/b@main:Q4_K_M") == "a/b@main:Q4_K_M"
    assert hub_reference("llama3.2") is None
