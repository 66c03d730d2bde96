"""Sound, torn and foreign files, told apart by a look at their header."""

import os
from pathlib import Path

from orchestrator.gguf.soundness import damage
from tests.unit.gguf.gguf_files import F32, write_model

MODEL = {"general.architecture": "llama"}
TENSORS = [("a.weight", (256, 4), F32)]


def test_a_whole_model_has_no_damage(tmp_path: Path) -> None:
    assert damage(write_model(tmp_path / "m.gguf", MODEL, TENSORS, whole=True)) is None


def test_a_download_that_ended_early_is_damaged_and_the_words_fit_a_sentence(
    tmp_path: Path,
) -> None:
    path = write_model(tmp_path / "m.gguf", MODEL, TENSORS, whole=True)
    os.truncate(path, path.stat().st_size - 1)
    words = damage(path)
    assert words is not None
    assert words.startswith("it is truncated: it has ")


def test_what_is_cut_in_its_header_is_damaged(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", MODEL, TENSORS, whole=True)
    os.truncate(path, 40)
    assert damage(path)


def test_a_text_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "readme.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "not a GGUF" in (damage(path) or "")
