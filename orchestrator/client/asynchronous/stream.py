"""An answer in pieces, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Self

import httpx

from orchestrator.client.answers import Generation
from orchestrator.client.asynchronous.transport import AsyncTransport
from orchestrator.client.connection import no_reply
from orchestrator.client.errors import NotChosen
from orchestrator.client.exchanges import Exchange, Reply, error_of
from orchestrator.client.generations import GENERATION_S, Assembly
from orchestrator.client.sse import EventBytes


class AsyncTextStream(AsyncIterator[str]):
    """The pieces of an answer; it is asked for with the first one.

    Closed early, by `close` or at the end of an `async with` block, it ends the generation at the
    server.
    """

    def __init__(self, transport: AsyncTransport, asking: Exchange[Reply]) -> None:
        self._transport = transport
        self._asking = asking
        self._whole: Generation | None = None
        self._pieces = self._read()

    async def __anext__(self) -> str:
        """Raise ClientError."""
        return await anext(self._pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._pieces.aclose()

    @property
    def generation(self) -> Generation:
        """The whole answer, once all pieces were read. Raise NotChosen before."""
        if self._whole is None:
            raise NotChosen("The answer has not ended yet.", "Read all of its pieces first.")
        return self._whole

    async def _read(self) -> AsyncGenerator[str, None]:
        reply = await self._transport.run(self._asking)
        response = reply.stream
        assert isinstance(response, httpx.Response)
        events, assembly = EventBytes(), Assembly(reply.headers)
        try:
            async for data in response.aiter_bytes():
                for event in events.feed(data):
                    if piece := assembly.add(event):
                        yield piece
        except httpx.RequestError as error:
            raise error_of(no_reply(self._transport.url, error, GENERATION_S, 0)) from error
        finally:
            await response.aclose()
        self._whole = assembly.finished()
