"""HTTP/1.1 on a plain socket, as little as the stand-in server needs.

The standard library's servers take three times as long to import as the whole stand-in does.
"""

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

HEAD_BYTES_MAX = 64 << 10
BODY_BYTES_MAX = 64 << 20  # a chat with pictures inside, as base64
IDLE_S_MAX = 120.0  # a kept connection on which nothing comes any more
PHRASES = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class ClientGone(Exception):
    """The client has left: its answer need not be finished."""


class BadRequest(Exception):
    """The bytes that came are no request that can be answered."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps_connection(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """One client's socket. Every method raises ClientGone when the client has left."""

    def __init__(self, client: socket.socket) -> None:
        self._socket = client
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(IDLE_S_MAX)
        self._input = client.makefile("rb")
        self._bodiless = False  # what is asked with HEAD is answered without a body

    def close(self) -> None:
        self._input.close()
        self._socket.close()

    def receive(self) -> Request:
        """The next request, whole. Raise BadRequest if it is none, or too large."""
        try:
            return self._receive()
        except (OSError, ValueError) as error:
            raise ClientGone from error

    def answer(self, status: int, body: object, content_type: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self._send(
            f"HTTP/1.1 {status} {PHRASES[status]}\r\nServer: llama.cpp\r\n"
            f"Content-Type: {content_type}; charset=utf-8\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + (b"" if self._bodiless else data)
        )

    def begin_stream(self) -> None:
        self._send(
            b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    def send_event(self, event: object) -> None:
        text = event if isinstance(event, str) else json.dumps(event)
        data = f"data: {text}\n\n".encode()
        self._send(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        self._send(b"0\r\n\r\n")

    def wait(self, seconds: float) -> None:
        """Let time pass, and notice at once when the client leaves meanwhile."""
        until_s = time.monotonic() + seconds
        if seconds <= 0:
            return
        self._socket.settimeout(seconds)
        try:
            if not self._socket.recv(1, socket.MSG_PEEK):
                raise ClientGone
            # The client sends its next request already; it will find it answered in turn.
            time.sleep(max(0.0, until_s - time.monotonic()))
        except TimeoutError:
            return
        except OSError as error:
            raise ClientGone from error
        finally:
            self._socket.settimeout(IDLE_S_MAX)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ClientGone from error

    def _receive(self) -> Request:
        words = self._line(HEAD_BYTES_MAX).split(" ")
        if len(words) != 3:
            raise BadRequest("not an HTTP request")
        self._bodiless = words[0] == "HEAD"
        headers = {}
        room = HEAD_BYTES_MAX
        while line := self._line(room):
            room -= len(line)
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        else:
            body = self._exactly(_size(headers.get("content-length", "0"), 10))
        return Request(words[0], words[1].partition("?")[0], headers, body)

    def _line(self, room: int) -> str:
        line = self._input.readline(max(room, 0) + 2)
        if not line:
            raise ClientGone
        if not line.endswith(b"\n"):
            raise BadRequest("the head of the request is too long")
        return line.rstrip(b"\r\n").decode("latin-1")

    def _chunks(self) -> bytes:
        body = b""
        while size := _size(self._line(HEAD_BYTES_MAX).partition(";")[0], 16):
            if len(body) + size > BODY_BYTES_MAX:
                raise BadRequest("the body is too large")
            body += self._exactly(size)
            self._line(HEAD_BYTES_MAX)
        self._line(HEAD_BYTES_MAX)
        return body

    def _exactly(self, size: int) -> bytes:
        if size > BODY_BYTES_MAX:
            raise BadRequest("the body is too large")
        data = self._input.read(size) if size else b""
        if len(data) < size:
            raise ClientGone
        return data


def _size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError as error:
        raise BadRequest(f"{text!r} is not a length") from error
    if size < 0:
        raise BadRequest("a length cannot be negative")
    return size
