"""The word `import`: the configuration on standard output, what has no counterpart beside it."""

import json
import shutil
from pathlib import Path

import yaml

from orchestrator.cli.main import main
from tests.unit.gguf.shapes import FOOTPRINTS

DATA = Path(__file__).parents[3] / "data" / "llama_swap"


def test_the_configuration_is_printed_and_what_is_missing_is_said_once(capsys):
    assert main(["import", "llama-swap", str(DATA / "windows.yaml")]) == 0
    said = capsys.readouterr()
    assert set(yaml.safe_load(said.out)["models"]) == {"Two-Words", "draws"}
    assert "Two-Words, draws: its paths are those of Windows" in said.err
    assert said.err.endswith(
        "Models: 2. `orchestrator config check FILE` says what is not right there.\n"
    )


def test_what_cannot_be_read_is_a_failure(capsys, tmp_path):
    assert main(["import", "llama-swap", str(tmp_path / "none.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert main(["import", "ollama", str(tmp_path)]) == 1
    assert "no store" in capsys.readouterr().err


def test_a_first_configuration_is_written_and_never_over_another(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    said = capsys.readouterr().out
    assert "Next: orchestrator serve --config orchestrator.yaml" in said
    assert main(["config", "check", "orchestrator.yaml"]) == 0
    before = (tmp_path / "orchestrator.yaml").read_text()
    assert main(["init"]) == 1
    assert "--force overwrites it" in capsys.readouterr().err
    (tmp_path / "models").mkdir()
    shutil.copy(FOOTPRINTS / "qwen3-0.6b.gguf", tmp_path / "models")
    with (tmp_path / "models" / "qwen3-0.6b.gguf").open("r+b") as file:
        file.truncate(2 << 30)  # as long as with its weights
    assert main(["init", "--force"]) == 0
    after = (tmp_path / "orchestrator.yaml").read_text()
    assert "qwen3-0.6b.gguf" in after
    assert after != before


def test_where_nothing_can_be_written_is_said(capsys, tmp_path):
    assert main(["init", str(tmp_path / "none" / "a.yaml")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_store_of_ollama_is_printed(capsys, tmp_path, monkeypatch):
    blob = f"sha256-{'a' * 64}"
    (tmp_path / "blobs").mkdir()
    shutil.copy(FOOTPRINTS / "qwen3-0.6b.gguf", tmp_path / "blobs" / blob)
    manifest = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "qwen3" / "0.6b"
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": blob.replace("-", ":")}
    manifest.write_text(json.dumps({"layers": [layer]}))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    assert main(["import", "ollama"]) == 0
    models = yaml.safe_load(capsys.readouterr().out)["models"]
    assert models["qwen3:0.6b"]["file"] == str(tmp_path / "blobs" / blob)
