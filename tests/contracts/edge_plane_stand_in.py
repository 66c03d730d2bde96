"""In the place of the daemon, at the socket where nginx asks it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.contracts.edge_plane_parts import EdgeAlone

BEYOND = 1 << 30  # such a length is refused, and its body not read


class _DaemonAnswers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "DaemonStandIn"

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length if length < BEYOND else 0)
        self.server.heard.append((self.path, dict(self.headers), body))
        said = b'{"by": "daemon"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def address_string(self) -> str:
        return "edge"

    def log_message(self, *_: object) -> None:
        pass


class DaemonStandIn(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str) -> None:
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self._path = path
        super().__init__((path, 0), _DaemonAnswers)

    def server_bind(self) -> None:
        self.socket.bind(self._path)
        self.server_name, self.server_port = "daemon", 0

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        request, _ = super().get_request()
        return request, ("edge", 0)


@contextmanager
def daemon_at(edge: EdgeAlone) -> Iterator[DaemonStandIn]:
    """In the place of the daemon: takes all, and remembers what was asked."""
    path = edge.directory / "daemon.sock"
    path.unlink(missing_ok=True)
    server = DaemonStandIn(str(path))
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
