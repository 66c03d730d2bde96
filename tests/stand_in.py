"""A real HTTP server that answers what a test tells it to, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Asked = tuple[str, str, dict[str, str], Any]  # method, path, headers, body


@dataclass
class StandIn:
    url: str = ""
    # "GET /path" -> a body, a (status, body), or a list of them, of which the last one stays
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def bodies(self, path: str) -> list[Any]:
        return [body for _, at, _, body in self.asked if at == path]

    def next_answer(self, question: str) -> tuple[int, Any]:
        answer = self.answers.get(question, (404, {"detail": f"no {question}", "code": "none"}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        return answer if isinstance(answer, tuple) else (200, answer)


@contextmanager
def stand_in(**answers: Any) -> Iterator[StandIn]:
    """Keyword arguments are not paths: set `answers` on what this yields."""
    remembered = StandIn(answers=dict(answers))

    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path = self.path
            remembered.asked.append((self.command, path, dict(self.headers), body))
            status, said = remembered.next_answer(f"{self.command} {path}")
            text = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            if status != HTTPStatus.NO_CONTENT:
                self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if status != HTTPStatus.NO_CONTENT:
                with suppress(ConnectionError):  # who asks need not read on
                    self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - as the library calls them

        def log_message(self, *args: object) -> None:
            """Tests say what they want to say themselves."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    remembered.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield remembered
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
