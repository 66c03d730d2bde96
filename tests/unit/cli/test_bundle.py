"""What goes to whoever is to help, and what never does."""

import io
import json
import stat
import tarfile

import pytest

from orchestrator.cli.bundle import Redaction, bundled, write_bundle
from orchestrator.cli.client import Remote
from orchestrator.config.loading import load_config
from tests.stand_in import stand_in

NOBODY = Remote("http://127.0.0.1:9")
CONFIG = """
webhooks: {urls: ["https://who:canary-in-url@chat.lan/hook"]}
services:
  programs:
    engine: command
    env: [HF_TOKEN=canary-of-env, "MY_API_KEY=canary of two words", PLAIN=shown]
models:
  a:
    service: programs
    command: serve --api-key canary-of-argument --port ${PORT} --max-tokens 512
    vram_mb: 100
  b:
    service: programs
    command: [serve, --hf-token, canary-in-list, --port, "${PORT}"]
    vram_mb: 100
"""
LOG = (
    "loaded with canary-of-argument\n"
    "Authorization: Bearer canary-bearer-abc\n"
    "downloading with hf_canaryabcdefgh\n"
    "n_predict = 512, max_tokens: 512\n"
)


@pytest.fixture
def there(tmp_path):
    config = tmp_path / "orchestrator.yaml"
    config.write_text(CONFIG)
    logs = tmp_path / "state" / "logs"
    logs.mkdir(parents=True)
    (logs / "a-1.log").write_text(LOG)
    return tmp_path


def members(path):
    with tarfile.open(path) as archive:
        return {
            one.name.removeprefix("orchestrator-bundle/"): io.TextIOWrapper(
                archive.extractfile(one), "utf-8"
            ).read()
            for one in archive.getmembers()
        }


def written(there, remote=NOBODY, **environ):
    file = there / "bundle.tar.gz"
    write_bundle(
        file,
        config=there / "orchestrator.yaml",
        state_dir=there / "state",
        findings="[]",
        remote=remote,
        environ=environ,
    )
    return file


def test_no_secret_gets_into_the_archive(there):
    """Neither where it is named, nor wherever else its value turns up."""
    with stand_in() as daemon:
        text = "a failed with canary-of-env and canary-of-shell"
        daemon.answers["GET /events?limit=500"] = {"events": [{"text": text}]}
        file = written(there, Remote(daemon.url), ORCHESTRATOR_API_KEY="canary-of-shell")
    held = members(file)
    assert "events.json" in held
    for name, text in held.items():
        assert "canary" not in text, name
        assert "two words" not in text, name
    assert "PLAIN=shown" in held["orchestrator.yaml"]
    assert "--max-tokens 512" in held["orchestrator.yaml"]
    assert "max_tokens: 512" in held["logs/a-1.log"]


def test_the_archive_holds_what_helps(there):
    with stand_in() as daemon:
        daemon.answers["GET /models/status"] = {"total_mb": 32768}
        file = written(there, Remote(daemon.url))
    held = members(file)
    assert json.loads(held["status.json"]) == {"total_mb": 32768}
    assert "vram-orchestrator" in held["versions.txt"]
    assert {"findings.json", "orchestrator.yaml", "logs/a-1.log", "events.json"} <= held.keys()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_daemon_the_rest_is_there(there):
    held = members(written(there))
    assert "No daemon answers" in held["daemon.txt"] or held["daemon.txt"]
    assert "logs/a-1.log" in held


def test_what_is_there_already_is_not_written_over(there):
    file = there / "bundle.tar.gz"
    file.write_text("something else")
    plain = there / "plain.yaml"
    plain.write_text("devices: {source: host}\n")
    config = load_config(plain, environ={})
    assert "was not written" in bundled(file, config, "[]", {})
    assert file.read_text() == "something else"
    said = bundled(there / "new.tar.gz", config, "[]", {"ORCHESTRATOR_URL": NOBODY.url})
    assert "may hold prompts" in said


@pytest.mark.parametrize("text", ["max_tokens: 512", "tokens = 7", "cache_type_k: q8_0", "key: a"])
def test_what_is_no_secret_stays(text):
    assert Redaction({}, ()).of(text) == text
