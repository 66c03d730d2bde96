"""One daemon a test, cleaned up after it whatever happened."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import parts
from tests.scenarios.backend import Backend, backend
from tests.scenarios.daemon import Daemon, command, config, running
from tests.scenarios.edged import EdgedDaemon
from tests.scenarios.face import CHROMIUM, Face, face_of
from tests.scenarios.n8n import SEED, SERVICES, WORKFLOWS, N8n, Scene, build_node, catalogue, scene


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons: `daemons(models, **sections)`; each has a directory of its own."""
    with ExitStack() as stack:
        count = 0

        def start(models: dict[str, Any], **sections: Any) -> Daemon:
            nonlocal count
            count += 1
            directory = tmp_path / f"daemon-{count}"
            directory.mkdir()
            return stack.enter_context(running(directory, config(models, **sections)))

        yield start


@pytest.fixture
def there() -> Iterator[Backend]:
    """A model server of somebody else's."""
    with backend() as server:
        yield server


@pytest.fixture
def edged(tmp_path: Path) -> Iterator[Callable[..., EdgedDaemon]]:
    """Start daemons with nginx before them."""
    with ExitStack() as stack:

        def start(models: dict[str, Any], **sections: Any) -> EdgedDaemon:
            parts.require("nginx")
            started = running(tmp_path, config(models, **sections), EdgedDaemon)
            daemon = stack.enter_context(started)
            assert isinstance(daemon, EdgedDaemon)
            return daemon

        yield start


@pytest.fixture(params=["relay", pytest.param("edge", marks=pytest.mark.nginx)])
def planes(
    request: pytest.FixtureRequest,
    daemons: Callable[..., Daemon],
    edged: Callable[..., EdgedDaemon],
) -> Callable[..., Daemon]:
    """Start daemons that are asked at the relay, and at nginx in front of it."""
    return daemons if request.param == "relay" else edged


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium of the system, one for all tests of a module: while it is driven, no other loop
    can run.
    """
    parts.require("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=parts.chromium(), args=[*CHROMIUM])
        yield started
        started.close()


@pytest.fixture
def face(browser: Browser) -> Iterator[Callable[..., Face]]:
    """Open the page of a daemon: `face(daemon, **context)`; each in a browser profile of its own."""
    with ExitStack() as stack:

        def look(daemon: Daemon, **context: Any) -> Face:
            return stack.enter_context(face_of(browser, daemon.url, **context))

        yield look


@pytest.fixture(scope="session")
def n8n_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts.require("n8n")
    return build_node(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session")
def n8n(tmp_path_factory: pytest.TempPathFactory, n8n_node: Path) -> Iterator[N8n]:
    """One server with our node, all our workflows and the credentials that `connect n8n` writes, for
    all tests of a worker.
    """
    extensions = {"N8N_CUSTOM_EXTENSIONS": str(n8n_node / "dist")}
    started = N8n(tmp_path_factory.mktemp("n8n"), {}, extensions)
    started.bring_in("workflow", *sorted(WORKFLOWS.glob("*.json")), SEED)
    credentials = started.directory / "n8n-credentials.json"
    told = ("--write", "--file", str(credentials), "--url", "http://model-orchestrator:8000")
    code, said = command(started.directory, "connect", "n8n", *told)
    assert code == 0, said
    started.bring_in("credentials", credentials)
    with started.served():
        yield started


@pytest.fixture
def scenes(tmp_path: Path, n8n: N8n) -> Iterator[Callable[..., Scene]]:
    """Start a daemon with these models, and have n8n call it."""
    n8n.hosts.clear()
    with ExitStack() as stack:

        def start(models: dict[str, Any] | None = None, **sections: Any) -> Scene:
            settings = config(models or catalogue(), **({"services": SERVICES} | sections))
            return stack.enter_context(scene(tmp_path, settings, n8n))

        yield start


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of a web server of somebody else's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()
