"""A model server of somebody else's whose answers are bent: no HTTP, too short, of a wrong length.

What keeps it in the catalogue, `/health` and `/slots`, it answers as it should.
"""

import random
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from fuzzing.gateway_bodies import BENT
from fuzzing.mutations import mutate

SILENCE_S = 5.0  # a kept connection on which nothing is asked
HEARD_MAX = 100
PAUSE = b"<pause>"  # in an answer
PAUSE_S = 0.05
HEAD_BYTES_MAX = 1 << 20
_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_SAID = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}\n\n'
ANSWERS = (
    _JSON + b'Content-Length: 24\r\n\r\n{"id":"resp_1","x":1e99}',
    _JSON + b'Content-Length: 9\r\n\r\n{"x":[1]}',
    _JSON + b"Content-Length: 100\r\n\r\n{}",
    _JSON + b"\r\n{}",
    _JSON + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    _JSON + b"X-Odd: \xff\x01\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
    _JSON + b"X-Long: " + b"y" * 20_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    _STREAM + (b"%x\r\n%b\r\n" % (len(_SAID), _SAID)) * 3 + b"c\r\ndata: [DONE]\r\n0\r\n\r\n",
    _STREAM + (b"%x\r\n%b\r\n" % (len(_SAID), _SAID)) + b"zz\r\n",
    _STREAM + b"ffffff\r\n" + b"data: \xff\xfe\n" * 5000,
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi",
    b"HTTP/1.1 100 Continue\r\n\r\n" + _JSON + b"Content-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 400 Bad Request\r\nContent-Length: 20\r\n\r\n{"error":{"code":7}}',
    b"HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.0 200 OK\r\n\r\nto its end",
    b"\x00" * 100,
    b"",
)


class BentServer:
    def __init__(self, seed: int) -> None:
        self.answers: Sequence[bytes] = ANSWERS
        self.bends = 0.5  # so many of them, by chance
        self.heard: deque[bytes] = deque(maxlen=HEARD_MAX)  # heads, but for what keeps it here
        self._draw = random.Random(f"{seed}-answers")
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def service(self) -> dict[str, Any]:
        return {"engine": "llama_cpp", "runtime": "external", "url": self.url}

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed: the test is over
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # its caller may go at any moment
            client.settimeout(SILENCE_S)
            while (head := _head_of(client)) is not None:
                if head.startswith((b"GET /health ", b"GET /slots ")):
                    body = b"[]" if b"/slots" in head[:12] else b"{}"
                    client.sendall(_JSON + b"Content-Length: 2\r\n\r\n" + body)
                    continue
                self.heard.append(head)
                answer = self._draw.choice(self.answers)
                if self._draw.random() < self.bends:
                    answer = mutate(answer, BENT, self._draw)
                half = self._draw.randint(0, len(answer))
                for piece in (answer[:half] + PAUSE + answer[half:]).split(PAUSE):
                    client.sendall(piece)
                    time.sleep(self._draw.choice((0, 0, 0.02, 0.3)) if self.bends else PAUSE_S)
                if self._draw.random() < 0.7:
                    return


def _head_of(client: socket.socket) -> bytes | None:
    """What has come up to the end of a head, and perhaps of a body; None if it is over."""
    heard = b""
    while b"\r\n\r\n" not in heard and len(heard) < HEAD_BYTES_MAX:
        piece = client.recv(65536)
        if not piece:
            return None
        heard += piece
    return heard


@contextmanager
def bent_server(seed: int) -> Iterator[BentServer]:
    server = BentServer(seed)
    try:
        yield server
    finally:
        server.close()
