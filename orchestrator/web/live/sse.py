"""An answer that does not end: frames to one client until it leaves, stalls or all is said."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# A client that takes nothing for so long is gone without a word, and gives its place back.
STALL_S_MAX = 60.0

log = logging.getLogger(__name__)

HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until its buffer is full
}


class EventStream(Response):
    media_type = "text/event-stream"

    def __init__(
        self, frames: AsyncGenerator[bytes, None], stall_s_max: float = STALL_S_MAX
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._frames = frames
        self._stall_s_max = stall_s_max

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send_all(send), name="send events")
        leaving = asyncio.create_task(_until_gone(receive), name="watch for the client")
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.wait({sending, leaving})
        if not sending.cancelled():
            sending.result()

    async def _send_all(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async with aclosing(self._frames) as frames:
            async for frame in frames:
                try:
                    async with asyncio.timeout(self._stall_s_max):
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
                except TimeoutError:
                    log.warning("a listener took no event for %.0f s: let go", self._stall_s_max)
                    return
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
