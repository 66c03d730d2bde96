"""What a quantization is called."""

from pathlib import Path

import pytest

from orchestrator.gguf.file_types import file_type
from orchestrator.gguf.reader import read_header
from tests.unit.gguf.gguf_files import F32, Q4_K, write_model
from tests.unit.gguf.shapes import header

TINY = {"general.architecture": "llama", "llama.block_count": 1}
TENSORS = [("a.weight", (256, 4), Q4_K), ("b.weight", (8,), F32)]


@pytest.mark.parametrize(
    ("said", "name"), [(15, "Q4_K_M"), (7, "Q8_0"), (9999, "Q4_K"), ("x", "Q4_K"), (None, "Q4_K")]
)
def test_as_the_file_says_or_as_most_of_its_bytes_are(
    tmp_path: Path, said: int | str | None, name: str
) -> None:
    metadata = TINY | ({} if said is None else {"general.file_type": said})
    path = write_model(tmp_path / "m.gguf", metadata, TENSORS, whole=True)
    assert file_type(read_header(path)) == name


def test_without_tensors_it_is_not_known(tmp_path: Path) -> None:
    assert file_type(read_header(write_model(tmp_path / "m.gguf", TINY))) == "unknown"


def test_of_a_real_model() -> None:
    assert file_type(header("llama31-8b")) in ("Q4_K_M", "Q4_0", "Q8_0")
