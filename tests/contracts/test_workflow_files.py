"""What every file of `workflows/` has to keep to, without an n8n: shapes, versions and addresses."""

import json
import re
from itertools import chain

import pytest

from orchestrator.web import admin, events, leases, models
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


def nodes(file, kind=None):
    every = json.loads(file.read_text())["nodes"]
    return [each for each in every if kind is None or each["type"] == f"n8n-nodes-base.{kind}"]


def test_each_has_an_id_of_its_own_that_fits():
    ids = [json.loads(file.read_text())["id"] for file in FILES]
    assert len(set(ids)) == len(FILES) >= 6
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
