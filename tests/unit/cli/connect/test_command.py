import json
import tomllib

import pytest

from orchestrator.cli.main import main
from orchestrator.web.wire import examples
from tests.stand_in import stand_in

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in (
        "CLAUDE_CONFIG_DIR",
        "CODEX_HOME",
        "ORCHESTRATOR_API_KEY",
        "ORCHESTRATOR_API_KEY_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def daemon(monkeypatch):
    with stand_in() as remembered:
        remembered.answers["GET /v1/models"] = examples.CATALOGUE
        monkeypatch.setenv("ORCHESTRATOR_URL", remembered.url)
        yield remembered


@pytest.fixture
def nobody(monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_URL", NOBODY)


def test_all_clients_are_listed(capsys):
    assert main(["connect"]) == 0
    said = capsys.readouterr().out
    for name in [
        "open-webui",
        "claude-code",
        "codex",
        "continue",
        "cline",
        "langchain",
        "n8n",
        "litellm",
    ]:
        assert name in said


def test_settings_alone_are_printed_and_what_to_do_beside(home, daemon, capsys):
    assert main(["connect", "claude-code"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["env"]["ANTHROPIC_MODEL"] == "qwen3-vl-30b"
    assert "--write puts it there" in said.err
    assert "Documented at https://" in said.err
    assert not list(home.iterdir())


def test_they_are_written_and_what_was_there_is_kept(home, daemon, capsys):
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text('approval_policy = "never" # mine\n')
    (home / "key").write_text("k\n")
    assert main(["connect", "codex", "--write", "--key-file", "key"]) == 0
    said = capsys.readouterr().out
    told = tomllib.loads(file.read_text())
    assert told["model"] == "qwen3-vl-30b"
    assert told["approval_policy"] == "never"
    (backup,) = file.parent.glob("*.bak")
    assert backup.read_text() == 'approval_policy = "never" # mine\n'
    assert backup.name in said
    assert daemon.asked[0][2]["Authorization"] == "Bearer k"
    assert main(["connect", "codex", "--write", "--key-file", "key"]) == 0
    assert "says so already" in capsys.readouterr().out


def test_a_file_that_is_none_is_left_alone(home, daemon, capsys):
    file = home / ".claude" / "settings.json"
    file.parent.mkdir()
    file.write_text("{ // mine\n}")
    assert main(["connect", "claude-code", "--write"]) == 1
    said = capsys.readouterr()
    assert "left as it is: it is not JSON" in said.err
    assert json.loads(said.out)["env"]
    assert file.read_text() == "{ // mine\n}"
    assert len(list(file.parent.iterdir())) == 1


def test_another_file_may_be_named(home, daemon):
    assert main(["connect", "litellm", "--write", "--file", "proxy/config.yaml"]) == 0
    assert (home / "proxy" / "config.yaml").exists()
    assert not (home / "litellm_config.yaml").exists()


def test_what_only_the_client_can_write_is_told(home, daemon, capsys):
    assert main(["connect", "cline", "--write"]) == 1
    said = capsys.readouterr()
    assert "Model ID" in said.out
    assert "only it can write" in said.err


def test_without_a_daemon_names_are_shown_and_not_written(home, nobody, capsys):
    assert main(["connect", "codex"]) == 0
    said = capsys.readouterr()
    assert 'model = "MODEL"' in said.out
    assert "not checked" in said.err
    assert main(["connect", "codex", "--write"]) == 1
    assert "--model" in capsys.readouterr().err
    assert main(["connect", "codex", "--write", "--model", "chat"]) == 0
    assert main(["connect", "open-webui", "--write"]) == 0
    assert "DEFAULT_MODELS" not in (home / "open-webui.env").read_text()


def test_an_address_that_is_good_elsewhere_is_written_with_names_from_here(home, daemon, capsys):
    assert main(["connect", "codex", "--url", NOBODY]) == 0
    said = capsys.readouterr()
    told = tomllib.loads(said.out)
    assert told["model_providers"]["vram-orchestrator"]["base_url"] == f"{NOBODY}/v1"
    assert told["model"] == "qwen3-vl-30b"
    assert f"those of {daemon.url}" in said.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["emacs"], 2, "open-webui"),
        (["codex", "--url", "gpu-box"], 2, "is not a URL"),
        (["codex", "--key-file", "spaced"], 2, "no spaces"),
        (["codex", "--key-file", "nowhere"], 2, "nowhere cannot be read"),
        (["codex", "--model", "qwen3-vl-30"], 1, "Similar: qwen3-vl-30b"),
    ],
)
def test_nonsense_is_told(home, daemon, capsys, words, code, said):
    (home / "spaced").write_text("a b")
    assert main(["connect", *words]) == code
    assert said in capsys.readouterr().err


def test_another_server_is_none_of_ours(home, daemon, capsys):
    daemon.answers["GET /v1/models"] = {"models": []}
    assert main(["connect", "codex"]) == 1
    assert "is not VRAM Orchestrator" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(home, daemon, capsys):
    (home / ".claude").write_text("no folder")
    assert main(["connect", "claude-code", "--write"]) == 1
    assert "cannot be written" in capsys.readouterr().err
