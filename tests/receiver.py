"""Someone who is told: an HTTP server that keeps what it hears, and answers as it is told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Heard:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.body)
        return said


@dataclass
class Receiver:
    url: str
    statuses: list[int] = field(default_factory=list)  # of the next answers; then 200
    heard: list[Heard] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def until(self, count: int, timeout_s: float = 120.0) -> list[Heard]:
        """So many, when they have come."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.heard) >= count, timeout_s), self.heard
            return list(self.heard)


@contextmanager
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with there.arrived:
                there.heard.append(Heard(self.path, dict(self.headers), body))
                status = there.statuses.pop(0) if there.statuses else 200
                there.arrived.notify_all()
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if status in (301, 307):
                self.send_header("Location", f"{there.url}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 512  # whoever connects at once is heard, however slow the machine

    server = Server(("127.0.0.1", 0), Handler)
    there = Receiver(f"http://127.0.0.1:{server.server_port}")
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield there
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
