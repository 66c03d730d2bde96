"""A stand-in for an image registry, with one image, and a delivery that can be held up."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
WAIT_S_MAX = 30.0  # a held-up answer ends then, whatever the test does
PIECE_BYTES = 1 << 16


class StandInRegistry:
    """`name` is what an engine on this machine calls the image; loopback needs no TLS there."""

    def __init__(self, saved: bytes, repository: str = "org/server", tag: str = "1") -> None:
        """`saved` is what `docker save` gives of one image."""
        self.holds_back = False
        self.go_on = threading.Event()
        self.held = threading.Event()
        self.asked: list[str] = []
        self._repository = repository
        self._tag = tag
        self._blobs: dict[str, bytes] = {}
        self._manifest = self._taken_in(saved)
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand_in._answer(self)

            do_HEAD = do_GET  # noqa: N815 - the name is that of http.server

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()
        self.name = f"127.0.0.1:{self._server.server_port}/{repository}:{tag}"

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _taken_in(self, saved: bytes) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(saved)) as tar:

            def content(path: str) -> bytes:
                member = tar.extractfile(path)
                assert member is not None
                return member.read()

            (image,) = json.loads(content("manifest.json"))
            config = content(image["Config"])
            layers = [gzip.compress(content(path), 1) for path in image["Layers"]]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._kept(CONFIG, config),
            "layers": [self._kept(LAYER, layer) for layer in layers],
        }
        return json.dumps(manifest).encode()

    def _kept(self, kind: str, content: bytes) -> dict[str, object]:
        digest = _digest(content)
        self._blobs[digest] = content
        return {"mediaType": kind, "size": len(content), "digest": digest}

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        at = f"/v2/{self._repository}/"
        digest = _digest(self._manifest)
        if request.path == "/v2/":
            return _send(request, b"{}", "application/json")
        if request.path in (f"{at}manifests/{self._tag}", f"{at}manifests/{digest}"):
            return _send(request, self._manifest, MANIFEST)
        blob = self._blobs.get(request.path.removeprefix(f"{at}blobs/"))
        if blob is not None:
            return self._deliver(request, blob)
        code = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}
        return _send(request, json.dumps({"errors": [code]}).encode(), "application/json", 404)

    def _deliver(self, request: BaseHTTPRequestHandler, blob: bytes) -> None:
        kept = len(blob) // 2 if self.holds_back and len(blob) > PIECE_BYTES else 0
        _begin(request, 200, "application/octet-stream", blob)
        try:
            request.wfile.write(blob[: len(blob) - kept])
            if kept:
                request.wfile.flush()
                self.held.set()
                self.go_on.wait(WAIT_S_MAX)
                request.wfile.write(blob[len(blob) - kept :])
        except ConnectionError:
            request.close_connection = True


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _begin(request: BaseHTTPRequestHandler, status: int, kind: str, body: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Docker-Content-Digest", _digest(body))
    request.end_headers()


def _send(request: BaseHTTPRequestHandler, body: bytes, kind: str, status: int = 200) -> None:
    _begin(request, status, kind, body)
    if request.command != "HEAD":
        request.wfile.write(body)


@contextmanager
def stand_in_registry(saved: bytes) -> Iterator[StandInRegistry]:
    registry = StandInRegistry(saved)
    try:
        yield registry
    finally:
        registry.close()
