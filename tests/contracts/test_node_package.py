"""What n8n and its list of community nodes expect of our node's package, without an n8n."""

import json
import re

import pytest

from tests.scenarios.n8n import NODE

PACKAGE = json.loads((NODE / "package.json").read_text())
SECTIONS = (
    *("Installation", "Operations", "Credentials", "Compatibility", "Usage", "Resources"),
    "Version history",
)


def test_the_package_says_what_it_is_and_whose():
    assert PACKAGE["name"].startswith("n8n-nodes-")
    assert "n8n-community-node-package" in PACKAGE["keywords"]
    for key in ("description", "license", "homepage", "author", "repository", "bugs"):
        assert PACKAGE[key], key
    assert (NODE / "LICENSE.md").read_text().startswith("MIT License")
    assert "dependencies" not in PACKAGE, "a verified node has none"


@pytest.mark.parametrize("kind", ["credentials", "nodes"])
def test_what_it_names_is_there(kind):
    (built,) = PACKAGE["n8n"][kind]
    assert (NODE / built.removeprefix("dist/").replace(".js", ".ts")).exists()


def test_the_readme_has_the_sections_of_the_list_and_names_every_operation():
    text = (NODE / "README.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(SECTIONS)
    sources = [(NODE / "nodes" / "VramOrchestrator" / f"{each}.ts") for each in ("model", "lease")]
    for source in sources:
        operations = source.read_text().partition("Fields: INodeProperties")[0]
        for name in re.findall(r"^\t{4}name: '(.+)',$", operations, re.MULTILINE):
            assert f"| {name} |" in text, name


def test_the_codex_is_of_this_node_and_can_be_found():
    node = NODE / "nodes" / "VramOrchestrator"
    codex = json.loads((node / "VramOrchestrator.node.json").read_text())
    name = re.search(r"name: '(\w+)'", (node / "VramOrchestrator.node.ts").read_text())
    assert codex["node"] == f"{PACKAGE['name']}.{name[1]}"
    assert codex["categories"]
    assert codex["alias"]
    assert {"primaryDocumentation", "credentialDocumentation"} <= codex["resources"].keys()


def test_node_and_credentials_have_icons_for_both_themes():
    for source in NODE.glob("**/VramOrchestrator*.ts"):
        icons = re.findall(r"file:([./\w]+\.svg)", source.read_text())
        assert len(icons) == 2, source
        assert all((source.parent / icon).resolve().is_file() for icon in icons)


def test_credentials_can_be_tested():
    text = (NODE / "credentials" / "VramOrchestratorApi.credentials.ts").read_text()
    assert "test: ICredentialTestRequest" in text
    assert "typeOptions: { password: true }" in text
