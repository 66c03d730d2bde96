"""A server that answers prompts and is asked directly: llama.cpp, vLLM or Ollama."""

from __future__ import annotations

import os

import httpx

from orchestrator.client.answers import KnownModel
from orchestrator.client.blocking.prompts import Prompts
from orchestrator.client.blocking.transport import BlockingTransport
from orchestrator.client.exchanges import Exchange, Retries
from orchestrator.client.generations import Speaker
from orchestrator.client.hardware import hardware_found
from orchestrator.client.operations import is_healthy
from orchestrator.client.providers import (
    KINDS,
    ProviderName,
    chosen_provider,
    list_models,
    server_url,
    speaker_of,
)


class ModelServer(Prompts):
    """A Provider. `model` is who is meant where a request names none."""

    def __init__(
        self,
        name: ProviderName,
        url: str | None = None,
        *,
        api_key: str | None = None,
        model: str | None = None,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        """Raise NotChosen where the URL, or that of the environment, is none."""
        environ = os.environ  # noqa: TID251 - what users of a library set
        self.name = name
        self.model = model
        transport = BlockingTransport(server_url(name, url, environ), api_key, http)
        super().__init__(transport, retries or Retries(), self._speaker)

    def models(self) -> tuple[KnownModel, ...]:
        """Raise ClientError."""
        return self._transport.run(list_models(KINDS[self.name], self._retries))

    def health(self) -> bool:
        """Whether it answers and says that it can."""
        return self._transport.run(is_healthy(KINDS[self.name].health_path))

    def _speaker(self, model: str | None) -> Exchange[Speaker]:
        return speaker_of(KINDS[self.name], model or self.model, self._retries)


def provider(
    name: ProviderName | None = None,
    url: str | None = None,
    *,
    api_key: str | None = None,
    model: str | None = None,
) -> ModelServer:
    """The server that is meant: as LLM_PROVIDER says, else by the hardware found.

    Raise NotChosen.
    """
    environ = os.environ  # noqa: TID251 - what users of a library set
    chosen = name or chosen_provider(environ, hardware_found)
    return ModelServer(chosen, url, api_key=api_key, model=model)
