"""What is said to models, by an AsyncClient and by an AsyncModelServer."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

from orchestrator.client.answers import Generation
from orchestrator.client.asynchronous.stream import AsyncTextStream
from orchestrator.client.asynchronous.transport import AsyncTransport
from orchestrator.client.exchanges import Retries
from orchestrator.client.generations import (
    GenerateSettings,
    Message,
    Naming,
    generating,
    prompt_messages,
    streaming,
)


class AsyncPrompts:
    """Prompts and chats; an async context manager that closes its connections."""

    def __init__(self, transport: AsyncTransport, retries: Retries, naming: Naming) -> None:
        self._transport = transport
        self._retries = retries
        self._naming = naming

    @property
    def url(self) -> str:
        return self._transport.url

    async def generate(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> Generation:
        """What a model says to one prompt. Raise ClientError."""
        return await self.chat(prompt_messages(prompt, system), model=model, **settings)

    def generate_stream(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> AsyncTextStream:
        """The same in pieces, as they come. Reading it raises ClientError."""
        return self.chat_stream(prompt_messages(prompt, system), model=model, **settings)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> Generation:
        """What a model says to a conversation. Raise ClientError."""
        naming = self._naming(model)
        return await self._transport.run(generating(messages, naming, settings, self._retries))

    def chat_stream(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        **settings: Unpack[GenerateSettings],
    ) -> AsyncTextStream:
        """The same in pieces, as they come. Reading it raises ClientError."""
        asking = streaming(messages, self._naming(model), settings, self._retries)
        return AsyncTextStream(self._transport, asking)

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
