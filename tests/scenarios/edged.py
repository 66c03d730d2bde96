"""The real daemon with a real nginx before it: both are asked as its users ask, at nginx's port."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.preloaded import Forked
from tests.scenarios.daemon import PATIENCE_S, Daemon, begun, chat, free_port

CHAT = "/v1/chat/completions"
FOLDER_CHARS_MAX = 60  # of a path in which sockets lie


class EdgedDaemon(Daemon):
    """Asked at the edge once it runs; `beside` asks the daemon itself."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="edge-"))
        assert len(str(self.folder)) < FOLDER_CHARS_MAX
        self.edge_port = free_port()
        edge = {"port": self.edge_port, "dir": str(self.folder), "workers": 2}
        super().__init__(directory, settings | {"edge": edge})
        self._own = self.port
        self.beside = self.http
        self.edge: Forked | subprocess.Popen[bytes] | None = None
        self._outer = httpx.Client(
            base_url=f"http://127.0.0.1:{self.edge_port}", timeout=60, trust_env=False
        )

    def start(self) -> float:
        self.port, self.http = self._own, self.beside
        began = time.monotonic()
        super().start()
        self.start_edge()
        self.port, self.http = self.edge_port, self._outer
        self.url = f"http://127.0.0.1:{self.port}"
        return time.monotonic() - began

    def start_edge(self) -> None:
        if self.edge is None:
            self.edge = self._begun_edge()
        deadline = time.monotonic() + PATIENCE_S
        while self._outer_status() != httpx.codes.OK or self.log().count("nginx carries") == 0:
            assert self.edge.poll() is None, self.edge_log()
            assert time.monotonic() < deadline, self.edge_log()
            time.sleep(0.02)

    def start_edge_alone(self) -> None:
        """While the daemon is dead."""
        self.edge = self._begun_edge()
        deadline = time.monotonic() + PATIENCE_S
        while self._outer_status() == 0:
            assert self.edge.poll() is None, self.edge_log()
            assert time.monotonic() < deadline, self.edge_log()
            time.sleep(0.02)

    def _begun_edge(self) -> "Forked | subprocess.Popen[bytes]":
        words = ("edge", "--config", str(self.file))
        if not self.executed:
            return begun(self.directory, "edge.log", *words)
        path = os.pathsep.join(map(str, self.import_path))
        with (self.directory / "edge.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.program, *words],
                cwd=self.directory,
                env=self.environment | {"PYTHONPATH": path},
                stdout=log,
                stderr=log,
            )

    def _outer_status(self) -> int:
        try:
            return self._outer.get("/health").status_code
        except httpx.TransportError:
            return 0

    def edge_log(self) -> str:
        return (self.directory / "edge.log").read_text()

    def end_edge(self) -> int:
        assert self.edge is not None
        edge, self.edge = self.edge, None
        edge.terminate()
        return edge.wait(PATIENCE_S)

    def clean_up(self) -> None:
        super().clean_up()
        if self.edge is not None:
            self.end_edge()
        self.beside.close()
        self._outer.close()
        shutil.rmtree(self.folder)


def asked_warm(answer: httpx.Response) -> bool:
    """Whether nginx has carried it: then the answer says so last, and in nginx's own manner."""
    return answer.headers.raw[-1][0] == b"X-Model"


def warmed(daemon: EdgedDaemon, name: str) -> None:
    """Return once nginx carries requests for it."""
    deadline = time.monotonic() + PATIENCE_S
    while not asked_warm(daemon.post(CHAT, {"model": name, **chat()})):
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.05)
