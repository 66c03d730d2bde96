import json

import pytest

from orchestrator.cli.main import main
from orchestrator.web.wire import key_shapes
from tests.stand_in import stand_in
from tests.unit.access.keys.stored import read_once
from tests.unit.gguf.shapes import FOOTPRINTS


@pytest.fixture
def file(tmp_path, monkeypatch):
    for name in ("ORCHESTRATOR_API_KEY", "ORCHESTRATOR_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "orchestrator.yaml"
    path.write_text("state_dir: ./state\n")
    return path


@pytest.fixture
def daemon(monkeypatch):
    with stand_in() as remembered:
        monkeypatch.setenv("ORCHESTRATOR_URL", remembered.url)
        yield remembered


def beside(file, capsys, *words, code=0):
    assert main(["keys", *words, "--config", str(file), "--json"]) == code
    said = capsys.readouterr().out
    return json.loads(said) if said else None


def test_key_is_made_listed_rotated_and_revoked_without_a_daemon(file, capsys, tmp_path):
    words = ["--scope", "load", "--scope", "lease", "--model", "qwen*", "--max-priority", "5"]
    words += ["--requests-per-minute", "30", "--vram-mb", "1000", "--expires", "90d"]
    made = beside(file, capsys, "create", "n8n", *words)
    assert made["scopes"] == ["load", "lease"]
    assert made["models"] == ["qwen*"]
    assert made["limits"]["vram_mb"] == 1000
    secret = made["key"].encode()
    assert read_once(tmp_path / "state").shown(secret).key.id == made["id"]
    assert beside(file, capsys, "list")["keys"][0]["id"] == made["id"]
    rotated = beside(file, capsys, "rotate", made["id"], "--grace", "24h")
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    assert read_once(tmp_path / "state").shown(secret).ends_s is not None
    assert beside(file, capsys, "revoke", made["id"]) == {"revoked": [made["id"]]}
    beside(file, capsys, "revoke", made["id"], code=1)


def test_models_may_leave_their_size_to_their_files(file, capsys):
    local = f"{{engine: xllamacpp, runtime: process, models_dir: {FOOTPRINTS}}}"
    said = f"services:\n  local: {local}\nmodels:\n  a: {{service: local, file: qwen3-0.6b.gguf}}\n"
    file.write_text(file.read_text() + said)
    assert beside(file, capsys, "create", "first", "--scope", "admin")["name"] == "first"


def test_key_stands_alone_on_its_line(file, capsys):
    assert main(["keys", "create", "ci", "--scope", "use", "--config", str(file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("vo_")
    assert "shown once" in said[1]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["create", "n8n", "--scope", "use", "--expires", "soon"], "expires"),
        (["create", "n\n", "--scope", "use"], "name"),
        (["create", "n8n", "--scope", "use", "--model", "a?"], "models"),
        (["create", "n8n", "--scope", "use", "--network", "here"], "networks"),
        (["rotate", "nothing1", "--grace", "soon"], "--grace"),
    ],
)
def test_mistake_is_named_and_nothing_is_made(file, capsys, words, named):
    assert main(["keys", *words, "--config", str(file)]) == 2
    assert named in capsys.readouterr().err
    assert main(["keys", "list", "--config", str(file)]) == 0
    assert "There are no keys" in capsys.readouterr().out


def test_file_that_cannot_be_used_is_told(file, capsys, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "keys.sqlite").write_text("damaged" * 1000)
    assert main(["keys", "create", "ci", "--scope", "use", "--config", str(file)]) == 1
    assert "cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "question", "body"),
    [
        (["create", "ci", "--scope", "use"], "POST /keys", key_shapes.MADE),
        (["list"], "GET /keys", key_shapes.KEYS),
        (["rotate", "k1", "--grace", "1h"], "POST /keys/k1/rotate", key_shapes.MADE),
        (["revoke", "k1"], "DELETE /keys/k1", key_shapes.REVOKED),
    ],
)
def test_without_a_configuration_the_daemon_is_asked(daemon, capsys, words, question, body):
    daemon.answers[question] = body
    assert main(["keys", *words]) == 0
    assert capsys.readouterr().out.strip()
    assert main(["keys", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == body


def test_wish_is_sent_as_it_was_typed(daemon):
    daemon.answers["POST /keys"] = key_shapes.MADE
    assert main(["keys", "create", "ci", "--scope", "use", "--network", "192.0.2.0/24"]) == 0
    wish = {"name": "ci", "scopes": ["use"], "networks": ["192.0.2.0/24"]}
    assert daemon.asked[0][3] == wish
