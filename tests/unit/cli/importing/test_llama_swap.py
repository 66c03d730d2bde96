"""llama-swap's configuration as one of ours: what becomes of its keys, and what is said of the rest."""

from pathlib import Path

import pytest
import yaml

from orchestrator.cli.importing.checking import made_right
from orchestrator.cli.importing.llama_swap import NotRead, imported, read_file
from orchestrator.config.loading import load_config

FOLDER = Path(__file__).parents[3] / "data" / "llama_swap"
FILES = sorted(FOLDER.glob("*.yaml"))


def draft_of(name, **environ):
    draft = imported(read_file(FOLDER / f"{name}.yaml"), Path("/home/op"), environ)
    made_right(draft)
    return draft


def ours(name, **environ):
    """What its models came to, and everything that was said."""
    draft = draft_of(name, **environ)
    return yaml.safe_load(draft.text()), [str(note) for note in draft.notes]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_comes_out_is_a_configuration_of_ours(path, tmp_path):
    draft = imported(read_file(path), Path("/home/op"), {"MODELS_HOME": "/srv"})
    assert draft.models
    file = tmp_path / "orchestrator.yaml"
    file.write_text(draft.text())
    assert set(load_config(file, environ={}).models) == set(draft.models)


def test_a_llama_server_becomes_a_model_with_keys_and_its_own_arguments():
    said, _ = ours("everything", MODELS_HOME="/srv")
    coder = said["models"]["org-coder-7B"]
    assert coder | {"vram_mb": 0} == {
        "service": "llama-cpp",
        "file": "/srv/gguf/coder-7B-Q4_K_M.gguf",
        "slots": 4,
        "unified_cache": False,
        "context_size": 4096,  # of each slot: the model's own macro says 16384 for all
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
        "extra_args": ["--temp", "0.2", "--top_k", "20"],
        "vram_mb": 0,
        "ttl_seconds": 60,
        "concurrency": 3,
        "aliases": ["coder", "org-small-coder", "org-coder-7B:high"],
    }
    service = said["services"]["llama-cpp"]
    assert service["allowed_roots"] == ["/srv/gguf"]
    assert service["env"] == ["GGML_CUDA_FORCE_MMQ=1"]


def test_what_moves_bytes_comes_with_a_guess_and_a_word_about_it():
    draft = draft_of("everything", MODELS_HOME="/srv")
    moe = draft.models["moe"]
    assert moe.keys["extra_args"] == ["--n-cpu-moe", "12"]
    assert 18_000 < moe.keys["vram_mb"] < 22_000
    assert "guess" in moe.comments["vram_mb"]
    assert moe.keys["priority"] == 15
    assert moe.keys["preload"] is True
    assert "ttl_seconds" not in moe.keys  # its own 0 is "never"


def test_a_port_that_is_written_out_is_ours_to_choose():
    said, notes = ours("scripts")
    small = said["models"]["small-7B"]["command"]
    assert small[:2] == ["bash", "-c"]
    assert "--port ${PORT}" in small[2]
    assert said["models"]["image"]["command"][:3] == ["sd-server", "--listen-port", "${PORT}"]
    assert said["models"]["image"]["env"] == ["SD_HOME=/srv/sd"]
    assert said["models"]["big-27B-FP8"]["command"] == ["bash", "/home/op/serve-big.sh", "${PORT}"]
    assert any(note.startswith("lab: its proxy is http://lab:${PORT}") for note in notes)


def test_other_programs_become_commands_with_their_health_and_their_use():
    said, notes = ours("everything", MODELS_HOME="/srv")
    voice = said["models"]["voice"]
    assert voice["command"][-2:] == ["--inference-path", ""]
    assert said["services"][voice["service"]]["health"] == "/v1/audio/transcriptions/"
    assert voice["pinned"] is True
    assert said["models"]["told-nothing"]["env"] == ["PORT=${PORT}"]
    assert any("is told no port" in note for note in notes)
    scripts, _ = ours("scripts")
    assert scripts["services"][scripts["models"]["small-7B"]["service"]]["metrics"] == "/metrics"


def test_containers_of_llama_cpp_are_made_by_us_and_others_stay_commands():
    said, notes = ours("everything", MODELS_HOME="/srv")
    boxed = said["models"]["in-a-container"]
    assert boxed["file"] == "/srv/models/boxed-1B-Q8_0.gguf"
    service = said["services"][boxed["service"]]
    assert (service["runtime"], service["binary"]) == ("docker", "/app/llama-server")
    assert service["models_dir"] == "/srv/models"
    said, notes = ours("containers")
    assert said["models"]["embed"]["command"][0] == "docker"
    assert "embed-${PORT}" in said["models"]["embed"]["command"]
    assert "${PORT}:${PORT}" in said["models"]["amd"]["command"]
    toolbox = said["models"]["toolbox"]
    assert (toolbox["file"], toolbox["context_size"]) == ("/opt/models/sub/a-8B-Q4_K_M.gguf", 16384)
    assert any("may outlive a kill" in note for note in notes)


def test_files_of_a_hub_are_brought_when_they_are_wanted():
    said, _ = ours("hub")
    assert said["models"]["qwen2.5"] == {
        "service": "llama-cpp",
        "file": "org/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M",
        "auto_download": True,
    }
    assert said["models"]["url"]["file"] == "org/repo:sub/a-Q4_0.gguf"
    assert said["models"]["router"]["command"][-2:] == ["--models-dir", "/srv/models"]
    assert said["models"]["default"]["command"][-1] == "--gpt-oss-20b-default"


def test_paths_of_windows_are_written_as_wsl_sees_them():
    said, notes = ours("windows")
    assert (
        said["models"]["Two-Words"]["file"]
        == "/mnt/f/models/two-words-20B-GGUF/two-words-20B-Q4_K_M.gguf"
    )
    assert said["models"]["Two-Words"]["load_mode"] == "none"
    assert said["models"]["draws"]["file"] == "/mnt/f/models/with a blank/draws-8B-Q6_K.gguf"
    assert any("those of Windows" in note for note in notes)


@pytest.mark.parametrize(
    "words",
    [
        "org-coder-7B: is 'org/coder 7B' there, which is no name here",
        "org-coder-7B: CUDA_VISIBLE_DEVICES=1 is left out",
        "org-coder-7B: LLAMA_ARG_N_PARALLEL=2 is left out",
        "org-coder-7B: name, description, metadata: nothing here is called so",
        "org-coder-7B: filters is left out",
        "moe: --api-key is left out",
        "fixed: --split-mode row is left out",
        "fixed: --tensor-split 3,1 became span: 2",
        "fixed: unlisted is left out",
        "fixed: useModelName is left out",
        "voice: cmdStop is left out",
        "told-nothing: checkEndpoint: none",
        "broken: is left out: its command holds nowhere, which is no macro",
        "preload of gone is left out",
        "group one-of is left out",
        "group always is persistent; voice: pinned",
        "matrix is left out",
        "selector any-coder became a chain",
        "selector nothing is left out",
        "peers is left out",
        "apiKeys is left out",
        "logLevel, startPort: of llama-swap's own",
    ],
)
def test_what_has_no_counterpart_is_said(words):
    _, notes = ours("everything", MODELS_HOME="/srv")
    assert any(note.startswith(words) for note in notes), "\n".join(notes)


def test_groups_that_swap_among_themselves_are_not_pinned_against_each_other():
    said, _ = ours("scripts")
    assert said["models"]["small-7B"]["priority"] == 10
    assert "pinned" not in said["models"]["small-7B"]


def test_a_variable_that_is_not_there_is_named():
    _, notes = ours("everything")
    assert any("no MODELS_HOME" in note or "env.MODELS_HOME" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [("models: [", "is no YAML"), ("a: b", "has no models"), (None, "cannot be read")],
)
def test_what_is_no_configuration_of_it_is_said(text, words, tmp_path):
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(NotRead, match=words):
        read_file(file)
