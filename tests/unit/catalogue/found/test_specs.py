"""The settings of a model that nobody wrote down."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalogue.found.finds import Find
from orchestrator.catalogue.found.seen import ModelPlace, PlaceKind
from orchestrator.catalogue.found.sets import FileSet
from orchestrator.catalogue.found.specs import (
    CONTEXT_MAX,
    EMBEDDED_AT_ONCE_MAX,
    entry_of,
    found_spec,
    identity_of,
    readable,
)
from orchestrator.config.loading import load_config
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.specs import Degrading
from orchestrator.errors import Unpredictable
from tests.unit.catalogue.found.things import header, model, seen

ON_GPU = ServiceEntry(engine="llama_cpp")
IN_PYTHON = ServiceEntry(engine="xllamacpp")
FOOTPRINT = Footprint(device_bytes=7)


def find(of=None, **changes):
    return Find(name="a", files=model("a.gguf", of), **changes)


def entry(of, service=ON_GPU):
    return entry_of(find(of), of, "local", service)


def test_the_context_is_what_it_was_trained_for_within_reason():
    assert entry(header(llama__context_length=8192)).context_size == 8192
    assert entry(header(llama__context_length=1 << 20)).context_size == CONTEXT_MAX
    told = replace(seen("a.gguf"), context_size=4096)
    known = header(llama__context_length=8192)
    asked = Find(name="a", files=FileSet(files=(told,), header=known))
    assert entry_of(asked, known, "local", ON_GPU).context_size == 4096


def test_it_may_give_up_what_does_not_fit_here():
    assert entry(header()).degrade == (Degrading.CONTEXT_SIZE, Degrading.GPU_LAYERS)
    assert entry(header()).gpu_layers is None
    wheel = entry(header(), IN_PYTHON)
    assert (wheel.gpu_layers, wheel.degrade) == (0, (Degrading.CONTEXT_SIZE,))


@pytest.mark.parametrize(
    "of",
    [
        header("nomic-bert", **{"nomic-bert__context_length": 8192}),
        header("qwen3", qwen3__pooling_type=3, qwen3__context_length=32768),
    ],
)
def test_a_model_that_makes_vectors_takes_a_whole_text_at_once(of):
    made = entry(of)
    assert made.embeddings
    assert made.batch == made.ubatch == EMBEDDED_AT_ONCE_MAX
    assert Degrading.CONTEXT_SIZE not in made.degrade


def config(tmp_path, services="{local: {engine: llama_cpp}}"):
    file = tmp_path / "orchestrator.yaml"
    file.write_text(f"services: {services}\n")
    return load_config(file, environ={})


def test_it_is_found_and_runs_where_models_without_a_service_do(tmp_path):
    spec = found_spec(find(projector=Path("/m/p.gguf")), config(tmp_path), lambda _: FOOTPRINT)
    assert (spec.found, spec.service, spec.footprint) == (True, "local", FOOTPRINT)
    assert (spec.file, spec.mmproj, spec.failed) == ("/m/a.gguf", "/m/p.gguf", None)


def unpredictable(spec):
    raise Unpredictable(("file",), "cannot be estimated")


@pytest.mark.parametrize(
    ("of", "services", "estimate", "words"),
    [
        (model("a.gguf", problem="is truncated"), None, None, "/m/a.gguf is truncated."),
        (model("a.gguf", header("x")), None, unpredictable, "file cannot be estimated"),
        (model("a.gguf", replace(header(), metadata={})), None, None, "cannot be used"),
        (model("a.gguf"), "{}", None, "no service here runs GGUF files"),
        (model("a.gguf"), "{local: {engine: fake}}", None, "no service here runs GGUF files"),
    ],
)
def test_what_cannot_be_loaded_stands_with_its_reason(tmp_path, of, services, estimate, words):
    made = config(tmp_path, services) if services else config(tmp_path)
    spec = found_spec(Find(name="a", files=of), made, estimate or (lambda _: FOOTPRINT))
    assert spec.found
    assert words in spec.failed.detail
    assert spec.failed.remedy


def test_a_link_may_lead_out_where_the_server_can_follow(tmp_path):
    file = tmp_path / "a.gguf"
    file.symlink_to(tmp_path / "elsewhere.gguf")
    linked = Find(name="a", files=FileSet(files=(replace(seen("x"), path=file),)))
    assert readable(linked, ON_GPU).allowed_roots == (str(tmp_path / "elsewhere.gguf"),)
    docker = ServiceEntry(engine="llama_cpp", runtime=RuntimeName.DOCKER, image="i")
    assert readable(linked, docker) == docker
    cache = ModelPlace(PlaceKind.HUGGING_FACE, tmp_path)
    cached = Find(name="a", files=FileSet(files=(seen("x", place=cache),)))
    assert readable(cached, docker).allowed_roots == (str(tmp_path),)


def test_a_file_is_the_same_under_all_its_names(tmp_path):
    one = tmp_path / "one"
    one.write_text("")
    (tmp_path / "two").symlink_to(one)
    assert identity_of(str(one)) == identity_of(str(tmp_path / "two"))
    assert identity_of(str(tmp_path / "none")) is None
