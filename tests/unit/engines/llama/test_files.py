import struct

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.engines.llama.files import broken_file
from tests.unit.engines.launched import real_model, spec_of

GOOD = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.gguf"
    path.write_bytes(GOOD)
    return str(path)


def test_a_real_model_is_fine():
    assert broken_file(spec_of(file=str(real_model()))) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"this is a text file, not a model", "something else"),
        (b"", "0 bytes"),
        (b"GGUF\x03", "5 bytes"),
        (struct.pack("<4sI", b"GGUF", 99), "version 99"),
    ],
)
def test_what_is_no_model_is_told_by_name(tmp_path, content, words):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    failure = broken_file(spec_of(file=str(path)))
    assert failure is not None
    assert failure.reason is FailureReason.MODEL_FILE
    assert words in failure.detail
    assert str(path) in failure.detail
    assert failure.remedy


def test_missing_directory_and_impossible_paths(tmp_path):
    for path, words in (
        (tmp_path / "nowhere.gguf", "no such file"),
        (tmp_path, "directory"),
        (f"{tmp_path}/a\0b", "cannot be read"),
    ):
        failure = broken_file(spec_of(file=str(path)))
        assert failure is not None
        assert words in failure.detail


def test_projector_and_adapters_are_looked_at_too(tmp_path, good):
    missing = str(tmp_path / "missing.gguf")
    projector = broken_file(spec_of(file=good, mmproj=missing))
    adapter = broken_file(spec_of(file=good, lora=(good, missing)))
    assert projector is not None
    assert "projector" in projector.detail
    assert adapter is not None
    assert "LoRA" in adapter.detail


def test_no_file_at_all():
    failure = broken_file(spec_of())
    assert failure is not None
    assert "names no model file" in failure.detail


def test_a_deeper_look_may_be_passed_in(good):
    failure = broken_file(spec_of(file=good), lambda path: f"{path.name} is short")
    assert failure is not None
    assert "good.gguf is short" in failure.detail
