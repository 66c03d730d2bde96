"""Files that lie there and of which no model is made."""

import os
from dataclasses import replace

import pytest

from orchestrator.catalogue.found.unused import LISTED_MAX, unused_files
from orchestrator.config.loading import load_config
from tests.factories import spec


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models" / "deep").mkdir(parents=True)
    return tmp_path / "models"


@pytest.fixture
def names(tmp_path, folder):
    """What is found there beside these models: names and services."""
    config = tmp_path / "orchestrator.yaml"
    config.write_text(
        "devices: {source: host}\nservices:\n"
        f"  first: {{engine: xllamacpp, models_dir: {folder}}}\n"
        f"  second: {{engine: xllamacpp, models_dir: {folder}}}\n"
        "  none: {engine: fake}\n"
    )
    read = load_config(config, environ={})

    def found(*specs):
        unused = unused_files(read, {one.name: one for one in specs})
        return [(one.path.name, one.service, one.size_bytes) for one in unused]

    return found


def test_what_no_model_uses_is_there_once_under_the_first_service(folder, names):
    (folder / "a.gguf").write_bytes(b"GGUF")
    (folder / "deep" / "b.gguf").write_bytes(b"GGUF..")
    (folder / "mmproj-b.gguf").write_bytes(b"GGUF")
    (folder / "notes.txt").write_bytes(b"")
    assert names() == [("a.gguf", "first", 4), ("b.gguf", "first", 6)]


def test_a_file_that_a_model_has_is_not_there_whatever_its_name(folder, names):
    (folder / "a.gguf").write_bytes(b"GGUF")
    os.link(folder / "a.gguf", folder / "also-a.gguf")
    assert names(replace(spec("a", gib=1), file=str(folder / "also-a.gguf"))) == []


def test_a_split_model_is_one_and_one_that_lacks_parts_is_none(folder, names):
    for number in (1, 2):
        (folder / f"s-0000{number}-of-00002.gguf").write_bytes(b"GGUF")
    (folder / "t-00001-of-00002.gguf").write_bytes(b"GGUF")
    assert names() == [("s-00001-of-00002.gguf", "first", 8)]


def test_a_person_is_not_shown_more_than_he_reads(folder, names):
    for number in range(LISTED_MAX + 5):
        (folder / f"{number}.gguf").write_bytes(b"GGUF")
    assert len(names()) == LISTED_MAX
