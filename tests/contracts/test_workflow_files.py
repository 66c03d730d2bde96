"""What every file of `workflows/` has to keep to, without an n8n: shapes, versions and addresses."""

import json
import re
from itertools import chain

import pytest

from orchestrator.web.rest import admin, events, leases, models
from tests.scenarios.daemon import ROOT

FILES = sorted((ROOT / "workflows").glob("*.json"))
ROUTES = [
    (route.path_regex, route.methods)
    for route in chain(*(each.router.routes for each in (models, leases, events, admin)))
]
# Versions of nodes that old and new n8n run.
VERSIONS = {
    "n8n-nodes-base.code": 2,
    "n8n-nodes-base.httpRequest": 4.2,
    "n8n-nodes-base.if": 2.2,
    "n8n-nodes-base.manualTrigger": 1,
    "n8n-nodes-base.stickyNote": 1,
    "n8n-nodes-base.stopAndError": 1,
    "n8n-nodes-base.wait": 1.1,
}
ID_CHARS_MAX = 21  # a longer one does not fit n8n's table
PLACES = ("http://model-orchestrator:8000", "http://llama-cpp:8000", "http://comfyui:8188")
LOAD_MS_MIN = 300_000  # n8n's own default, and longer than a load
LEASE_S_MAX = 600  # what a workflow that was killed may keep others waiting
MAY_FAIL = ("n8n-nodes-base.code", "n8n-nodes-base.httpRequest")


def nodes(file, kind=None):
    every = json.loads(file.read_text())["nodes"]
    return [each for each in every if kind is None or each["type"] == f"n8n-nodes-base.{kind}"]


def load_body(node):
    """What a node asks to be loaded; empty if it asks for nothing."""
    said = node["parameters"]
    return said.get("jsonBody", "") if said.get("url", "").endswith("/models/load") else ""


HOLDING = [
    file
    for file in FILES
    if any('"owner"' in load_body(each) for each in nodes(file, "httpRequest"))
]


def test_each_has_an_id_of_its_own_that_fits():
    ids = [json.loads(file.read_text())["id"] for file in FILES]
    assert len(set(ids)) == len(FILES) >= 6
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
        targets = {target["node"] for output in outputs["main"] for target in output}
        assert {source} | targets <= names
    told = set(re.findall(r"\$\('([^']+)'\)", file.read_text()))
    assert told <= names, "expressions name nodes that are there"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_address_is_one_that_the_api_has(file):
    for each in nodes(file, "httpRequest"):
        said = each["parameters"]
        url = said["url"].removeprefix("=")
        place = next(place for place in PLACES if url.startswith((place + "/", place + "{")))
        if place != PLACES[0]:
            continue
        path = re.sub(r"\{\{.*?status_url.*?\}\}", "/operations/1", url.removeprefix(place))
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
    release = json.loads(said["Release"]["jsonBody"])
    assert release == {"model": wish["model"], "owner": wish["owner"]}
