"""A real n8n beside a real daemon, under the names that workflows call: no URL is rewritten.

n8n runs in a mount namespace whose /etc/hosts gives every name a loopback address of its own, so
that `http://model-orchestrator:8000` is a daemon of this test and nothing on the machine changes.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.scenarios.daemon import ROOT, Daemon, free_port

PORT = 8000  # what the workflows say
COMFYUI_PORT = 8188
EXECUTION_S = 120.0  # a workflow takes 3 to 15 s on two idle cores
WORKFLOWS = ROOT / "workflows"
INSTALL = ROOT / "tests" / "tools" / "install_n8n.sh"


def home() -> Path:
    """Where install_n8n.sh has put everything."""
    told = subprocess.run([INSTALL, "--check"], capture_output=True, text=True, check=True)
    return Path(told.stdout.strip())


def loopback_address() -> str:
    """One of sixteen million: tests that run side by side do not meet."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"


@dataclass
class Run:
    """What n8n says about one execution."""

    code: int
    text: str
    report: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        return self.code == 0 and "error" not in self.report["data"]["resultData"]

    @property
    def nodes(self) -> list[str]:
        """The nodes that ran, in the order in which they first did."""
        runs = self.report["data"]["resultData"]["runData"]
        return sorted(runs, key=lambda name: runs[name][0]["executionIndex"])

    def times(self, node: str) -> int:
        return len(self.report["data"]["resultData"]["runData"][node])

    def output(self, node: str, branch: int = 0) -> dict[str, Any]:
        """The first item of the node's last run."""
        last = self.report["data"]["resultData"]["runData"][node][-1]
        item: dict[str, Any] = last["data"]["main"][branch][0]["json"]
        return item

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.report["data"]["resultData"]["error"]
        return error


@dataclass
class N8n:
    """One installation with a directory of its own. `hosts` are the names it can call."""

    directory: Path
    hosts: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],  # noqa: TID251 - node is found where the shell finds it
            "HOME": str(self.directory),
            "N8N_USER_FOLDER": str(self.directory),
            "N8N_ENCRYPTION_KEY": "only for tests",
            "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
            "N8N_TEMPLATES_ENABLED": "false",
            "N8N_LOG_LEVEL": "info",
            "N8N_RUNNERS_BROKER_PORT": str(free_port()),
        } | self.extra

    def command(self, *words: str) -> list[str]:
        """n8n with these words, where the names of the workflows have their addresses."""
        hosts = self.directory / "hosts"
        named = [f"{address} {name}" for name, address in self.hosts.items()]
        hosts.write_text("\n".join(["127.0.0.1 localhost", "::1 localhost", *named, ""]))
        n8n = home() / "server" / "node_modules" / ".bin" / "n8n"
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-r", "--mount"]
        bind = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return [*unshare, "sh", "-c", bind, str(hosts), str(n8n), *words]

    def say(self, *words: str) -> tuple[int, str]:
        """Run n8n with these words to its end; its exit code and all that it printed."""
        process = subprocess.Popen(
            self.command(*words),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            text, _ = process.communicate(timeout=EXECUTION_S)
        finally:
            with suppress(ProcessLookupError):  # its task runner, if that outlived it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode, text

    def bring_in(self, kind: str, *files: Path) -> None:
        """Import workflows or credentials."""
        directory = self.directory / kind
        directory.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, directory)
        code, text = self.say(f"import:{kind}", "--separate", f"--input={directory}")
        assert code == 0, text

    def execute(self, workflow_id: str) -> Run:
        code, text = self.say("execute", f"--id={workflow_id}")
        lines = text.splitlines()
        assert "{" in lines, text
        begin = lines.index("{")
        end = max(index for index, line in enumerate(lines) if line == "}")
        return Run(code, text, json.loads("\n".join(lines[begin : end + 1])))


# --- who answers under which name ----------------------------------------------------------------


class NamedDaemon(Daemon):
    """A daemon at port 8000 of its own loopback address, as a container has its own."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.address = loopback_address()
        super().__init__(directory, {"server": {"host": self.address}} | settings)
        self.port = PORT
        self.url = f"http://{self.address}:{PORT}"
        self.http.base_url = self.url


class Relay:
    """What stands at `llama-cpp:8000`: the model server that runs, or nobody, as with a container.

    Bytes are passed on unchanged and remembered. `broken`: every connection is cut.
    """

    def __init__(self, endpoint: Callable[[], str | None]) -> None:
        self.address = loopback_address()
        self.asked = bytearray()
        self.broken = False
        self._endpoint = endpoint
        self._listener = socket.create_server((self.address, PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # closed: the test is over
                return
            threading.Thread(target=self._serve, args=[caller], daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        endpoint = self._endpoint()
        with caller:
            if endpoint is None or self.broken:
                return
            where = urlsplit(endpoint)
            with socket.create_connection((where.hostname, where.port)) as server:
                back = threading.Thread(target=_pass_on, args=[server, caller], daemon=True)
                back.start()
                _pass_on(caller, server, self.asked)
                back.join()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _pass_on(source: socket.socket, target: socket.socket, heard: bytearray | None = None) -> None:
    with suppress(OSError):  # one side left; the other is told below
        while piece := source.recv(65536):
            if heard is not None:
                heard += piece
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@dataclass
class Scene:
    daemon: NamedDaemon
    llama_cpp: Relay
    n8n: N8n

    def execute(self, workflow_id: str) -> Run:
        run = self.n8n.execute(workflow_id)
        print(f"n8n ran {workflow_id}: {' > '.join(run.nodes)}", file=sys.stderr)
        return run


@contextmanager
def scene(directory: Path, settings: dict[str, Any], n8n: N8n) -> Iterator[Scene]:
    """A daemon under the name of `model-orchestrator`, its model server under `llama-cpp`."""
    with ExitStack() as stack:
        daemon = NamedDaemon(directory, settings)
        stack.callback(daemon.clean_up)
        daemon.start()

        def endpoint() -> str | None:
            loaded = daemon.status()["loaded_models"].values()
            ours = [each for each in loaded if each["service"] == "llama-cpp"]
            return next((each["endpoint"] for each in ours if each["status"] == "loaded"), None)

        relay = Relay(endpoint)
        stack.callback(relay.close)
        n8n.hosts |= {"model-orchestrator": daemon.address, "llama-cpp": relay.address}
        yield Scene(daemon, relay, n8n)


@dataclass
class ComfyUi:
    """The part of ComfyUI's API that the workflow uses; a graph takes some seconds."""

    seconds: float
    address: str = field(default_factory=loopback_address)
    queued_at: dict[str, float] = field(default_factory=dict)
    freed: bool = False

    def answer(self, method: str, path: str, body: Any) -> Any:
        match method, path.split("/")[1:]:
            case "POST", ["prompt"]:
                assert body["prompt"]
                prompt_id = f"prompt-{len(self.queued_at)}"
                self.queued_at[prompt_id] = time.monotonic()
                return {"prompt_id": prompt_id, "number": 1, "node_errors": {}}
            case "GET", ["history", prompt_id]:
                if time.monotonic() - self.queued_at[prompt_id] < self.seconds:
                    return {}
                images = [{"filename": "n8n_00001_.png", "subfolder": "", "type": "output"}]
                status = {"status_str": "success", "completed": True, "messages": []}
                return {prompt_id: {"outputs": {"2": {"images": images}}, "status": status}}
            case "POST", ["free"]:
                self.freed = True
                return None  # ComfyUI answers with an empty body
            case _:
                raise AssertionError(f"the workflow asks ComfyUI for {method} {path}")


@contextmanager
def comfyui(seconds: float) -> Iterator[ComfyUi]:
    stand_in = ComfyUi(seconds)

    class Asked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            answer = stand_in.answer(self.command, self.path, body)
            text = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815 - http.server looks it up by this name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    with ThreadingHTTPServer((stand_in.address, COMFYUI_PORT), Asked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield stand_in
        server.shutdown()
