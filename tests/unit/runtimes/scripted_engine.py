"""A Docker Engine of a few calls on a Unix socket, for what a healthy engine never does.

It keeps one container. The real engine is used wherever it can be made to show the behaviour.
"""

import json
import re
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

CONTAINER = "c" * 64


@dataclass
class ScriptedEngine:
    """What is asked of it (`calls`), what it says, and which defects it has."""

    url: str = ""
    ignores_gpus: bool = False
    ignores_stop: bool = False
    ignores_kill: bool = False
    keeps: bool = False  # what it was told to remove
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)  # "POST stop" → answer
    calls: list[str] = field(default_factory=list)
    created: dict[str, Any] | None = None
    network: dict[str, Any] | None = None  # the only one that can be made
    unpacked: bytes = b""
    forgotten: list[str] = field(default_factory=list)  # by whoever is told what is gone
    name: str = ""
    running: bool = False

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        verb = re.sub(r"^/v[\d.]+/(containers/)?(c{64}/?)?", "", path).partition("?")[0]
        call = f"{method} {verb}".strip()
        self.calls.append(call)
        if call in self.refuses:
            status, text = self.refuses[call]
            return status, {"message": text}
        match call:
            case "GET /version":
                return 200, {"ApiVersion": "1.41"}
            case "POST create":
                self.created = json.loads(body)
                self.name = path.partition("name=")[2]
                return 201, {"Id": CONTAINER}
            case "GET json" if CONTAINER in path:
                return (200, self._inspection()) if self.created else (404, {"message": "none"})
            case "GET json":
                return 200, self._list()
            case "POST networks/create":
                gateway = {"Config": [{"Gateway": "127.0.0.1"}]}
                self.network = json.loads(body) | {"IPAM": gateway}
                return 201, {"Id": "n"}
            case _ if call.startswith("GET networks/"):
                return (200, self.network) if self.network else (404, {"message": "none"})
            case "PUT archive":
                self.unpacked = body
                return 200, None
            case "POST start":
                self.running = True
            case "POST stop":
                self.running = self.running and self.ignores_stop
            case "POST kill":
                self.running = self.running and self.ignores_kill
            case "DELETE":
                self.created = self.created if self.keeps else None
            case _:
                return 404, {"message": f"no script for {call}"}
        return 204, None

    def _list(self) -> list[dict[str, Any]]:
        if self.created is None:
            return []
        mode = self.created["HostConfig"]["NetworkMode"] if "HostConfig" in self.created else ""
        state = "running" if self.running else "exited"
        return [{"Id": CONTAINER, "State": state, "HostConfig": {"NetworkMode": mode}}]

    def _inspection(self) -> dict[str, Any]:
        assert self.created is not None
        host = dict(self.created["HostConfig"])
        if self.ignores_gpus:
            host["DeviceRequests"] = None
        return {
            "Id": CONTAINER,
            "Name": f"/{self.name}",
            "State": {"Running": self.running, "ExitCode": 0, "Pid": 1, "StartedAt": "x"},
            "Config": self.created,
            "HostConfig": host,
            "NetworkSettings": {
                "Ports": {"8080/tcp": [{"HostIp": "x", "HostPort": "49153"}]},
                "Networks": {host["NetworkMode"]: {"IPAddress": "127.0.0.1"}},
            },
        }


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def scripted_engine(**defects: Any) -> Iterator[ScriptedEngine]:
    engine = ScriptedEngine(**defects)

    class Conversation(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document = engine.answer(self.command, self.path, body)
            text = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text)
            self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = reply  # noqa: N815 - the names that http.server asks for

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: Any) -> None: ...

    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        path = str(Path(directory) / "docker.sock")
        engine.url = f"unix://{path}"
        with _Server(path, Conversation) as server:
            serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            serving.start()
            try:
                yield engine
            finally:
                server.shutdown()
                serving.join()
