"""The community node: linted and built by n8n's own tool, loaded and executed by a real n8n."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import parts
from tests.scenarios.daemon import config, free_port, model
from tests.scenarios.n8n import WORKFLOWS, N8n, Scene, home, scene

pytestmark = pytest.mark.n8n

PACKAGE = WORKFLOWS / "n8n-nodes-vram-orchestrator"
TYPE = "CUSTOM.vramOrchestrator"  # n8n's name for a node out of N8N_CUSTOM_EXTENSIONS
CREDENTIAL = "vramOrchestratorApi"
CREDENTIAL_ID = "vram-credential"
READY_S = 90.0  # a start of the whole n8n takes 5 to 20 s
OWNER = {
    "email": "a@example.invalid",
    "password": "Only-for-tests-1",
    "firstName": "A",
    "lastName": "B",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it would be published."""
    parts.require("n8n")
    copy = tmp_path_factory.mktemp("node") / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(home() / "node-tools" / "node_modules")
    tool(copy, "build")
    return copy


def tool(package: Path, word: str) -> str:
    command = [package / "node_modules" / ".bin" / "n8n-node", word]
    environment = {"PATH": os.environ["PATH"], "HOME": str(package), "CI": "true"}  # noqa: TID251
    done = subprocess.run(
        command, cwd=package, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def node(name: str, **parameters: Any) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "type": TYPE,
        "typeVersion": 1,
        "position": [0, 0],
        "parameters": parameters,
        "credentials": {CREDENTIAL: {"id": CREDENTIAL_ID, "name": "orchestrator"}},
    }


def workflow(workflow_id: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    """These nodes, one after the other."""
    start = {
        "id": "Start",
        "name": "Start",
        "type": "n8n-nodes-base.manualTrigger",
        "typeVersion": 1,
        "position": [0, 0],
        "parameters": {},
    }
    chain = [start, *nodes]
    connections = {
        before["name"]: {"main": [[{"node": after["name"], "type": "main", "index": 0}]]}
        for before, after in zip(chain, nodes, strict=False)
    }
    settings = {"executionOrder": "v1"}
    return {
        "id": workflow_id,
        "name": workflow_id,
        "nodes": chain,
        "connections": connections,
        "active": False,
        "settings": settings,
    }


EVERY_OPERATION = workflow(
    "node-operations",
    node("status", operation="status"),
    node("plan", operation="plan", model="a"),
    node(
        "load",
        operation="load",
        model="a",
        loadFields={"owner": "n8n", "leaseSeconds": 60, "priority": 7},
    ),
    node("unload", operation="unload", model="a", unloadFields={"owner": "n8n"}),
    node(
        "lease",
        resource="lease",
        operation="lease",
        vramMb=4096,
        owner="comfyui",
        ttlSeconds=60,
        leaseFields={"wait": 5},
    ),
    node(
        "renew",
        resource="lease",
        operation="renew",
        leaseId="={{ $json.lease_id }}",
        ttlSeconds=600,
    ),
    node(
        "release",
        resource="lease",
        operation="release",
        leaseId="={{ $('lease').item.json.lease_id }}",
    ),
)
LATER = workflow(
    "node-later",
    node("begin", operation="load", model="a", loadFields={"owner": " ", "wait": 0}),
    node("ask", operation="getOperation", operationId="={{ $json.operation_id }}"),
    # Without an owner it is the model that is unloaded, and not somebody's hold on it.
    node("unload", operation="unload", model="a", unloadFields={"owner": ""}),
)
REFUSAL = workflow("node-refusal", node("load", operation="load", model="huge"))


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, built: Path) -> N8n:
    directory = tmp_path_factory.mktemp("n8n")
    n8n = N8n(directory, {}, {"N8N_CUSTOM_EXTENSIONS": str(built / "dist")})
    credential = {
        "id": CREDENTIAL_ID,
        "name": "orchestrator",
        "type": CREDENTIAL,
        "data": {"baseUrl": "http://model-orchestrator:8000", "apiKey": ""},
    }
    for name, content in (
        ("credential", credential),
        ("operations", EVERY_OPERATION),
        ("refusal", REFUSAL),
        ("later", LATER),
    ):
        (directory / f"{name}.json").write_text(json.dumps(content))
    n8n.bring_in("credentials", directory / "credential.json")
    n8n.bring_in(
        "workflow", *(directory / f"{name}.json" for name in ("operations", "refusal", "later"))
    )
    return n8n


@pytest.fixture
def start_scene(tmp_path: Path, installation: N8n) -> Iterator[Callable[[], Scene]]:
    installation.hosts.clear()
    with ExitStack() as stack:
        settings = config({"a": model(20000), "b": model(6000), "huge": model(90000)})
        yield lambda: stack.enter_context(scene(tmp_path, settings, installation))


def test_n8n_node_is_lint_clean(built):
    assert "problem" not in tool(built, "lint")


def test_n8n_node_performs_every_operation(start_scene):
    here = start_scene()
    run = here.execute("node-operations")
    assert run.succeeded, run.text
    assert run.output("status")["free_mb"] == 32768
    assert run.output("plan")["fits"] is True
    assert (run.output("load")["status"], run.output("load")["model"]) == ("loaded", "a")
    assert run.output("unload")["status"] == "unloaded"
    assert run.output("lease")["vram_mb"] == 4096
    assert run.output("renew")["expires_at"] > run.output("lease")["expires_at"]
    assert run.output("release") == {"success": True, "lease_id": run.output("lease")["lease_id"]}
    assert here.daemon.status()["leases"] == []
    assert here.daemon.loaded() == {}


def test_n8n_node_polls_a_load_and_sends_no_blank_owner(start_scene):
    here = start_scene()
    run = here.execute("node-later")
    assert run.succeeded, run.text
    begun, asked = run.output("begin"), run.output("ask")
    assert begun["status"] in ("queued", "loading")
    assert asked["operation_id"] == begun["operation_id"]
    assert asked["status"] in ("queued", "loading", "succeeded")
    assert asked["model"] == "a"
    assert run.output("unload")["status"] in ("unloaded", "not_loaded")
    assert here.daemon.http.get("/leases").json()["leases"] == []


def test_n8n_node_shows_why_it_was_refused(start_scene):
    here = start_scene()
    run = here.execute("node-refusal")
    assert not run.succeeded
    assert "huge needs 90000 MB" in json.dumps(run.error)


def test_n8n_node_lists_models_and_tests_its_credentials(start_scene):
    """What the editor asks n8n for: the list of models, and whether the credential works."""
    here = start_scene()
    here.daemon.load("a")
    with editor(here.n8n) as ask:
        listed = ask("/rest/dynamic-node-parameters/options", model_list(ask))
        assert [each["value"] for each in listed] == ["a", "b", "huge"]
        assert [each["name"] for each in listed][:2] == [
            "a (loaded, 20000 MB)",
            "b (unloaded, 6000 MB)",
        ]
        works = ask("/rest/credentials/test", credential("http://model-orchestrator:8000"))
        assert works["status"] == "OK"
        fails = ask("/rest/credentials/test", credential("http://model-orchestrator:8001"))
        assert fails["status"] == "Error"


Ask = Callable[..., Any]


def model_list(ask: Ask) -> dict[str, Any]:
    """The question for the list, from the node as n8n has loaded it."""
    types = ask("/types/nodes.json")
    ours = next(each for each in types if each["name"] == TYPE)
    chooser = next(each for each in ours["properties"] if each["name"] == "model")
    return {
        "path": "parameters.model",
        "nodeTypeAndVersion": {"name": TYPE, "version": 1},
        "currentNodeParameters": {"resource": "model", "operation": "load"},
        "credentials": {CREDENTIAL: {"id": CREDENTIAL_ID, "name": "orchestrator"}},
        "loadOptions": chooser["typeOptions"]["loadOptions"],
    }


def credential(url: str) -> dict[str, Any]:
    stored = {"id": CREDENTIAL_ID, "name": "orchestrator", "type": CREDENTIAL}
    return {"credentials": stored | {"data": {"baseUrl": url, "apiKey": ""}}}


@contextmanager
def editor(n8n: N8n) -> Iterator[Ask]:
    """Start n8n's server and log in as its owner."""
    port = free_port()
    settings = {
        "N8N_PORT": str(port),
        "N8N_LISTEN_ADDRESS": "127.0.0.1",
        "N8N_SECURE_COOKIE": "false",
    }
    log = n8n.directory / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            n8n.command("start"),
            env=n8n.environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:
            wait_until_ready(http, process, log)
            made = http.post("/rest/owner/setup", json=OWNER)
            assert made.status_code == 200, made.text

            def ask(path: str, body: Any = None) -> Any:
                answer = http.get(path) if body is None else http.post(path, json=body)
                assert answer.status_code == 200, answer.text
                said = answer.json()
                return said["data"] if isinstance(said, dict) else said

            yield ask
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_ready(http: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(httpx.TransportError):
            if http.get("/rest/settings").status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())
