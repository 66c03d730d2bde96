"""What is said to models, by a Client and by a ModelServer."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

from orchestrator.client.answers import Generation
from orchestrator.client.blocking.stream import TextStream
from orchestrator.client.blocking.transport import BlockingTransport
from orchestrator.client.exchanges import Retries
from orchestrator.client.generations import (
    GenerateSettings,
    Message,
    Naming,
    generating,
    prompt_messages,
    streaming,
)


class Prompts:
    """Prompts and chats; a context manager that closes its connections."""

    def __init__(self, transport: BlockingTransport, retries: Retries, naming: Naming) -> None:
        self._transport = transport
        self._retries = retries
        self._naming = naming

    @property
    def url(self) -> str:
        return self._transport.url

    def generate(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> Generation:
        """What a model says to one prompt. Raise ClientError."""
        return self.chat(prompt_messages(prompt, system), model=model, **settings)

    def generate_stream(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> TextStream:
        """The same in pieces, as they come. Reading it raises ClientError."""
        return self.chat_stream(prompt_messages(prompt, system), model=model, **settings)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> Generation:
        """What a model says to a conversation. Raise ClientError."""
        naming = self._naming(model)
        return self._transport.run(generating(messages, naming, settings, self._retries))

    def chat_stream(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> TextStream:
        """The same in pieces, as they come. Reading it raises ClientError."""
        asking = streaming(messages, self._naming(model), settings, self._retries)
        return TextStream(self._transport, asking)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
