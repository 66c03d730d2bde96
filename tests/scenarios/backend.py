"""A model server of somebody else's, that does what a test wants and remembers what it was sent."""

import json
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE_S = 0.01


class Backend(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.heard: list[tuple[str, str, dict[str, str], bytes]] = []  # what was sent, in order
        self.cut_off = 0  # answers whose client went away in the middle
        self.deaths = 0  # so many requests more are left without an answer
        self.deadly = ""  # and so is every request below this path
        self.answers: list[bytes] = [b'{"ok": true}']  # the pieces of every answer
        self.kind = "application/json"
        self.status = 200
        self.says: list[tuple[str, str]] = [("X-Own", "kept")]  # beside the headers of its body
        self.breaks = False  # the answer ends before its time
        self.piece_s = PIECE_S  # between two pieces
        self.silent_s = 0.0  # before the first byte
        self.at_once = 0
        self.at_once_seen = 0  # the most answers that were made at the same time
        self._counting = threading.Lock()

    def service(self) -> dict[str, Any]:
        return {"engine": "llama_cpp", "runtime": "external", "url": self.url}

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._counting:
            self.at_once += 1
            self.at_once_seen = max(self.at_once, self.at_once_seen)
        try:
            yield
        finally:
            with self._counting:
                self.at_once -= 1

    def handle_error(self, *_: object) -> None:
        """Clients go away: that is what is tried here."""


class _Talk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path in ("/health", "/slots"):
            self._whole(b"[]" if self.path == "/slots" else b'{"status": "ok"}')
        else:
            self._talk()

    def do_POST(self) -> None:
        self._talk()

    def do_DELETE(self) -> None:
        self._talk()

    def do_PUT(self) -> None:
        self._talk()

    def _talk(self) -> None:
        server = self.server
        body = self._body()
        server.heard.append((self.command, self.path, dict(self.headers), body))
        if server.deaths or (server.deadly and self.path.startswith(server.deadly)):
            server.deaths = max(server.deaths - 1, 0)
            self.close_connection = True
            return
        try:
            with server.counted():
                self._pause(server.silent_s)
                self._pieces(body)
            if server.breaks:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            server.cut_off += 1
            self.close_connection = True

    def _pause(self, seconds: float) -> None:
        """Raise OSError as soon as the client has gone."""
        if seconds <= PIECE_S:
            time.sleep(seconds)
        elif select.select([self.connection], [], [], seconds)[0]:
            raise ConnectionResetError

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _pieces(self, body: bytes) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in self.server.says:
            self.send_header(name, value)
        self.end_headers()
        for piece in self.server.answers or [body]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
            if len(self.server.answers) > 1:
                self._pause(self.server.piece_s)

    def _whole(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def backend() -> Iterator[Backend]:
    server = Backend()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        with suppress(OSError):
            server.server_close()


def events(*objects: dict[str, Any]) -> list[bytes]:
    """As a stream of OpenAI's, one event a piece."""
    return [f"data: {json.dumps(one)}\n\n".encode() for one in objects]
