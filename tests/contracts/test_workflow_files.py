"""What every file of `workflows/` has to keep to, without an n8n: shapes, versions and addresses."""

import json
import re
from itertools import chain

import pytest

from orchestrator.cli.connect.recipes import n8n
from orchestrator.cli.connect.target import Target
from orchestrator.web.rest import admin, events, leases, models
from tests.scenarios.daemon import ROOT

FILES = sorted((ROOT / "workflows").glob("*.json"))
ROUTES = [
    (route.path_regex, route.methods)
    for route in chain(*(each.router.routes for each in (models, leases, events, admin)))
]
# Versions of nodes that old and new n8n run.
VERSIONS = {
    "@n8n/n8n-nodes-langchain.chainLlm": 1.7,
    "@n8n/n8n-nodes-langchain.lmChatOllama": 1,
    "@n8n/n8n-nodes-langchain.lmChatOpenAi": 1.2,
    "n8n-nodes-base.code": 2,
    "n8n-nodes-base.httpRequest": 4.2,
    "n8n-nodes-base.if": 2.2,
    "n8n-nodes-base.manualTrigger": 1,
    "n8n-nodes-base.set": 3.4,
    "n8n-nodes-base.stickyNote": 1,
    "n8n-nodes-base.stopAndError": 1,
    "n8n-nodes-base.wait": 1.1,
}
ID_CHARS_MAX = 21  # a longer one does not fit n8n's table
SAID = "={{ $('Settings').first().json.%s }}"
ORCHESTRATOR, COMFYUI = (SAID % name for name in ("orchestrator", "comfyui"))
STACK = "http://model-orchestrator:8000"
ENDPOINTS = ("={{ $json.endpoint }}/v1/", "={{ $('Load').first().json.endpoint }}/v1/")
CALLED = ("/v1/chat/completions",)  # of the gateway
LOAD_MS_MIN = 300_000  # n8n's own default, and longer than a load
LEASE_S_MAX = 600  # what a workflow that was killed may keep others waiting
MAY_FAIL = ("n8n-nodes-base.code", "n8n-nodes-base.httpRequest")


def nodes(file, kind=None):
    every = json.loads(file.read_text())["nodes"]
    return [each for each in every if kind is None or each["type"] == f"n8n-nodes-base.{kind}"]


def assignments(settings):
    return settings["parameters"]["assignments"]["assignments"]


def load_body(node):
    """What a node asks to be loaded; empty if it asks for nothing."""
    said = node["parameters"]
    body = said.get("jsonBody", "") if said.get("url", "").endswith("/models/load") else ""
    return body.removeprefix("=")


HOLDING = [
    file
    for file in FILES
    if any('"owner"' in load_body(each) for each in nodes(file, "httpRequest"))
]


def test_figures_that_the_translation_names_are_exported():
    """Of llama.cpp's own names, those with a colon, it says that they are llama.cpp's."""
    said = set(re.findall(r"\b(llamacpp_\w+)", (ROOT / "workflows" / "README.md").read_text()))
    reference = (ROOT / "docs" / "reference" / "metrics.md").read_text()  # compared with the code
    assert len(said) >= 4
    assert all(f"`{name}`" in reference for name in said)


def test_each_has_an_id_of_its_own_that_fits():
    ids = [json.loads(file.read_text())["id"] for file in FILES]
    assert len(set(ids)) == len(FILES) >= 8
    assert len(HOLDING) >= 3
    assert all(len(each) <= ID_CHARS_MAX for each in ids)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nodes_are_of_versions_that_old_and_new_n8n_run(file):
    assert all(VERSIONS[each["type"]] == each["typeVersion"] for each in nodes(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_connection_leads_from_a_node_to_a_node(file):
    workflow = json.loads(file.read_text())
    names = {each["name"] for each in workflow["nodes"]}
    for source, outputs in workflow["connections"].items():
        ways = chain.from_iterable(outputs.values())  # main, or what a model or a tool is there for
        targets = {target["node"] for way in ways for target in way}
        assert {source} | targets <= names
    told = set(re.findall(r"\$\('([^']+)'\)", file.read_text()))
    assert told <= names, "expressions name nodes that are there"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_settings_stand_first_and_nothing_is_said_elsewhere(file):
    """Who imports it has one node to look at."""
    (settings,) = nodes(file, "set")
    names = [each["name"] for each in assignments(settings)]
    ways = json.loads(file.read_text())["connections"]
    first = ways["Start"]["main"][0][0]["node"]
    if first != "Settings":
        assert first == "In the stack?"
        assert ways[first]["main"] == [[{"node": "Settings", "type": "main", "index": 0}]]
    others = [
        json.dumps(each["parameters"])
        for each in nodes(file)
        if each["name"] not in ("Settings", "In the stack?")
    ]
    used = {name for said in others for name in re.findall(r"\('Settings'\)\S*json\.(\w+)", said)}
    assert used == set(names)
    assert not any("http://" in said for said in others)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_address_is_one_that_the_api_has(file):
    for each in nodes(file, "httpRequest"):
        said = each["parameters"]
        url = said["url"]
        if url.startswith((COMFYUI, *ENDPOINTS)) or url == f"{STACK}/health":
            continue
        assert url.startswith(ORCHESTRATOR), url
        path = url.removeprefix(ORCHESTRATOR)
        if path in CALLED:
            continue
        path = re.sub(r"\{\{.*?status_url.*?\}\}", "/operations/1", path)
        path = re.sub(r"\{\{.*?\}\}", "1", path)
        known = [methods for regex, methods in ROUTES if regex.match(path)]
        assert any(said["method"] in methods for methods in known), f"{said['method']} {path}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_may_take_as_long_as_a_load_is_waited_for(file):
    for each in nodes(file, "httpRequest"):
        said = each["parameters"]
        if said["url"].endswith(("/load", "/unload", "/vram/leases", "/completions")):
            quick = '"wait": false' in said.get("jsonBody", "")
            assert quick or said["options"]["timeout"] >= LOAD_MS_MIN, each["name"]
    for each in json.loads(file.read_text())["nodes"]:
        if each["type"].endswith(".lmChatOpenAi"):  # Ollama's streams, and hears that it waits
            assert each["parameters"]["options"]["timeout"] >= LOAD_MS_MIN, each["name"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_credentials_are_those_that_connect_writes(file):
    target = Target(url=STACK, model=None, key=None)
    merge = n8n(target, {}).merge
    assert merge is not None
    written = {each["type"]: each for each in json.loads(merge(""))}
    for node in json.loads(file.read_text())["nodes"]:
        for kind, named in node.get("credentials", {}).items():
            assert named == {key: written[kind][key] for key in ("id", "name")}


@pytest.mark.parametrize("file", HOLDING, ids=lambda file: file.stem)
def test_who_holds_a_model_lets_it_go_on_every_way(file):
    """Whatever may fail between a load with an owner and its release leads to a release."""
    workflow = json.loads(file.read_text())
    said = {each["name"]: each["parameters"] for each in workflow["nodes"]}
    after = {
        source: [[target["node"] for target in output] for output in outputs["main"]]
        for source, outputs in workflow["connections"].items()
    }
    (load,) = (each for each in nodes(file, "httpRequest") if '"owner"' in load_body(each))
    wish = json.loads(load_body(load))
    assert wish["lease_seconds"] <= LEASE_S_MAX
    between, ahead = set(), [load["name"]]
    while ahead:
        here = ahead.pop()
        found = {name for output in after[here] for name in output}
        ahead += found - between - {"Release", "Read the failure"}
        between |= found
    for node in nodes(file):
        if node["name"] in between - {"Release", "Read the failure"} and node["type"] in MAY_FAIL:
            assert node["onError"] == "continueErrorOutput", node["name"]
            assert after[node["name"]][-1] == ["Read the failure"], node["name"]
    assert after["Read the failure"] == [["Release after the failure"]]
    assert after["Release after the failure"] == [["Failed"]]
    assert said["Release after the failure"] == said["Release"]
    release = json.loads(said["Release"]["jsonBody"].removeprefix("="))
    assert release == {"model": wish["model"], "owner": wish["owner"]}
