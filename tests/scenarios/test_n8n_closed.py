"""The workflows that people have, with models in closed Docker containers and keys of the API: who
calls a model itself goes on where its operator says `closed: false`; else it shows its key.
"""

import json

import pytest

from tests.scenarios.containers import llama_service, opened_engine, settings, smollm
from tests.scenarios.daemon import model
from tests.scenarios.n8n import QUICK, SEED, WORKFLOWS
from tests.scenarios.test_closed_containers import network_of
from tests.scenarios.test_keys import key_of

pytestmark = [pytest.mark.n8n, pytest.mark.docker, pytest.mark.llama_cpp]

EXAMPLE = WORKFLOWS / "llama-chat-example.json"
MODEL = "qwen3-vl-30b"  # as workflows call what the small one stands for
ASKS_ITSELF = "http://llama-cpp:8000"
GATEWAY = "http://model-orchestrator:8000"


@pytest.fixture(scope="module")
def engine():
    with opened_engine() as opened:
        yield opened


@pytest.fixture
def keyed(scenes, engine, monkeypatch):
    """Start a daemon that has keys, and say it to n8n: `keyed(closed=…)`."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    here = None

    def start(**more):
        nonlocal here
        models = {MODEL: smollm(aliases=["default"]), "wan2.1-14b": model(900, fake=QUICK)}
        said = settings(models, {"llama-cpp": llama_service(**more)})
        here = scenes(said.pop("models"), **said)
        daemon = here.daemon
        first = key_of(daemon, "operator", "--scope", "admin")
        daemon.end()  # what it starts from here on it starts with keys
        daemon.start()
        daemon.http.headers.update(first)
        return here

    yield start
    if here is not None:
        engine.clean_up(here.daemon)


def of_the_workflow(here):
    return key_of(here.daemon, "n8n", "--scope", "load", "--scope", "lease")


def brought(here, file, header, shows=None, **urls):
    """The workflow with one more thing: *Header Auth* at all of its nodes, or at those named."""
    said = json.loads(file.read_text())
    value = header["Authorization"]
    data = {"name": "Authorization", "value": value}
    named = {"name": f"key {value[:11]}", "type": "httpHeaderAuth"}
    made = here.n8n.make("credentials", {**named, "data": data})
    for node in said["nodes"]:
        if node["type"] != "n8n-nodes-base.httpRequest":
            continue
        if node["name"] in urls:
            node["parameters"]["url"] = urls[node["name"]]
        if shows is None or node["name"] in shows:
            kind = {"authentication": "genericCredentialType", "genericAuthType": "httpHeaderAuth"}
            node["parameters"] |= kind
            node["credentials"] = {"httpHeaderAuth": {"id": made, "name": named["name"]}}
    kept = ("name", "nodes", "connections", "settings")
    return here.n8n.make("workflows", {**{name: said[name] for name in kept}, "active": False})


def names_of(file):
    nodes = json.loads(file.read_text())["nodes"]
    return {each["name"] for each in nodes if each["type"] == "n8n-nodes-base.httpRequest"}


def test_closed_it_asks_the_endpoint_with_its_key(keyed, engine):
    """As keys make it: nothing is said of the service."""
    here = keyed()
    header = of_the_workflow(here)
    run = here.execute(brought(here, EXAMPLE, header))
    assert run.succeeded, run.text
    assert run.output("Load")["endpoint"] == f"{here.daemon.url}/upstream/{MODEL}"
    assert run.output("Process")["answer"]
    assert run.output("Unload")["status"] == "unloaded"
    forgetful = brought(here, EXAMPLE, header, names_of(EXAMPLE) - {"Chat"})
    run = here.execute(forgetful)
    assert not run.succeeded
    assert "401" in run.text
    here.daemon.load(MODEL)
    container = engine.only(here.daemon, MODEL)
    assert list(container["NetworkSettings"]["Networks"]) == [network_of(here.daemon)]


def test_open_by_one_word_it_asks_the_container_itself(keyed, engine):
    """`closed: false` of the service: the node that chats has no key, and needs none."""
    here = keyed(closed=False)
    header = of_the_workflow(here)
    run = here.execute(brought(here, EXAMPLE, header, names_of(EXAMPLE) - {"Chat"}))
    assert run.succeeded, run.text
    port = run.output("Load")["endpoint"].rpartition(":")[2]
    assert run.output("Load")["endpoint"] == f"http://127.0.0.1:{port}"
    assert run.output("Process")["answer"]


@pytest.mark.parametrize("open_", [True, False], ids=["open", "closed"])
def test_the_workflow_that_names_llama_cpp(keyed, open_):
    """It calls http://llama-cpp:8000: that goes on where the service is open. Else its node names the
    gateway, and shows the key that the others show.
    """
    here = keyed(**({"closed": False} if open_ else {}))
    header = of_the_workflow(here)
    itself = names_of(SEED) - {"Chat"}
    untouched = brought(here, SEED, header, itself)
    assert ASKS_ITSELF in SEED.read_text()
    run = here.execute(untouched)
    assert run.succeeded is open_, run.text
    if open_:
        assert b"POST /v1/chat/completions" in here.llama_cpp.asked
        assert b"uthorization" not in here.llama_cpp.asked
        return
    changed = brought(here, SEED, header, Chat=f"{GATEWAY}/v1/chat/completions")
    run = here.execute(changed)
    assert run.succeeded, run.text
    assert run.output("Process")["answer"]
    assert run.output(f"Unload {MODEL}")["status"] == "unloaded"
