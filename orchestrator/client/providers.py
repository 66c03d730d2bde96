"""One interface for servers that answer prompts, and which of them is meant.

All of them speak OpenAI's chat; they differ in where they listen, what says that they are well,
and what their models are called.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Unpack

from orchestrator.client.answers import Generation, KnownModel
from orchestrator.client.environment import checked_url
from orchestrator.client.errors import NotChosen
from orchestrator.client.exchanges import Ask, Exchange, Json, Retries, answered, understood
from orchestrator.client.generations import GenerateSettings, Speaker
from orchestrator.client.hardware import Hardware

PROVIDER = "LLM_PROVIDER"


class ProviderName(StrEnum):
    """A kind of server that answers prompts."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vllm"
    OLLAMA = "ollama"


class Provider(Protocol):
    """Answers prompts. `Client` is one as well."""

    def generate(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> Generation:
        """Raise ClientError."""
        ...

    def generate_stream(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> Iterator[str]:
        """Pieces of the answer as they come. Raise ClientError, also in the middle."""
        ...

    def models(self) -> tuple[KnownModel, ...]:
        """Raise ClientError."""
        ...

    def health(self) -> bool:
        """Whether it answers and says that it can."""
        ...


class AsyncProvider(Protocol):
    """The same for asyncio. `AsyncClient` is one as well."""

    async def generate(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> Generation:
        """Raise ClientError."""
        ...

    def generate_stream(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> AsyncIterator[str]:
        """Pieces of the answer as they come. Raise ClientError, also in the middle."""
        ...

    async def models(self) -> tuple[KnownModel, ...]:
        """Raise ClientError."""
        ...

    async def health(self) -> bool:
        """Whether it answers and says that it can."""
        ...


# --- which one -------------------------------------------------------------------------------

_SPELLINGS = {
    "llamacpp": ProviderName.LLAMA_CPP,
    "vllm": ProviderName.VLLM,
    "ollama": ProviderName.OLLAMA,
}


def chosen_provider(environ: Mapping[str, str], hardware: Callable[[], Hardware]) -> ProviderName:
    """As LLM_PROVIDER says, else llama.cpp where a GPU or a Jetson computes, else Ollama.

    Raise NotChosen where LLM_PROVIDER names none.
    """
    if said := environ.get(PROVIDER, "").strip():
        return named_provider(said)
    return ProviderName.LLAMA_CPP if hardware().has_gpu else ProviderName.OLLAMA


def named_provider(name: str) -> ProviderName:
    """In any spelling: llama.cpp, llama-cpp, LLAMA_CPP. Raise NotChosen."""
    found = _SPELLINGS.get("".join(c for c in name.lower() if c.isalnum()))
    if found is None:
        known = ", ".join(ProviderName)
        raise NotChosen(f"There is no provider {name!r}.", f"{PROVIDER} may be one of: {known}.")
    return found


# --- how they differ -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKind:
    url_variable: str
    url_default: str
    health_path: str
    models_path: str
    read_models: Callable[[Json], tuple[KnownModel, ...]]
    needs_model: bool  # a request must name one


def _openai_models(body: Json) -> tuple[KnownModel, ...]:
    return tuple(
        KnownModel(
            name=entry["id"],
            state="loaded",
            aliases=tuple(entry.get("aliases") or ()),
            context_size=(entry.get("meta") or {}).get("n_ctx") or entry.get("max_model_len"),
            raw=entry,
        )
        for entry in body["data"]
    )


def _ollama_models(body: Json) -> tuple[KnownModel, ...]:
    """What was pulled: `/api/tags` does not say which of them are loaded."""
    return tuple(
        KnownModel(name=entry["name"], state="available", raw=entry) for entry in body["models"]
    )


KINDS: Mapping[ProviderName, ServerKind] = {
    ProviderName.LLAMA_CPP: ServerKind(
        url_variable="LLAMA_SERVER_URL",
        url_default="http://127.0.0.1:8080",
        health_path="/health",
        models_path="/v1/models",
        read_models=_openai_models,
        needs_model=False,
    ),
    ProviderName.VLLM: ServerKind(
        url_variable="VLLM_URL",
        url_default="http://127.0.0.1:8000",
        health_path="/health",
        models_path="/v1/models",
        read_models=_openai_models,
        needs_model=True,
    ),
    ProviderName.OLLAMA: ServerKind(
        url_variable="OLLAMA_HOST",
        url_default="http://127.0.0.1:11434",
        health_path="/api/version",
        models_path="/api/tags",
        read_models=_ollama_models,
        needs_model=True,
    ),
}
OLLAMA_PORT = 11434


def server_url(name: ProviderName, url: str | None, environ: Mapping[str, str]) -> str:
    """Raise NotChosen."""
    kind = KINDS[name]
    said = url or environ.get(kind.url_variable, "").strip() or kind.url_default
    return checked_url(_ollama_url(said) if name is ProviderName.OLLAMA else said)


def _ollama_url(host: str) -> str:
    """OLLAMA_HOST as Ollama takes it: `0.0.0.0`, `gpu-box:11434` or a URL."""
    scheme, parted, rest = host.rpartition("://")
    name, _, port = rest.rpartition(":") if rest.rpartition(":")[2].isdecimal() else (rest, "", "")
    shown = "127.0.0.1" if name in ("", "0.0.0.0") else name  # noqa: S104 - it listens there
    if not parted:
        return f"http://{shown}:{port or OLLAMA_PORT}"
    return f"{scheme}://{shown}:{port}" if port else f"{scheme}://{shown}"


# --- questions -------------------------------------------------------------------------------


def list_models(kind: ServerKind, retries: Retries) -> Exchange[tuple[KnownModel, ...]]:
    ask = Ask(method="GET", path=kind.models_path)
    return understood((yield from answered(ask, retries)), kind.read_models)


def speaker_of(kind: ServerKind, model: str | None, retries: Retries) -> Exchange[Speaker]:
    """The model that was said, or the first that the server has, where it wants one named."""
    if model is None and kind.needs_model:
        known = yield from list_models(kind, retries)
        if not known:
            raise NotChosen("The server has no model.", "Pull or load one first.")
        model = known[0].name
    return Speaker(model=model)
