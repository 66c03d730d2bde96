"""Models that nobody wrote down: files that come and go while the real daemon runs."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests import parts, walks
from tests.pace import crowd
from tests.scenarios.daemon import (
    PATIENCE_S,
    POLL_S,
    ROOT,
    Daemon,
    chat,
    command,
    config,
    free_port,
)
from tests.scenarios.world import THREADS, smollm_file
from tests.standins.hub import stand_in_hub

TYPED_MAX = 3
WALK_S = 60.0  # two files of one's own chatting, from the first word that is typed
REPO = "someone/Small-GGUF"
LOCAL = {"engine": "xllamacpp", "runtime": "process"}
HOST = {"source": "host", "headroom_mb": 0, "budget_mb": 4000, "fake": []}


def names(daemon):
    return {each["id"]: each["state"] for each in daemon.http.get("/models").json()["data"]}


def until_listed(daemon, *expected):
    deadline = time.monotonic() + PATIENCE_S
    while set(names(daemon)) != set(expected):
        assert time.monotonic() < deadline, (names(daemon), daemon.log())
        time.sleep(POLL_S)


def ask(daemon, name, **more):
    body = chat(text="Capital of France?", max_tokens=8, **more) | {"model": name}
    return daemon.post("/v1/chat/completions", body)


def put(folder, name, *, old=True):
    """The small model under a name, as if it had lain there for long."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    shutil.copy(smollm_file(), path)
    if old:
        os.utime(path, (1, 1))
    return path


@pytest.fixture
def machine(tmp_path):
    """Builds daemons whose caches are in their own directory."""
    parts.require("real_model")
    made = []

    def build(models=None, **discovery):
        directory = tmp_path / f"daemon-{len(made)}"
        directory.mkdir()
        sections = {"services": {"local": LOCAL}, "devices": HOST, "discovery": discovery}
        daemon = Daemon(directory, config(models or {}, **sections))
        daemon.environment |= {
            "HOME": str(directory),
            "HF_HOME": str(directory / "hf"),
            "OLLAMA_MODELS": str(directory / "ollama"),
        }
        made.append(daemon)
        return daemon

    yield build
    for daemon in made:
        daemon.clean_up()


def test_two_files_chat_through_one_address_within_a_minute(tmp_path, record_property):
    """Installed, two things are typed: `orchestrator serve DIR`, and the chat."""
    parts.require("real_model")
    for name in ("one.gguf", "two.gguf"):
        put(tmp_path / "models", name)
    port, walk = free_port(), walks.Walk("own two GGUFs", record_property)
    walk.types("orchestrator serve models")
    environ = {
        **os.environ,  # noqa: TID251 - as from a shell
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": str(ROOT),
    }
    environ.pop("XDG_STATE_HOME", None)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "serve", "models", "--port", str(port)],
            cwd=tmp_path,
            env=environ,
            stdout=log,
            stderr=log,
        )
    http = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", timeout=WALK_S * crowd(), trust_env=False
    )
    try:
        while True:
            try:
                http.get("/health")
                break
            except httpx.TransportError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert walk.seconds < WALK_S * crowd()
                time.sleep(POLL_S)
        for name in ("one", "two"):
            walk.types(f"a chat with {name}")
            answer = http.post("/v1/chat/completions", json={"model": name} | chat(max_tokens=8))
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"] == name
        walk.ends()
        assert walk.seconds < WALK_S * crowd()
        assert len(walk.typed) <= TYPED_MAX
        assert (tmp_path / ".local" / "state" / "vram-orchestrator").is_dir()
    finally:
        with suppress(httpx.TransportError):
            for name in ("one", "two"):
                http.post("/models/unload", json={"model": name, "force": True})
        http.close()
        process.terminate()
        process.wait(PATIENCE_S)


def test_files_come_and_go_while_it_runs(machine):
    daemon = machine(folders=["./models"])
    daemon.start()
    assert names(daemon) == {}
    assert "There is no folder" in str(daemon.http.get("/health/ready").json()["reasons"])
    models = daemon.directory / "models"
    put(models, "first.gguf")
    until_listed(daemon, "first")
    with (models / "half.gguf").open("wb") as half, smollm_file().open("rb") as whole:
        shutil.copyfileobj(whole, half, 1 << 20)
        half.truncate(whole.tell() // 2)
        half.flush()
        (models / "no-model.gguf").write_text("something else")
        os.utime(models / "no-model.gguf", (1, 1))
        until_listed(daemon, "first", "no-model")
        whole.seek(half.seek(0, os.SEEK_END))
        shutil.copyfileobj(whole, half)
    until_listed(daemon, "first", "no-model", "half")
    assert names(daemon)["no-model"] == "failed"
    assert "is not a GGUF file" in daemon.refused("no-model")["detail"]
    assert ask(daemon, "half").status_code == 200
    (models / "first.gguf").unlink()
    until_listed(daemon, "no-model", "half")
    assert daemon.refused("first")["code"] == "unknown_model"
    assert "Traceback" not in daemon.log()


def test_a_model_in_use_when_its_file_goes_stays_as_long_and_who_waits_is_told(machine):
    daemon = machine(folders=["./models"])
    file = put(daemon.directory / "models", "busy.gguf")
    wanted = put(daemon.directory / "models", "wanted.gguf")
    put(daemon.directory / "models", "other.gguf")
    daemon.configure(daemon.settings | {"devices": HOST | {"budget_mb": 400}})
    daemon.start()
    daemon.load("busy", owner="somebody", lease_seconds=600)
    heard = []
    waiting = threading.Thread(target=lambda: heard.append(daemon.refused("wanted", wait=60)))
    waiting.start()
    daemon.until(lambda status: status["queue"], "it waits")
    file.unlink()
    wanted.unlink()
    until_listed(daemon, "other")
    waiting.join(PATIENCE_S)
    assert heard[0]["detail"] == f"wanted is no model any more: its file {wanted} is gone."
    assert daemon.refused("busy")["code"] == "unknown_model"
    assert daemon.talk("busy", 0.1).status_code == 200, "it serves who has it"
    daemon.unload("busy", owner="somebody")
    daemon.until_loaded()
    assert "Traceback" not in daemon.log()


def test_what_was_found_and_runs_is_adopted_and_goes_with_its_file(machine):
    daemon = machine(folders=["./models"])
    file = put(daemon.directory / "models", "a.gguf")
    daemon.start()
    daemon.load("a")
    daemon.kill()
    daemon.start()
    assert daemon.loaded() == {"a": "loaded"}
    assert daemon.load("a")["already_loaded"]
    daemon.kill()
    file.unlink()
    daemon.start()
    daemon.until_loaded()
    assert names(daemon) == {}


def test_what_the_operator_writes_goes_before_what_is_found_also_after_a_reload(machine):
    daemon = machine(folders=["./models"])
    file = put(daemon.directory / "models", "a.gguf")
    put(daemon.directory / "models", "b.gguf")
    daemon.start()
    written = {
        "mine": {"file": str(file), "context_size": 512},
        "b": {"file": str(file.with_name("b.gguf")), "context_size": 1024, "threads": THREADS},
    }
    daemon.configure(daemon.settings | {"models": written})
    assert daemon.post("/admin/reload").status_code == 200
    assert set(names(daemon)) == {"mine", "b"}
    assert daemon.http.get("/models/b").json()["context_size"] == 1024
    assert ask(daemon, "mine").status_code == 200
    file.unlink()  # of a model that is written down: it stands as it is written
    time.sleep(3)
    assert set(names(daemon)) == {"mine", "b"}
    daemon.configure(daemon.settings | {"models": {}, "discovery": {}})
    assert daemon.post("/admin/reload").status_code == 200
    assert names(daemon) == {}


def store_in_ollama(directory):
    blob, digest = directory / "blobs", "a" * 64
    put(blob, f"sha256-{digest}")
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    place = directory / "manifests" / "registry.ollama.ai" / "library" / "smol"
    place.mkdir(parents=True)
    (place / "135m").write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}))


def test_what_other_programs_have_pulled_is_found_and_a_pull_takes_its_place(machine):
    daemon = machine(hugging_face=True, ollama=True)
    with stand_in_hub(REPO, {"small.gguf": smollm_file().read_bytes()}) as hub:
        daemon.environment |= {"HF_ENDPOINT": hub.url}
        store_in_ollama(daemon.directory / "ollama")
        daemon.start()
        assert set(names(daemon)) == {"smol:135m"}
        assert ask(daemon, "smol:135m").status_code == 200
        pulled = subprocess.run(
            [sys.executable, "-m", "orchestrator", "pull", REPO],
            env=daemon.environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        until_listed(daemon, "smol:135m", "small")
        daemon.load("small")
        answer = daemon.post("/api/pull", {"model": f"hf.co/{REPO}", "stream": False})
        assert answer.status_code == 200, answer.text
        assert set(names(daemon)) == {"smol:135m", "Small"}, "the same file, as it was asked for"
        daemon.until(lambda _: "small" not in daemon.loaded(), "what was found leaves when idle")
        assert Path(pulled.stdout.strip()).exists()
        assert ask(daemon, "Small").status_code == 200


# --- words of the terminal ---------------------------------------------------------------------


def types(daemon, *words):
    """`orchestrator` with these words: the exit code and all that it said."""
    ours = {key: daemon.environment.get(key, "") for key in ("HOME", "HF_HOME", "OLLAMA_MODELS")}
    return command(daemon.directory, *words, **ours, ORCHESTRATOR_URL=daemon.url)


def test_a_file_anywhere_is_added_chats_survives_a_restart_and_is_removed(machine):
    daemon = machine()
    file = put(daemon.directory / "downloads", "Small-Q4_1.gguf")
    daemon.start()
    assert "orchestrator add FILE.gguf" in types(daemon, "list")[1]
    code, said = types(daemon, "add", "downloads/Small-Q4_1.gguf", "--as", "mine")
    assert code == 0, said
    assert "`orchestrator run mine`" in said
    assert daemon.http.get("/models/mine").json()["context_size"] == 8192, "as it was trained"
    short = {"file": str(file), "gpu_layers": 0, "max_tokens": 8}  # so small a model rambles
    assert daemon.http.put("/models/mine", json=short).status_code == 200
    code, said = types(daemon, "run", "mine", "Capital", "of", "France?")
    assert code == 0
    assert said.strip()
    assert "mine" in types(daemon, "ps")[1]
    daemon.kill()
    daemon.start()
    assert set(names(daemon)) == {"mine"}
    code, said = types(daemon, "stop", "mien")
    assert (code, "Did you mean mine?" in said) == (1, True)
    assert types(daemon, "stop", "mine")[0] == 0
    assert types(daemon, "remove", "mine")[0] == 0
    assert names(daemon) == {}
    assert (daemon.directory / "downloads" / "Small-Q4_1.gguf").exists()


def test_what_does_not_fit_is_not_added_and_what_would_is_suggested(machine):
    daemon = machine()
    file = put(daemon.directory / "downloads", "small.gguf")
    daemon.configure(daemon.settings | {"devices": HOST | {"budget_mb": 300}})
    daemon.start()
    code, said = types(daemon, "add", str(file))
    assert code == 1
    (less,) = [line for line in said.splitlines() if "--context" in line]
    assert names(daemon) == {}
    words = less.split(": orchestrator ")[1].split()
    assert types(daemon, *words)[0] == 0
    assert types(daemon, "add", str(file), "--as", "large", "--anyway")[0] == 0
    assert set(names(daemon)) == {"small", "large"}


def test_a_caller_of_the_api_cannot_name_any_file(machine):
    daemon = machine()
    file = put(daemon.directory / "downloads", "small.gguf")
    daemon.start()
    refused = daemon.http.put("/models/small", json={"file": str(file)})
    assert refused.status_code == 422
    assert "orchestrator add" in refused.text


def test_a_model_of_a_hub_is_sized_pulled_and_added(machine):
    daemon = machine(hugging_face=True)
    with stand_in_hub(REPO, {"small.gguf": smollm_file().read_bytes()}) as hub:
        daemon.environment |= {"HF_ENDPOINT": hub.url}
        daemon.start()
        code, said = types(daemon, "add", REPO)
        assert code == 0, said
        assert "Small needs 0.3 GB" in said
        assert set(names(daemon)) == {"Small"}
        assert daemon.http.get("/models/Small").json()["context_size"] == 8192
        assert ask(daemon, "Small").status_code == 200
        code, said = types(daemon, "add", "someone/Nothing-GGUF")
        assert code == 1
        assert "Check the spelling" in said
        assert set(names(daemon)) == {"Small"}


def test_without_anything_it_starts_and_says_what_to_type(tmp_path):
    daemon = Daemon(tmp_path, config({}, services={}))
    try:
        daemon.start()
        assert names(daemon) == {}
        assert "No model yet" in daemon.log()
        assert "orchestrator add ORG/REPO:Q4_K_M" in daemon.log()
        assert daemon.refused("anything")["code"] == "unknown_model"
        code, said = types(daemon, "add", "org/Some-GGUF")
        assert code == 1
        assert "service: is required" in said
    finally:
        daemon.clean_up()
