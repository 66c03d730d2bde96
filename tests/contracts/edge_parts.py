"""The real edge on a real nginx, in front of a real daemon: ports and directories are a test's own."""

import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.scenarios.daemon import ROOT, Daemon, config, free_port, model, running

EDGE = ROOT / "nginx"
WARM = ROOT / "orchestrator" / "gateway" / "edge"
START_S = 20.0
ORCHESTRATOR, LLAMA = "orchestrator.lan", "llama.lan"
SERVER = {"allowed_hosts": [ORCHESTRATOR], "allowed_origins": [f"https://{ORCHESTRATOR}"]}


@dataclass(frozen=True)
class Edge:
    """Ask `https` by name; `http` is the plain port."""

    port: int
    plain_port: int
    directory: Path
    daemon: Daemon

    def client(self, name: str, source: str = "127.0.0.1") -> httpx.Client:
        """One that trusts the edge's certificate and nothing else; `source` is its address."""
        trust = ssl.create_default_context(cafile=self.directory / "cert.pem")
        transport = httpx.HTTPTransport(verify=trust, local_address=source)
        client = httpx.Client(
            transport=transport,
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Host": name},
            timeout=60,
        )
        client.event_hooks["request"].append(
            lambda request: request.extensions.update(sni_hostname=name)
        )
        return client

    def ask(self, name: str, method: str, path: str, **more: Any) -> httpx.Response:
        source = more.pop("source", "127.0.0.1")
        with self.client(name, source) as client:
            return client.request(method, path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.ask(ORCHESTRATOR, "POST", path, json=body, **more)


@contextmanager
def edge(directory: Path, daemon: Daemon, **settings: str) -> Iterator[Edge]:
    """Started by its own script, which makes the certificate."""
    port, plain_port = free_port(), free_port()
    text = (EDGE / "nginx.conf").read_text()
    for written, ours in (
        ("/run/edge", str(directory)),
        ("/run/orchestrator-edge", str(directory)),
        ("$prefix/warm/", f"{WARM}/"),
        ("/var/lib/edge", str(directory)),
        ("listen 80", f"listen 127.0.0.1:{plain_port}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("worker_processes auto", "worker_processes 2"),
    ):
        assert written in text
        text = text.replace(written, ours)
    for included in (WARM, EDGE / "warm_locations.conf", EDGE / "warm_errors.conf"):
        at = "warm" if included == WARM else included.name
        (directory / at).symlink_to(included)
    # As root, workers would be of a user who cannot enter a test's directory.
    own_user = "user root;\n" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(own_user + text)
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251 - nginx is found where the shell finds it
        "EDGE_TLS_DIR": str(directory),
        "EDGE_SIDE_DIR": str(directory),
        "EDGE_CONF": str(directory / "nginx.conf"),
        "ORCHESTRATOR_UPSTREAM": daemon.url.removeprefix("http://"),
    }
    with (directory / "nginx.log").open("wb") as log:
        nginx = subprocess.Popen(
            [EDGE / "edge-entrypoint.sh"], env=environment | settings, stdout=log, stderr=log
        )
        try:
            _wait_until_answering(nginx, plain_port, directory / "nginx.log")
            yield Edge(port, plain_port, directory, daemon)
        finally:
            nginx.terminate()
            nginx.wait(10)


@contextmanager
def edge_and_daemon(directory: Path, *, is_told: bool = False, **settings: str) -> Iterator[Edge]:
    """With a model `a` that is loaded and answers as llama.lan; told which models are ready, or not."""
    for name in ("daemon", "edge"):
        (directory / name).mkdir(exist_ok=True)
    wishes = config({"a": model(20000), "slow": model(10000, fake={"load_s": 3})}, server=SERVER)
    if is_told:
        wishes["edge"] = {"dir": str(directory / "edge")}
    with running(directory / "daemon", wishes) as daemon:
        daemon.load("a")
        llama = daemon.endpoint("a").removeprefix("http://")
        with edge(directory / "edge", daemon, LLAMA_UPSTREAM=llama, **settings) as front:
            yield front


def _wait_until_answering(nginx: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert nginx.poll() is None, log.read_text()
        with suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
            return
        time.sleep(0.02)
    raise AssertionError(log.read_text())
