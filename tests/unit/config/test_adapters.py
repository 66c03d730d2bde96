import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.config.adapters import (
    AdapterEntry,
    adapter_mistakes,
    file_of,
    scale_of,
    scales_of,
)

READ = TypeAdapter(tuple[AdapterEntry, ...]).validate_python


def test_an_adapter_is_a_file_or_a_file_with_its_scale():
    entries = READ(["a.gguf", {"file": "b.gguf", "scale": 0.5}, {"file": "c.gguf"}])
    assert [file_of(each) for each in entries] == ["a.gguf", "b.gguf", "c.gguf"]
    assert [scale_of(each) for each in entries] == [1.0, 0.5, 1.0]
    assert scales_of(entries) == (1.0, 0.5, 1.0)
    assert scales_of(READ(["a.gguf", {"file": "c.gguf"}])) == ()


@pytest.mark.parametrize(
    "said",
    [[7], [""], [{"scale": 1}], [{"file": "a", "scale": 1000}], [{"file": "a", "weight": 1}]],
)
def test_what_is_none_is_refused(said):
    with pytest.raises(ValidationError):
        READ(said)


def test_a_path_that_llama_server_would_misread_is_a_mistake():
    found = list(adapter_mistakes(["/a.gguf", None, "/b,c.gguf", "/d:1.gguf"]))
    assert [mistake.where for mistake in found] == [("lora", 2), ("lora", 3)]
    assert "rename" in found[0].sentence
