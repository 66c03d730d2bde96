"""What answers are written to.

The head of an answer waits for what is written behind it in the same turn of the loop: to send the
two apart is a fifth of all that a short answer costs.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def written(cycle: RequestResponseCycle, piece: bytes) -> bool:
    """Write a piece of a stream at once, as `cycle.send` would. False: it is not written, and has
    to be sent, because its client does not take more now, or is gone, or it is no stream.
    """
    if (
        not cycle.chunked_encoding
        or cycle.disconnected
        or cycle.response_complete
        or cycle.flow.write_paused
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    cycle.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    return True


class Outlet:
    """Of one connection."""

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/"):
            self._head = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Write the head that waits, unless its client has gone meanwhile."""
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
