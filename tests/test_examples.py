"""What users copy: every example is loaded by the command that loads it, or run against the daemon."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.cli.main import main
from tests import parts
from tests.scenarios.daemon import Daemon, running
from tests.unit.gguf.gguf_files import Value, write_model
from tests.unit.gguf.shapes import FOOTPRINTS

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
CONFIGURATIONS = sorted(EXAMPLES.glob("*.yaml"))
RUN_S = 60.0
PROJECTOR: dict[str, Value] = {
    "general.architecture": "clip",
    "clip.vision.image_size": 224,
    "clip.vision.patch_size": 14,
    "clip.vision.embedding_length": 64,
    "clip.vision.feed_forward_length": 128,
    "clip.vision.attention.head_count": 4,
}


def test_every_example_is_known_here_and_in_its_index() -> None:
    files = {
        path for path in EXAMPLES.rglob("*") if path.is_file() and path.parent.name != "__pycache__"
    }
    engine = {EXAMPLES / "engine" / "pyproject.toml", EXAMPLES / "engine" / "file_server_engine.py"}
    programs = {EXAMPLES / "curl.sh", EXAMPLES / "python" / "load_and_chat.py"}
    tested = {*CONFIGURATIONS, *programs, *engine}
    index = EXAMPLES / "README.md"
    assert files == tested | {index}
    missing = [
        path for path in tested if f"({path.relative_to(EXAMPLES)})" not in index.read_text()
    ]
    assert not missing


# --- configurations --------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def have_files(path: Path, home: Path) -> str:
    """The example with the files that it names under a home that has them; small, but real."""
    text = path.read_text().replace("/mnt/models", str(home / "mnt"))
    document = yaml.safe_load(text)
    for entry in document["models"].values():
        service = document["services"][entry["service"]]
        folder = service.get("models_dir", "").replace("~", str(home))
        for key in ("file", "mmproj"):
            if folder and key in entry:
                file = Path(folder) / entry[key]
                file.parent.mkdir(parents=True, exist_ok=True)
                if key == "mmproj":
                    write_model(file, PROJECTOR)
                else:
                    shutil.copy(FOOTPRINTS / "qwen3-0.6b.gguf", file)
    return text


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configuration_is_right(path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = home / path.name
    copy.write_text(have_files(path, home))
    assert main(["config", "check", str(copy)]) == 0, capsys.readouterr().err


# --- clients ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The rehearsal's own configuration, as a user would start it."""
    settings = yaml.safe_load((EXAMPLES / "rehearsal.yaml").read_text())
    settings["state_dir"] = "./state"
    with running(tmp_path_factory.mktemp("rehearsal"), settings) as started:
        yield started


def run(daemon: Daemon, *words: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ORCHESTRATOR_URL": daemon.url}  # noqa: TID251 - as from a shell
    return subprocess.run(
        [str(word) for word in words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def no_holds(daemon: Daemon) -> bool:
    return daemon.http.get("/leases").json()["leases"] == []


def test_python_loads_chats_and_gives_back(daemon: Daemon) -> None:
    done = run(daemon, sys.executable, EXAMPLES / "python" / "load_and_chat.py", "chat", "Why me?")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Why me?" in done.stdout
    assert no_holds(daemon)


def test_python_is_told_why_not(daemon: Daemon) -> None:
    program = EXAMPLES / "python" / "load_and_chat.py"
    for model, code in (("too-large", "does_not_fit"), ("broken", "load_failed")):
        done = run(daemon, sys.executable, program, model, "Why me?")
        assert done.returncode == 1
        assert done.stderr.startswith(f"{code}: ")


def test_curl_loads_chats_and_gives_back(daemon: Daemon) -> None:
    parts.require("curl")
    done = run(daemon, EXAMPLES / "curl.sh", "chat", 'Say "why"\\ twice')
    assert (done.returncode, done.stderr) == (0, "")
    assert 'Say \\"why\\"\\\\ twice' in done.stdout
    assert no_holds(daemon)


def test_curl_is_told_why_not(daemon: Daemon) -> None:
    parts.require("curl")
    done = run(daemon, EXAMPLES / "curl.sh", "nobody")
    assert done.returncode == 1
    assert '"code":"unknown_model"' in done.stderr
