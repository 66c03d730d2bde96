import json
import tomllib
from pathlib import Path

import pytest
import yaml

from orchestrator.cli.connect.recipes import IN_A_CONTAINER, KEY_VARIABLE, KINDS, found
from orchestrator.cli.connect.target import Target

HOME = Path("/home/op")
ENVIRON = {"HOME": str(HOME)}
LOCAL = Target(url="http://127.0.0.1:8000", key=None, model="chat", models=("chat", "code"))
REMOTE = Target(url="https://gpu.lan", key="sk-1", model="chat", models=("chat",))


def recipe(name, target=REMOTE, **environ):
    return found(name).recipe(target, ENVIRON | environ)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_client_is_told_where_and_whom_and_it_is_documented(kind):
    made = kind.recipe(REMOTE, ENVIRON)
    assert "https://gpu.lan" in made.text
    assert kind.source.startswith("https://")
    assert (made.file is None) == (made.merge is None)
    if made.merge is not None:
        assert made.merge(made.merge("")) == made.merge(""), "done twice it is as once"


@pytest.mark.parametrize("name", ["claude-code", "Claude Code", "claude_code", "CLAUDECODE"])
def test_names_may_be_spelled_otherwise(name):
    assert found(name).name == "claude-code"


def test_others_are_not_known():
    assert found("emacs") is None
    assert found("") is None


def test_claude_code_gets_the_root_and_one_model_for_all_it_calls():
    made = recipe("claude-code")
    assert made.file == HOME / ".claude" / "settings.json"
    told = json.loads(made.merge('{"model": "opus", "env": {"FOO": "1"}}'))
    assert told["model"] == "opus"
    env = told["env"]
    assert env["ANTHROPIC_BASE_URL"] == "https://gpu.lan"
    assert env["ANTHROPIC_AUTH_TOKEN"] == "sk-1"
    assert {env[f"ANTHROPIC_DEFAULT_{each}_MODEL"] for each in ("OPUS", "SONNET", "HAIKU")} == {
        "chat"
    }
    assert env["FOO"] == "1"
    moved = recipe("claude-code", CLAUDE_CONFIG_DIR="/etc/claude")
    assert moved.file == Path("/etc/claude/settings.json")


def test_codex_speaks_responses_and_reads_its_key_from_the_environment():
    made = recipe("codex")
    assert made.file == HOME / ".codex" / "config.toml"
    told = tomllib.loads(made.text)
    provider = told["model_providers"][told["model_provider"]]
    assert provider["wire_api"] == "responses"
    assert provider["env_key"] == KEY_VARIABLE
    assert "sk-1" not in made.text
    assert any(KEY_VARIABLE in step for step in made.steps)
    assert "env_key" not in recipe("codex", LOCAL).text
    assert recipe("codex", CODEX_HOME="/c").file == Path("/c/config.toml")


def test_continue_and_litellm_list_all_models():
    told = yaml.safe_load(recipe("continue", LOCAL).text)
    assert [each["model"] for each in told["models"]] == ["chat", "code"]
    assert (told["name"], told["schema"]) == ("Local", "v1")
    told = yaml.safe_load(recipe("litellm", LOCAL).text)
    assert [each["model_name"] for each in told["model_list"]] == ["chat", "code"]
    assert told["model_list"][0]["litellm_params"] == {
        "model": "openai/chat", "api_base": "http://127.0.0.1:8000/v1", "api_key": "none",
    }  # fmt: skip


def test_open_webui_gets_variables():
    told = dict(line.split("=", 1) for line in recipe("open-webui").text.splitlines())
    assert told["OPENAI_API_BASE_URL"] == "https://gpu.lan/v1"
    assert told["OPENAI_API_KEY"] == "sk-1"
    assert told["DEFAULT_MODELS"] == "chat"
    nobody = Target(url="https://gpu.lan", key=None, model=None)
    assert "DEFAULT_MODELS" not in recipe("open-webui", nobody).text


def test_n8n_gets_credentials_of_both_kinds():
    openai, ollama = json.loads(recipe("n8n").text)
    assert (openai["type"], openai["data"]["url"]) == ("openAiApi", "https://gpu.lan/v1")
    assert (ollama["type"], ollama["data"]["baseUrl"]) == ("ollamaApi", "https://gpu.lan")
    assert "apiKey" not in json.loads(recipe("n8n", LOCAL).text)[1]["data"]


def test_langchain_gets_code():
    text = recipe("langchain").text
    compile(text, "langchain", "exec")
    assert 'model="chat"' in text


def test_what_runs_in_containers_is_told_that_this_machine_is_another_one_there():
    for name in ("open-webui", "n8n", "home-assistant", "litellm"):
        assert IN_A_CONTAINER in recipe(name, LOCAL).steps
        assert IN_A_CONTAINER not in recipe(name).steps
