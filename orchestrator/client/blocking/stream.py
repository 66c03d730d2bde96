"""An answer in pieces, for a program that waits for them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self

import httpx

from orchestrator.client.answers import Generation
from orchestrator.client.blocking.transport import BlockingTransport
from orchestrator.client.connection import no_reply
from orchestrator.client.errors import NotChosen
from orchestrator.client.exchanges import Exchange, Reply, error_of
from orchestrator.client.generations import GENERATION_S, Assembly
from orchestrator.client.sse import EventBytes


class TextStream(Iterator[str]):
    """The pieces of an answer; it is asked for with the first one.

    Closed early, by `close` or at the end of a `with` block, it ends the generation at the server.
    """

    def __init__(self, transport: BlockingTransport, asking: Exchange[Reply]) -> None:
        self._transport = transport
        self._asking = asking
        self._whole: Generation | None = None
        self._pieces = self._read()

    def __next__(self) -> str:
        """Raise ClientError."""
        return next(self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._pieces.close()

    @property
    def generation(self) -> Generation:
        """The whole answer, once all pieces were read. Raise NotChosen before."""
        if self._whole is None:
            raise NotChosen("The answer has not ended yet.", "Read all of its pieces first.")
        return self._whole

    def _read(self) -> Generator[str, None, None]:
        reply = self._transport.run(self._asking)
        response = reply.stream
        assert isinstance(response, httpx.Response)
        events, assembly = EventBytes(), Assembly(reply.headers)
        try:
            for data in response.iter_bytes():
                for event in events.feed(data):
                    if piece := assembly.add(event):
                        yield piece
        except httpx.RequestError as error:
            raise error_of(no_reply(self._transport.url, error, GENERATION_S, 0)) from error
        finally:
            response.close()
        self._whole = assembly.finished()
