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
from typing import IO, Any
from urllib.parse import urlsplit

import httpx

from tests.pace import crowd
from tests.scenarios.daemon import ROOT, Daemon, free_port, model

PORT = 8000  # what the workflows say
COMFYUI_PORT = 8188
EXECUTION_S = 120.0  # the longest workflow waits for 13 s
READY_S = 120.0
RUNNER_S = 300
SERVES = "Editor is now accessible"
QUICK = {"tokens_per_s": 2000}
SERVICES = {name: {"engine": "fake", "runtime": "process"} for name in ("llama-cpp", "rehearsal")}
OWNER = {
    "email": "a@example.invalid",
    "password": "Only-for-tests-1",
    "firstName": "A",
    "lastName": "B",
}
WORKFLOWS = ROOT / "workflows"
SEED = ROOT / "tests" / "data" / "n8n" / "seed-workflow.json"  # of the document that people have
NODE = WORKFLOWS / "n8n-nodes-vram-orchestrator"
INSTALL = ROOT / "tests" / "tools" / "install_n8n.sh"


def home() -> Path:
    """Where install_n8n.sh has put everything."""
    told = subprocess.run([INSTALL, "--check"], capture_output=True, text=True, check=True)
    return Path(told.stdout.strip())


def loopback_address() -> str:
    """One of sixteen million: tests that run side by side do not meet."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"


def build_node(directory: Path) -> Path:
    """The package of our node as it would be published."""
    copy = directory / NODE.name
    shutil.copytree(NODE, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(home() / "node-tools" / "node_modules")
    node_tool(copy, "build")
    return copy


def node_tool(package: Path, word: str) -> str:
    command = [str(package / "node_modules" / ".bin" / "n8n-node"), word]
    environment = {"PATH": os.environ["PATH"], "HOME": str(package), "CI": "true"}  # noqa: TID251
    done = subprocess.run(
        command, cwd=package, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Run:
    """What n8n says about one execution."""

    status: str
    result: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        return self.status == "success" and "error" not in self.result

    @property
    def text(self) -> str:
        return f"{self.status}: {str(self.result)[-4000:]}"

    @property
    def nodes(self) -> list[str]:
        """The nodes that ran, in the order in which they first did."""
        runs = self.result["runData"]
        return sorted(runs, key=lambda name: runs[name][0]["executionIndex"])

    def times(self, node: str) -> int:
        return len(self.result["runData"][node])

    def output(self, node: str, branch: int = 0) -> dict[str, Any]:
        """The first item of the node's last run."""
        last = self.result["runData"][node][-1]
        item: dict[str, Any] = last["data"]["main"][branch][0]["json"]
        return item

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.result["error"]
        return error


def unflattened(text: str) -> Any:
    """What n8n has stored with the package `flatted`: each text is the index of what it stands for.

    That may be what it is part of.
    """
    pool = json.loads(text)
    made: dict[int, Any] = {}

    def at(index: int) -> Any:
        stored = pool[index]
        if index not in made and isinstance(stored, dict):
            made[index] = {}
            made[index].update({key: whole(each) for key, each in stored.items()})
        elif index not in made and isinstance(stored, list):
            made[index] = []
            made[index].extend(whole(each) for each in stored)
        return made.get(index, stored)

    def whole(each: Any) -> Any:
        return at(int(each)) if isinstance(each, str) else each

    return at(0)


@dataclass
class N8n:
    """One installation with a directory of its own. `hosts` are the names it can call."""

    directory: Path
    hosts: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    http: httpx.Client = field(init=False)  # logged in as its owner, while it is served

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
            # What runs Code nodes is started for them: on a crowded machine not within a minute.
            "N8N_RUNNERS_TASK_REQUEST_TIMEOUT": str(RUNNER_S),
            "N8N_RUNNERS_TASK_TIMEOUT": str(RUNNER_S),
            "N8N_RUNNERS_HEARTBEAT_INTERVAL": str(RUNNER_S),
            "N8N_PORT": str(self.port),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_SECURE_COOKIE": "false",
        } | self.extra

    def name_hosts(self) -> Path:
        """The same file each time: it is mounted where the server looks names up."""
        hosts = self.directory / "hosts"
        usual = {} if "localhost" in self.hosts else {"localhost": "127.0.0.1"}
        named = [f"{address} {name}" for name, address in (usual | self.hosts).items()]
        hosts.write_text("\n".join([*named, ""]))
        return hosts

    def start(self, *words: str, output: IO[bytes]) -> "subprocess.Popen[bytes]":
        """n8n with these words, where the names of the workflows have their addresses."""
        n8n = home() / "server" / "node_modules" / ".bin" / "n8n"
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-r", "--mount"]
        bind = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return subprocess.Popen(
            [*unshare, "sh", "-c", bind, str(self.name_hosts()), str(n8n), *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def bring_in(self, kind: str, *files: Path) -> None:
        """Import workflows or credentials, while it is not served. A single file may hold several."""
        if len(files) == 1:
            told = [f"--input={files[0]}"]
        else:
            directory = self.directory / kind
            directory.mkdir(exist_ok=True)
            for file in files:
                shutil.copy(file, directory)
            told = ["--separate", f"--input={directory}"]
        log = self.directory / f"{kind}.log"
        with log.open("wb") as output:
            process = self.start(f"import:{kind}", *told, output=output)
            try:
                code = process.wait(EXECUTION_S * crowd())
            finally:
                end_session(process)
        assert code == 0, log.read_text()

    @contextmanager
    def served(self) -> Iterator[None]:
        """Its server runs meanwhile: a start takes 5 to 20 s, an execution a fraction of one."""
        log = self.directory / "server.log"
        with log.open("wb") as output:
            process = self.start("start", output=output)
        try:
            url = f"http://127.0.0.1:{self.port}"
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as self.http:
                self._wait_until_ready(process, log)
                made = self.http.post("/rest/owner/setup", json=OWNER)
                assert made.status_code == 200, made.text
                yield
        finally:
            end_session(process)

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        """It answers some questions before it knows all of them; then it says that it does."""
        deadline = time.monotonic() + READY_S * crowd()
        while SERVES not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

    def ask(self, path: str, body: Any = None) -> Any:
        answer = self.http.get(path) if body is None else self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        return said["data"] if isinstance(said, dict) else said

    def make(self, kind: str, content: dict[str, Any]) -> str:
        """A credential or a workflow of the owner's; its id."""
        return str(self.ask(f"/rest/{kind}", content)["id"])

    def execute(self, workflow_id: str) -> Run:
        """As the button of the editor does, from the node called Start to the end."""
        self.name_hosts()
        path = f"/rest/workflows/{workflow_id}"
        order = {"workflowData": self.ask(path), "triggerToStartFrom": {"name": "Start"}}
        execution_id = self.ask(f"{path}/run", order)["executionId"]
        deadline = time.monotonic() + EXECUTION_S * crowd()
        while True:
            told = self.ask(f"/rest/executions/{execution_id}")
            if told["status"] not in ("new", "running", "waiting"):
                return Run(told["status"], unflattened(told["data"])["resultData"])
            assert time.monotonic() < deadline, told["status"]
            time.sleep(0.1)


def end_session(process: "subprocess.Popen[bytes]") -> None:
    """With its task runner, if that outlived it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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


def chat_model(vram_mb: int = 17408, **behaviour: Any) -> dict[str, Any]:
    """What the workflows ask, as the stack's configuration has it."""
    served = {"service": "llama-cpp", "aliases": ["default"]}
    return model(vram_mb, fake=QUICK | behaviour, priority=10) | served


def catalogue(**changes: Any) -> dict[str, Any]:
    """The models that the workflows name."""
    return {
        "qwen3-vl-30b": chat_model(),
        "wan2.1-14b": model(28672, fake=QUICK),
        "ovi": model(22528, fake=QUICK),
    } | changes


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
    """The part of ComfyUI's API that the workflow uses; a graph is done at some look at it."""

    looks: int
    address: str
    looked_at: dict[str, int] = field(default_factory=dict)  # how often, each graph
    freed: bool = False

    def answer(self, method: str, path: str, body: Any) -> Any:
        match method, path.split("/")[1:]:
            case "POST", ["prompt"]:
                assert body["prompt"]
                prompt_id = f"prompt-{len(self.looked_at)}"
                self.looked_at[prompt_id] = 0
                return {"prompt_id": prompt_id, "number": 1, "node_errors": {}}
            case "GET", ["history", prompt_id]:
                self.looked_at[prompt_id] += 1
                if self.looked_at[prompt_id] < self.looks:
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
def comfyui(looks: int, address: str = "") -> Iterator[ComfyUi]:
    stand_in = ComfyUi(looks, address or loopback_address())

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
