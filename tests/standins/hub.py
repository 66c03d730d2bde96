"""A stand-in for a Hugging Face hub and its delivery network: two ports, and faults on request.

It speaks what a pull needs (the list of files, metadata, redirects, ranges) and keeps what it was
asked, headers included, so that a test can say who was told the token.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
WAIT_S_MAX = 30.0  # a stalled answer ends then, whatever the test does
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Asked:
    server: str  # hub | cdn
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Behaviour:
    """What goes wrong. Lists are used up: one entry per answer, then all is well."""

    token: str | None = None  # needed for every request to the hub
    gated: bool = False
    busy: list[str | None] = field(default_factory=list)  # Retry-After of 429s of the hub
    hub_errors: list[int] = field(default_factory=list)
    cdn_errors: list[int] = field(default_factory=list)
    truncate: list[int] = field(default_factory=list)  # bytes after which a body ends
    corrupt: int = 0  # this many bodies have a wrong first byte
    longer: int = 0  # this many bodies have bytes too many, and no length
    ranges: bool = True
    redirect: bool = True  # to the other port, as for large files; else the hub sends them itself
    linked: bool = True  # X-Linked-* headers
    digests: bool = True  # SHA-256 in the list of files
    stall_after: int | None = None  # bytes; then `go_on` is waited for


class StandInHub:
    def __init__(self, repo: str, files: dict[str, bytes]) -> None:
        self.repo = repo
        self.files = dict(files)
        self.commit = COMMIT
        self.behaviour = Behaviour()
        self.asked: list[Asked] = []
        self.go_on = threading.Event()
        self.stalled = threading.Event()
        self.renamed_from: str | None = None
        self.listing: Callable[[], object] = self._listing
        self._hub = _Server(self._answer_hub)
        self._cdn = _Server(self._answer_cdn)

    @property
    def url(self) -> str:
        return self._hub.url

    @property
    def cdn_url(self) -> str:
        return self._cdn.url

    def close(self) -> None:
        self.go_on.set()
        self._hub.close()
        self._cdn.close()

    def digest(self, path: str) -> str:
        return hashlib.sha256(self.files[path]).hexdigest()

    def bodies(self) -> list[Asked]:
        return [each for each in self.asked if each.method == "GET" and "/api/" not in each.path]

    # --- the hub itself ---------------------------------------------------------------------

    def _answer_hub(self, request: "_Request") -> None:
        self._note("hub", request)
        behaviour = self.behaviour
        if behaviour.busy:
            after = behaviour.busy.pop(0)
            return request.answer(429, {} if after is None else {"Retry-After": after})
        if behaviour.hub_errors:
            return request.answer(behaviour.hub_errors.pop(0))
        if behaviour.token and request.headers.get("Authorization") != f"Bearer {behaviour.token}":
            return request.answer(401, {"X-Error-Code": "RepoNotFound"})
        if behaviour.gated:
            return request.answer(403, {"X-Error-Code": "GatedRepo"})
        path = unquote(urlsplit(request.path).path)
        if self.renamed_from and f"/{self.renamed_from}/" in f"{path}/":
            moved = path.replace(self.renamed_from, self.repo)
            return request.answer(307, {"Location": moved})
        if path.startswith(f"/api/models/{self.repo}/revision/"):
            return request.answer(200, body=json.dumps(self.listing()).encode())
        name = path.removeprefix(f"/{self.repo}/resolve/{self.commit}/")
        if name not in self.files:
            return request.answer(404, {"X-Error-Code": "EntryNotFound"})
        return self._resolve(request, name)

    def _listing(self) -> object:
        siblings = [
            {
                "rfilename": path,
                "size": len(content),
                **({"lfs": {"sha256": self.digest(path)}} if self.behaviour.digests else {}),
            }
            for path, content in self.files.items()
        ]
        return {"id": self.repo, "sha": self.commit, "siblings": siblings}

    def _resolve(self, request: "_Request", name: str) -> None:
        headers = {"X-Repo-Commit": self.commit, "ETag": f'"{self.digest(name)}"'}
        if self.behaviour.linked:
            headers["X-Linked-ETag"] = f'"{self.digest(name)}"'
            headers["X-Linked-Size"] = str(len(self.files[name]))
        if self.behaviour.redirect:
            signed = f"{self.cdn_url}/{quote(name)}?signature=secret"
            return request.answer(302, {**headers, "Location": signed})
        return self._send(request, name, headers)

    # --- the delivery network ---------------------------------------------------------------

    def _answer_cdn(self, request: "_Request") -> None:
        self._note("cdn", request)
        if self.behaviour.cdn_errors:
            return request.answer(self.behaviour.cdn_errors.pop(0))
        return self._send(request, unquote(urlsplit(request.path).path)[1:], {})

    def _send(self, request: "_Request", name: str, headers: dict[str, str]) -> None:
        behaviour, content, status, start = self.behaviour, self.files[name], 200, 0
        wanted = request.headers.get("Range")
        if wanted and behaviour.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return request.answer(416, {"Content-Range": f"bytes */{len(content)}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if request.method == "HEAD":
            return request.answer(status, headers, length=len(body))
        if behaviour.corrupt:
            behaviour.corrupt -= 1
            body = bytes([body[0] ^ 1]) + body[1:]
        if behaviour.longer:
            behaviour.longer -= 1
            return request.answer(status, headers, body=body + b"more", length=None)
        sent = behaviour.truncate.pop(0) if behaviour.truncate else len(body)
        if behaviour.stall_after is None:
            return request.answer(status, headers, body=body[:sent], length=len(body))
        request.answer(status, headers, body=body[: behaviour.stall_after], length=len(body))
        self.stalled.set()
        self.go_on.wait(WAIT_S_MAX)
        return request.more(body[behaviour.stall_after :])

    def _note(self, server: str, request: "_Request") -> None:
        self.asked.append(Asked(server, request.method, request.path, dict(request.headers)))


@contextmanager
def stand_in_hub(repo: str, files: dict[str, bytes]) -> Iterator[StandInHub]:
    hub = StandInHub(repo, files)
    try:
        yield hub
    finally:
        hub.close()


class _Server:
    """One port on loopback whose answers one function gives."""

    def __init__(self, answer: Callable[["_Request"], None]) -> None:
        class Handler(_Request):
            def do_GET(self) -> None:
                answer(self)

            do_HEAD = do_GET  # noqa: N815 - the name is that of http.server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Request(BaseHTTPRequestHandler):
    """One request, with the few words an answer is made of. Each connection carries one."""

    @property
    def method(self) -> str:
        return self.command

    def answer(
        self,
        status: int,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        length: int | None = -1,
    ) -> None:
        """`length` says what is promised; -1: as much as is sent, None: nothing is said."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.more(body)

    def more(self, body: bytes) -> None:
        try:
            for start in range(0, len(body), PIECE_BYTES):
                self.wfile.write(body[start : start + PIECE_BYTES])
            self.wfile.flush()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing: what was asked is in `asked`."""
