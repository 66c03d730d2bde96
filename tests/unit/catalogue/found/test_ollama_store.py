"""Manifests of Ollama's store."""

import json
from pathlib import Path, PurePath

import pytest

from orchestrator.catalogue.found.ollama_store import manifest_of, stored_model, stores

DIGEST = "a" * 64
PLACE = PurePath("registry.ollama.ai/library/llama3.2/3b")


def manifest(*kinds):
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{DIGEST}"}
        for kind in kinds
    ]
    return json.dumps({"schemaVersion": 2, "layers": layers}).encode()


def no_parameters(blob):
    return b""


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (PLACE, "llama3.2:3b"),
        (PLACE.with_name("latest"), "llama3.2"),
        (PurePath("registry.ollama.ai/someone/x/q4"), "someone-x:q4"),
        (PurePath("hf.co/unsloth/Qwen3-GGUF/Q4_K_M"), "unsloth-Qwen3-GGUF:Q4_K_M"),
    ],
)
def test_a_model_is_called_as_ollama_lists_it(place, name):
    stored = stored_model(place, manifest("model", "template"), no_parameters)
    assert (stored.name, stored.blob, stored.problem) == (name, f"sha256-{DIGEST}", None)


def test_projector_and_context_are_taken_over():
    told = stored_model(
        PLACE, manifest("model", "projector", "params"), lambda _: b'{"num_ctx": 8192}'
    )
    assert (told.projector, told.context_size) == (f"sha256-{DIGEST}", 8192)
    for odd in (b"", b"[]", b'{"num_ctx": "8k"}', b'{"num_ctx": -1}'):
        assert (
            stored_model(PLACE, manifest("model", "params"), lambda _, o=odd: o).context_size
            is None
        )


def test_what_only_ollama_puts_together_has_a_reason():
    assert "adapter" in stored_model(PLACE, manifest("model", "adapter"), no_parameters).problem
    assert "several" in stored_model(PLACE, manifest("model", "model"), no_parameters).problem


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b'{"layers": 1}',
        b'{"layers": [{}]}',
        manifest("template"),
        b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "../../x"}]}',
    ],
)
def test_what_is_no_manifest_of_a_model_is_none(text):
    assert stored_model(PLACE, text, no_parameters) is None
    assert stored_model(PurePath("stray"), manifest("model"), no_parameters) is None


def test_a_manifest_names_every_blob_by_what_it_holds():
    said = manifest_of(PurePath("hf.co/org/Repo/Q4"), manifest("model", "model", "template"))
    assert said.called == "hf.co/org/Repo:Q4"
    assert (len(said.blobs["model"]), len(said.blobs["template"])) == (2, 1)
    assert manifest_of(PurePath("a/b"), manifest("model")) is None


def test_stores_are_where_the_environment_says_or_where_they_usually_are():
    assert stores({"OLLAMA_MODELS": "/mnt/o", "HOME": "/h"}) == (Path("/mnt/o"),)
    usual = stores({"HOME": "/h"})
    assert usual[0] == Path("/h/.ollama/models")
    assert Path("/usr/share/ollama/.ollama/models") in usual
