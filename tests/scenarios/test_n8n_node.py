"""The community node: linted and built by n8n's own tool, loaded and executed by a real n8n."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.daemon import config, model
from tests.scenarios.n8n import N8n, NamedDaemon, Run, Scene, node_tool, scene
from tests.scenarios.test_keys import keys

pytestmark = pytest.mark.n8n

TYPE = "CUSTOM.vramOrchestrator"  # n8n's name for a node out of N8N_CUSTOM_EXTENSIONS
CREDENTIAL = "vramOrchestratorApi"


def node(name: str, **parameters: Any) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "type": TYPE,
        "typeVersion": 1,
        "position": [0, 0],
        "parameters": parameters,
    }


def workflow(name: str, *nodes: dict[str, Any]) -> dict[str, Any]:
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
        "name": name,
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
def credential_id(n8n: N8n) -> str:
    data = {"baseUrl": "http://model-orchestrator:8000", "apiKey": ""}
    return n8n.make("credentials", {"name": "orchestrator", "type": CREDENTIAL, "data": data})


@dataclass
class Play:
    scene: Scene
    credential_id: str

    @property
    def daemon(self) -> NamedDaemon:
        return self.scene.daemon

    def execute(self, made: dict[str, Any]) -> Run:
        used = {CREDENTIAL: {"id": self.credential_id, "name": "orchestrator"}}
        nodes = [
            each | {"credentials": used} if each["type"] == TYPE else each for each in made["nodes"]
        ]
        return self.scene.execute(self.scene.n8n.make("workflows", made | {"nodes": nodes}))


@pytest.fixture
def play(tmp_path: Path, n8n: N8n, credential_id: str) -> Iterator[Play]:
    n8n.hosts.clear()
    settings = config({"a": model(20000), "b": model(6000), "huge": model(90000)})
    with scene(tmp_path, settings, n8n) as here:
        yield Play(here, credential_id)


def test_n8n_node_is_lint_clean(n8n_node):
    assert "problem" not in node_tool(n8n_node, "lint")


def test_n8n_node_performs_every_operation(play):
    run = play.execute(EVERY_OPERATION)
    assert run.succeeded, run.text
    assert run.output("status")["free_mb"] == 32768
    assert run.output("plan")["fits"] is True
    assert (run.output("load")["status"], run.output("load")["model"]) == ("loaded", "a")
    assert run.output("unload")["status"] == "unloaded"
    assert run.output("lease")["vram_mb"] == 4096
    assert run.output("renew")["expires_at"] > run.output("lease")["expires_at"]
    assert run.output("release") == {"success": True, "lease_id": run.output("lease")["lease_id"]}
    assert play.daemon.status()["leases"] == []
    assert play.daemon.loaded() == {}


def test_n8n_node_polls_a_load_and_sends_no_blank_owner(play):
    run = play.execute(LATER)
    assert run.succeeded, run.text
    begun, asked = run.output("begin"), run.output("ask")
    assert begun["status"] in ("queued", "loading")
    assert asked["operation_id"] == begun["operation_id"]
    assert asked["status"] in ("queued", "loading", "succeeded")
    assert asked["model"] == "a"
    assert run.output("unload")["status"] in ("unloaded", "not_loaded")
    assert play.daemon.http.get("/leases").json()["leases"] == []


def test_n8n_node_shows_why_it_was_refused(play):
    run = play.execute(REFUSAL)
    assert not run.succeeded
    assert "huge needs 90000 MB" in json.dumps(run.error)


def test_n8n_node_lists_models_and_tests_its_credentials(play):
    """What the editor asks n8n for: the list of models, and whether the credential works."""
    play.daemon.load("a")
    n8n = play.scene.n8n
    n8n.name_hosts()
    listed = n8n.ask("/rest/dynamic-node-parameters/options", model_list(play))
    assert [each["value"] for each in listed] == ["a", "b", "huge"]
    assert [each["name"] for each in listed][:2] == [
        "a (loaded, 20000 MB)",
        "b (unloaded, 6000 MB)",
    ]
    works = n8n.ask("/rest/credentials/test", credential(play, "http://model-orchestrator:8000"))
    assert works["status"] == "OK"
    fails = n8n.ask("/rest/credentials/test", credential(play, "http://model-orchestrator:8001"))
    assert fails["status"] == "Error"


def test_n8n_node_tests_its_key_and_uses_it(play):
    made = keys(play.daemon, "create", "n8n", "--scope", "load", "--scope", "lease")
    n8n = play.scene.n8n
    n8n.name_hosts()
    asked = credential(play, "http://model-orchestrator:8000")
    assert n8n.ask("/rest/credentials/test", asked)["status"] == "Error"
    asked["credentials"]["data"]["apiKey"] = made["key"]
    assert n8n.ask("/rest/credentials/test", asked)["status"] == "OK"
    data = asked["credentials"]["data"]
    name = {"name": "keyed", "type": CREDENTIAL, "data": data}
    run = Play(play.scene, n8n.make("credentials", name)).execute(LATER)
    assert run.succeeded, run.text


def model_list(play: Play) -> dict[str, Any]:
    """The question for the list, from the node as n8n has loaded it."""
    types = play.scene.n8n.ask("/types/nodes.json")
    ours = next(each for each in types if each["name"] == TYPE)
    chooser = next(each for each in ours["properties"] if each["name"] == "model")
    return {
        "path": "parameters.model",
        "nodeTypeAndVersion": {"name": TYPE, "version": 1},
        "currentNodeParameters": {"resource": "model", "operation": "load"},
        "credentials": {CREDENTIAL: {"id": play.credential_id, "name": "orchestrator"}},
        "loadOptions": chooser["typeOptions"]["loadOptions"],
    }


def credential(play: Play, url: str) -> dict[str, Any]:
    stored = {"id": play.credential_id, "name": "orchestrator", "type": CREDENTIAL}
    return {"credentials": stored | {"data": {"baseUrl": url, "apiKey": ""}}}
