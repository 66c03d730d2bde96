"""Sound, torn and foreign files, told apart by a look at their header."""

import os
from pathlib import Path

import pytest

from orchestrator.gguf import soundness
from orchestrator.gguf.soundness import Soundness
from tests.unit.gguf.gguf_files import F32, write_model

MODEL = {"general.architecture": "llama"}
TENSORS = [("a.weight", (256, 4), F32)]


def damage(path: Path) -> str | None:
    return Soundness().damage(path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The headers that are read."""
    told: list[Path] = []
    read = soundness.read_header

    def reading(path: Path) -> object:
        told.append(path)
        return read(path)

    monkeypatch.setattr(soundness, "read_header", reading)
    return told


def test_a_sound_file_is_read_once_as_long_as_it_stays(tmp_path: Path, reads: list[Path]) -> None:
    path = write_model(tmp_path / "m.gguf", MODEL, TENSORS, whole=True)
    known = Soundness()
    assert (known.damage(path), known.damage(path)) == (None, None)
    assert len(reads) == 1
    replaced = write_model(tmp_path / "new", MODEL, TENSORS, whole=True)
    replaced.replace(path)
    assert known.damage(path) is None
    assert len(reads) == 2
    os.truncate(path, path.stat().st_size - 1)
    assert "truncated" in (known.damage(path) or "")
    assert "truncated" in (known.damage(path) or "")  # damage is not remembered
    assert len(reads) == 4


def test_of_very_many_the_longest_known_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    monkeypatch.setattr(soundness, "SOUND_KEPT_MAX", 2)
    paths = [write_model(tmp_path / f"{n}.gguf", MODEL, TENSORS, whole=True) for n in range(3)]
    known = Soundness()
    for path in (*paths, paths[2], paths[0]):
        assert known.damage(path) is None
    assert reads == [*paths, paths[0]]


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
