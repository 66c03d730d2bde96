"""Ollama's store as models of ours."""

import hashlib
import json
import shutil

import pytest

from orchestrator.cli.importing import ollama
from orchestrator.cli.importing.checking import made_right
from orchestrator.cli.importing.llama_swap import NotRead
from orchestrator.cli.importing.ollama import imported, store_of
from orchestrator.cli.importing.servers import LocalServer
from tests.unit.gguf.shapes import FOOTPRINTS

WEIGHTS = "sha256:" + "a" * 64


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(ollama, "local_server", lambda: LocalServer("llama_cpp", ""))
    (tmp_path / "blobs").mkdir()
    shutil.copy(FOOTPRINTS / "qwen3-0.6b.gguf", tmp_path / "blobs" / WEIGHTS.replace(":", "-"))
    return tmp_path


def blob(store, content):
    text = content if isinstance(content, str) else json.dumps(content)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (store / "blobs" / f"sha256-{digest}").write_text(text)
    return f"sha256:{digest}"


def manifest(store, place, **layers):
    path = store / "manifests" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = [
        {"mediaType": f"application/vnd.ollama.image.{k}", "digest": d} for k, d in layers.items()
    ]
    path.write_text(json.dumps({"schemaVersion": 2, "layers": kinds}))


def test_models_have_their_names_and_their_parameters(store):
    parameters = {
        "num_ctx": 8192,
        "num_gpu": 20,
        "num_predict": -1,
        "use_mmap": False,
        "stop": ["</s>"],
        "temperature": 0.6,
        "top_k": 20,
        "num_batch": 256,
    }
    manifest(
        store,
        "registry.ollama.ai/library/smol/135m",
        model=WEIGHTS,
        params=blob(store, parameters),
        template=blob(store, "{{ .Prompt }}"),
        system=blob(store, "You are kind."),
    )
    manifest(store, "hf.co/org/Repo-GGUF/Q4_K_M", model=WEIGHTS)
    manifest(store, "registry.ollama.ai/library/smol/latest", model=WEIGHTS)
    draft = imported(store, {})
    made_right(draft)
    assert list(draft.models) == ["org-Repo-GGUF:Q4_K_M", "smol:135m", "smol"]
    keys = draft.models["smol:135m"].keys
    assert keys == {
        "service": "ollama-files",
        "file": str(store / "blobs" / WEIGHTS.replace(":", "-")),
        "context_size": 8192,
        "gpu_layers": 20,
        "load_mode": "none",
        "batch": 256,
        "ubatch": 256,
        "extra_args": ["--temp", "0.6", "--top-k", "20"],
    }
    said = [str(note) for note in draft.notes]
    assert "smol:135m: its template is left out: the file's own is used" in said
    assert any(note.startswith("smol:135m: its system prompt is left out") for note in said)
    assert "smol:135m: stop: left out, for requests to say" in said
    assert any("is 'hf.co/org/Repo-GGUF:Q4_K_M' there" in note for note in said)


def test_what_is_no_gguf_is_left_out_with_the_reason(store):
    manifest(store, "registry.ollama.ai/library/cloud/latest")
    manifest(store, "registry.ollama.ai/library/text/latest", model=blob(store, "no model"))
    manifest(store, "registry.ollama.ai/library/gone/latest", model="sha256:" + "b" * 64)
    (store / "manifests" / "registry.ollama.ai" / "library" / "broken").mkdir()
    (store / "manifests" / "registry.ollama.ai" / "library" / "broken" / "latest").write_text("{")
    draft = imported(store, {})
    assert not draft.models
    said = "\n".join(str(note) for note in draft.notes)
    assert "cloud: is left out: it has no weights here" in said
    assert "text: is left out: " in said
    assert "gone: is left out: " in said
    assert "holds no model" in said


def test_the_wheel_takes_no_arguments_of_its_own(store, monkeypatch):
    monkeypatch.setattr(ollama, "local_server", lambda: LocalServer("xllamacpp", ""))
    manifest(
        store, "registry.ollama.ai/library/a/b", model=WEIGHTS, params=blob(store, {"top_k": 1})
    )
    draft = imported(store, {})
    assert "extra_args" not in draft.models["a:b"].keys
    assert "a:b: top_k: left out, for requests to say" in [str(note) for note in draft.notes]


def test_the_store_is_where_it_is_said_to_be(store, tmp_path):
    manifest(store, "registry.ollama.ai/library/a/b", model=WEIGHTS)
    assert store_of(None, {"OLLAMA_MODELS": str(store)}) == store
    with pytest.raises(NotRead, match="name its folder"):
        store_of(tmp_path / "elsewhere", {})
