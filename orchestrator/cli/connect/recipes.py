"""What every client wants to be told, where it keeps it, and where that is documented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cli.connect.merging import (
    dumped_json,
    merged_env,
    merged_json,
    merged_json_list,
)
from orchestrator.cli.connect.target import Target
from orchestrator.cli.connect.toml_text import merged_toml
from orchestrator.cli.connect.yaml_text import merged_yaml

NAME = "vram-orchestrator"
TITLE = "VRAM Orchestrator"
KEY_VARIABLE = "ORCHESTRATOR_API_KEY"

IN_A_CONTAINER = (
    "If it runs in a container, 127.0.0.1 is that container. Give --url with a name or an address"
    " that leads here, such as host.docker.internal; the daemon then has to listen there"
    " (server.host) and to be called so (server.allowed_hosts)."
)
OPEN_WEBUI_KEEPS = (
    "It reads them at its first start and keeps its own then: afterwards change them under Admin"
    " Settings, Connections, or set ENABLE_PERSISTENT_CONFIG=false."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of one client. `merge` makes the new text of the file out of its old one."""

    text: str  # shown
    steps: tuple[str, ...] = ()  # what is left to do by hand
    file: Path | None = None  # None: kept where only the client itself can write
    merge: Callable[[str], str] | None = None
    needs_model: bool = False


Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKind:
    name: str
    title: str
    keeps: str  # where, in words
    source: str  # where its settings are documented
    recipe: Callable[[Target, Environ], Recipe]


def _home(environ: Environ) -> Path:
    return Path(environ.get("HOME") or "~").expanduser()


def _container_steps(target: Target) -> tuple[str, ...]:
    return (IN_A_CONTAINER,) if target.is_on_this_machine else ()


def _in_file(file: Path, merge: Callable[[str], str], **more: Any) -> Recipe:
    """Shown is what a new file would hold."""
    return Recipe(file=file, merge=merge, text=merge(""), **more)


# --- agents ----------------------------------------------------------------------------------


def claude_code(target: Target, environ: Environ) -> Recipe:
    model = target.shown_model
    settings = {
        "env": {
            "ANTHROPIC_BASE_URL": target.url,  # it puts /v1/messages behind it
            "ANTHROPIC_AUTH_TOKEN": target.shown_key,
            "ANTHROPIC_MODEL": model,
            "ANTHROPIC_DEFAULT_OPUS_MODEL": model,
            "ANTHROPIC_DEFAULT_SONNET_MODEL": model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        }
    }
    directory = environ.get("CLAUDE_CONFIG_DIR")
    folder = Path(directory) if directory else _home(environ) / ".claude"
    return _in_file(
        folder / "settings.json",
        lambda text: merged_json(text, settings),
        steps=(
            "Where ANTHROPIC_API_KEY is set, unset it: it would be sent in place of the token.",
        ),
        needs_model=True,
    )


def codex(target: Target, environ: Environ) -> Recipe:
    root = {"model": target.shown_model, "model_provider": NAME}
    provider = {
        "name": TITLE,
        "base_url": target.openai_url,
        "wire_api": "responses",  # the only one that it speaks
        "env_key": KEY_VARIABLE if target.key else None,
    }
    directory = environ.get("CODEX_HOME")
    folder = Path(directory) if directory else _home(environ) / ".codex"
    key_step = f"Export the key before it is started, as {KEY_VARIABLE}: it is not written."
    return _in_file(
        folder / "config.toml",
        lambda text: merged_toml(text, root, ("model_providers", NAME), provider),
        steps=(key_step,) if target.key else (),
        needs_model=True,
    )


def continue_(target: Target, environ: Environ) -> Recipe:
    items = [
        {
            "name": f"{model} ({TITLE})",
            "provider": "openai",
            "model": model,
            "apiBase": target.openai_url,
            "apiKey": target.shown_key,
        }
        for model in target.listed
    ]
    head = {"name": "Local", "version": "1.0.0", "schema": "v1"}
    return _in_file(
        _home(environ) / ".continue" / "config.yaml",
        lambda text: merged_yaml(text, head, "models", items, "name"),
        needs_model=True,
    )


def cline(target: Target, environ: Environ) -> Recipe:  # noqa: ARG001 - called like every recipe
    model = target.shown_model
    lines = [
        "In Cline's settings (the gear in its panel):",
        "  API Provider   OpenAI Compatible",
        f"  Base URL       {target.openai_url}",
        f"  API Key        {target.shown_key}",
        f"  Model ID       {model}",
        "Or, for its command line:",
        f"  cline auth -p openai -k {target.shown_key} -b {target.openai_url} -m {model}",
    ]
    return Recipe(text="\n".join(lines) + "\n")


# --- programs that people talk to ------------------------------------------------------------


def open_webui(target: Target, environ: Environ) -> Recipe:  # noqa: ARG001 - likewise
    settings = {
        "ENABLE_OPENAI_API": "true",
        "OPENAI_API_BASE_URL": target.openai_url,
        "OPENAI_API_KEY": target.shown_key,
        "ENABLE_OLLAMA_API": "false",  # the same models would be listed twice
    }
    if target.model is not None:
        settings["DEFAULT_MODELS"] = target.model
    return _in_file(
        Path("open-webui.env"),
        lambda text: merged_env(text, settings),
        steps=(
            "Start it with these variables: `--env-file` of docker run, `env_file` of compose.",
            OPEN_WEBUI_KEEPS,
            *_container_steps(target),
        ),
    )


def home_assistant(target: Target, environ: Environ) -> Recipe:  # noqa: ARG001 - likewise
    lines = [
        "In Home Assistant: Settings, Devices & services, Add integration, Ollama.",
        f"  URL            {target.url}",
        f"  Model          {target.shown_model}",
        "  Keep alive     300 (-1, with which the form begins, pins the model)",
        "Then choose it as the conversation agent under Settings, Voice assistants.",
        "Its OpenAI integration asks OpenAI's own address and no other.",
    ]
    return Recipe(text="\n".join(lines) + "\n", steps=_container_steps(target))


def n8n(target: Target, environ: Environ) -> Recipe:  # noqa: ARG001 - likewise
    key = target.shown_key
    items: list[dict[str, Any]] = [
        {
            "id": f"{NAME}-1",
            "name": f"{TITLE} (OpenAI)",
            "type": "openAiApi",
            "data": {"apiKey": key, "url": target.openai_url},
        },
        {
            "id": f"{NAME}-2",
            "name": f"{TITLE} (Ollama)",
            "type": "ollamaApi",
            "data": {"baseUrl": target.url} | ({"apiKey": key} if target.key else {}),
        },
    ]
    return _in_file(
        Path("n8n-credentials.json"),
        lambda text: merged_json_list(text, items, "id"),
        steps=(
            "Where n8n is: `n8n import:credentials --input=n8n-credentials.json`, then start it.",
            "One of the two is enough: for OpenAI's nodes or for Ollama's.",
            *_container_steps(target),
        ),
    )


# --- programs that others build on -----------------------------------------------------------


def langchain(target: Target, environ: Environ) -> Recipe:  # noqa: ARG001 - likewise
    arguments = {
        "base_url": target.openai_url,
        "api_key": target.shown_key,
        "model": target.shown_model,
    }
    lines = [
        "from langchain_openai import ChatOpenAI",
        "",
        "llm = ChatOpenAI(",
        *(f"    {name}={dumped_json(value).strip()}," for name, value in arguments.items()),
        ")",
    ]
    return Recipe(text="\n".join(lines) + "\n", steps=("Needs the package langchain-openai.",))


def litellm(target: Target, environ: Environ) -> Recipe:  # noqa: ARG001 - likewise
    items = [
        {
            "model_name": model,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": target.openai_url,
                "api_key": target.shown_key,
            },
        }
        for model in target.listed
    ]
    return _in_file(
        Path("litellm_config.yaml"),
        lambda text: merged_yaml(text, {}, "model_list", items, "model_name"),
        steps=(
            "Start it with `litellm --config litellm_config.yaml`.",
            "Its own callers need a key that you choose: LITELLM_MASTER_KEY.",
            *_container_steps(target),
        ),
        needs_model=True,
    )


KINDS = (
    ClientKind(
        name="open-webui",
        title="Open WebUI",
        keeps="environment variables",
        source="https://docs.openwebui.com/getting-started/env-configuration/",
        recipe=open_webui,
    ),
    ClientKind(
        name="claude-code",
        title="Claude Code",
        keeps="~/.claude/settings.json",
        source="https://code.claude.com/docs/en/env-vars",
        recipe=claude_code,
    ),
    ClientKind(
        name="codex",
        title="Codex",
        keeps="~/.codex/config.toml",
        source="https://developers.openai.com/codex/config-sample",
        recipe=codex,
    ),
    ClientKind(
        name="continue",
        title="Continue",
        keeps="~/.continue/config.yaml",
        source="https://docs.continue.dev/reference",
        recipe=continue_,
    ),
    ClientKind(
        name="cline",
        title="Cline",
        keeps="its own settings",
        source="https://docs.cline.bot/provider-config/openai-compatible",
        recipe=cline,
    ),
    ClientKind(
        name="langchain",
        title="LangChain",
        keeps="your code",
        source="https://reference.langchain.com/python/langchain-openai/chat_models/base",
        recipe=langchain,
    ),
    ClientKind(
        name="n8n",
        title="n8n",
        keeps="credentials, to be imported",
        source="https://docs.n8n.io/integrations/builtin/credentials/openai/",
        recipe=n8n,
    ),
    ClientKind(
        name="home-assistant",
        title="Home Assistant",
        keeps="its own settings",
        source="https://www.home-assistant.io/integrations/ollama/",
        recipe=home_assistant,
    ),
    ClientKind(
        name="litellm",
        title="LiteLLM",
        keeps="the file of --config",
        source="https://docs.litellm.ai/docs/providers/openai_compatible",
        recipe=litellm,
    ),
)


def found(name: str) -> ClientKind | None:
    """In any spelling: claude-code, Claude Code, claude_code."""
    plain = _plain(name)
    return next((kind for kind in KINDS if _plain(kind.name) == plain), None)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
