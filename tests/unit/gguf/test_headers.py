"""Headers are read once, and again when a file changes."""

import os
from pathlib import Path

import pytest

from orchestrator.gguf import headers as module
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.reader import read_header
from tests.unit.gguf.gguf_files import F32, write_model

MODEL = {"general.architecture": "llama"}
TENSORS = [("a.weight", (256, 4), F32)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.gguf", MODEL, TENSORS, whole=True)


def test_a_file_that_stays_is_read_once(path: Path) -> None:
    headers = Headers()
    assert headers.of(path) is headers.of(path)


def test_a_file_that_was_replaced_is_read_again(path: Path) -> None:
    headers = Headers()
    before = headers.of(path)
    write_model(path, {"general.architecture": "gemma3"}, TENSORS, whole=True)
    os.utime(path, ns=(1, 1))
    assert (before.architecture, headers.of(path).architecture) == ("llama", "gemma3")


def test_a_file_that_is_gone_is_an_error_and_not_a_memory(path: Path) -> None:
    headers = Headers()
    headers.of(path)
    path.unlink()
    with pytest.raises(GgufError):
        headers.of(path)


def test_what_was_read_is_remembered_without_a_look_at_the_disk(path: Path) -> None:
    headers = Headers()
    before = headers.remembered(path)
    path.unlink()
    assert headers.remembered(path) is before


def test_the_memory_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEADERS_MAX", 2)
    headers = Headers()
    paths = [write_model(tmp_path / f"{n}.gguf", MODEL, TENSORS, whole=True) for n in range(3)]
    for each in paths:
        headers.of(each)
        each.unlink()
    assert headers.remembered(paths[2])
    with pytest.raises(GgufError):
        headers.remembered(paths[0])


def test_a_header_is_believed_until_its_file_comes(tmp_path: Path) -> None:
    headers = Headers()
    peeked = read_header(write_model(tmp_path / "here.gguf", {"general.architecture": "gemma3"}))
    later = tmp_path / "later.gguf"
    headers.expect(later, peeked)
    assert headers.of(later) is peeked
    assert headers.remembered(later) is peeked
    write_model(later, {"general.architecture": "llama"})
    assert headers.of(later).architecture == "llama"
    later.unlink()  # it was there: now it is missed
    with pytest.raises(GgufError):
        headers.of(later)
