"""Rules about the documents: what they say exists, and what exists they say."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from docs import generate, parts_api, parts_rows, sentences
from orchestrator.core.values.failures import FailureReason
from orchestrator.gateway import paths
from orchestrator.gateway.ollama import paths as ollama_paths
from orchestrator.web.wire.error_answers import MEANINGS
from tests.documents import DOCS, PAGES, ROOT, anchor, blocks, headings, links, prose
from tests.unit.metrics.parts import figured

RULE = re.compile(r"\bR(1[0-7]|[1-9])\b")
CITED = (*ROOT.glob("orchestrator/**/*.py"), *ROOT.glob("tests/**/*.py"))
EXPLAINED = DOCS / "explanation"
# Codes that only the nginx in front gives.
EDGE = ROOT / "nginx" / "edge.lua"
TEST = re.compile(r"tests/[\w/]+\.py(?:::(\w+))?")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- what is generated -----------------------------------------------------------------------


@pytest.mark.parametrize("page", generate.pages(), ids=named)
def test_generated_parts_are_as_the_code_has_them(page):
    text = page.read_text()
    assert text == generate.filled(text), f"{named(page)}: run `make references`"


def test_every_part_is_on_a_page_and_every_sentence_is_used():
    texts = {page: page.read_text() for page in generate.pages()}
    assert generate.unused(texts) == set()
    for text in texts.values():
        generate.filled(text)
    assert sentences.unused() == set(), "docs/sentences.yaml: nothing is called so any more"


def test_a_part_that_nobody_makes_is_an_error():
    text = "<!-- generated: wishes (make references) -->\n<!-- end of generated -->"
    with pytest.raises(generate.NoSuchPart, match="wishes"):
        generate.filled(text)


def test_something_without_a_sentence_is_an_error():
    with pytest.raises(sentences.Unsaid, match="fields for nothing"):
        sentences.sentence("fields", "nothing")


def test_every_row_of_the_documents_is_kept_by_tests_that_are_there_or_says_why_not():
    for document, asked in parts_rows.rows().items():
        assert asked, document
        for row in asked:
            assert len({"kept", "refused", "open"} & row.keys()) == 1, row
            assert ("tests" in row) == ("kept" in row), row
            for test in row.get("tests", ()):
                assert (ROOT / parts_rows.located(test).partition("::")[0]).is_file()


def test_a_row_whose_test_is_gone_is_an_error():
    with pytest.raises(parts_rows.NoSuchTest, match="test_that_was_renamed is in 0 files"):
        parts_rows.located("test_that_was_renamed")


# --- what is written by hand -----------------------------------------------------------------


def test_every_code_is_explained_and_no_other():
    said = {
        each for each in headings(DOCS / "reference" / "errors.md") if re.fullmatch("[a-z_]+", each)
    }
    of_edge = set(re.findall(r"refuse\(\s*(?:\w+\.)?\w+,\s*\"([a-z_]+)\"", EDGE.read_text()))
    of_edge |= set(re.findall(r"\{ \d+, \"([a-z_]+)\"", EDGE.read_text()))
    assert "rate_limited" in of_edge
    assert said == set(MEANINGS) | of_edge


def test_every_cause_is_explained_and_no_other():
    pages = headings(DOCS / "reference" / "errors.md")
    said = {each.removeprefix("Cause: ") for each in pages if each.startswith("Cause: ")}
    assert said == set(FailureReason)


def test_figures_that_are_named_are_in_the_status():
    shapes = parts_api.described()["components"]["schemas"]
    table = (DOCS / "reference" / "metrics.md").read_text().partition("### What to watch")[2]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    named_ = [each for row in rows for each in re.findall(r"`([a-z_.*\[\]]+)`", row)]
    paths = [each for each in named_ if each not in {"stuck", "raised", "uncertain", "ok"}]
    assert len(paths) > 15
    for path in paths:
        shape = shapes["Status"]
        for step in path.replace("[]", "").replace(".*", "").split("."):
            assert step in shape["properties"], f"metrics.md: there is no {path}"
            field = shape["properties"][step]
            inner = field.get("items", field.get("additionalProperties", {}))
            shape = shapes.get(inner.get("$ref", "").rpartition("/")[2], shape)


def test_variables_that_are_named_are_in_the_example():
    example = (ROOT / ".env.example").read_text()
    text = (DOCS / "guides" / "docker.md").read_text()
    others = {"DOCKER_HOST", "HF_HOME", "MODEL_PATH", "PORT"}
    variables = set(re.findall(r"`([A-Z][A-Z0-9_]+)(?:=[^`]*)?`", text)) - others
    assert len(variables) > 5
    assert {each for each in variables if each not in example} == set()


def test_routes_that_are_named_exist():
    known = set(parts_api.described()["paths"]) | {"/docs", "/openapi.json"}
    shapes = [re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) + "$") for path in known]
    for page in PAGES:
        for method, path in re.findall(r"`(GET|POST|PUT|DELETE) (/[^ `?]*)", page.read_text()):
            route = path.split("?")[0]
            if paths.find(method, route) or ollama_paths.find(method, route, ()):
                continue
            assert any(shape.match(route) for shape in shapes), f"{named(page)}: {method} {path}"


def test_every_file_that_is_named_exists():
    """Files of the project, in code: `deploy/…`, `workflows/…`, `tests/…::test_x`."""
    for page in PAGES:
        for each in re.findall(
            r"`((?:deploy|examples|workflows|llama_service|tests)/[^` ]*)`", page.read_text()
        ):
            path, _, test = each.partition("::")
            assert (ROOT / path).exists(), f"{named(page)}: there is no {path}"
            assert not test or test in functions(ROOT / path), f"{named(page)}: no {test} in {path}"


@cache
def functions(path: Path) -> set[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


# --- rules -----------------------------------------------------------------------------------


def explained() -> dict[str, str]:
    """Every rule with the text under its heading."""
    rules: dict[str, str] = {}
    for page in sorted(EXPLAINED.glob("*.md")):
        for part in re.split(r"^### ", page.read_text(), flags=re.MULTILINE)[1:]:
            text = re.split(r"^## ", part, flags=re.MULTILINE)[0]
            if found := re.match(r"(R\d+) \w", text):
                assert found[1] not in rules, f"{named(page)}: {found[1]} is explained twice"
                rules[found[1]] = text
    return rules


def test_every_rule_that_is_cited_is_explained_and_every_one_explained_is_cited():
    cited = {
        found[0]: named(path)
        for path in CITED
        if path != Path(__file__)
        for found in RULE.finditer(path.read_text())
    }
    rules = explained()
    assert {each: where for each, where in cited.items() if each not in rules} == {}
    assert {each for each in rules if each not in cited} == set()
    assert set(rules) == {f"R{number}" for number in range(1, len(rules) + 1)}


@pytest.mark.parametrize("rule", sorted(explained()))
def test_every_rule_names_the_tests_that_hold_it(rule):
    tests = TEST.findall(explained()[rule])
    assert tests, f"{rule} is held by no test"
    assert all(tests), f"{rule}: name the test, not only its file"


# --- links -----------------------------------------------------------------------------------


@cache
def anchors(page: Path) -> list[str]:
    return [anchor(each) for each in headings(page)]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)}: there is no {link}"
        inside = page.is_relative_to(DOCS)
        assert not inside or target.is_relative_to(DOCS), f"{named(page)}: {link} leaves the site"
        if fragment:
            assert fragment in anchors(target), f"{named(page)}: no such heading: {link}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_two_headings_of_a_page_have_one_anchor(page):
    """They would be numbered, by GitHub in another way than by the site."""
    found = anchors(page)
    assert sorted(found) == sorted(set(found))
    assert all("--" not in each for each in found), "the site would make one dash of two"


def test_every_page_is_in_the_navigation():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())

    def pages(nav):
        for each in nav:
            if isinstance(each, list):
                yield from pages(each)
                continue
            yield from [each] if isinstance(each, str) else pages([*each.values()])

    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert set(pages(site["nav"])) == there


def test_the_site_fetches_nothing_from_elsewhere():
    text = (ROOT / "mkdocs.yml").read_text()
    site = yaml.safe_load(text)
    assert site["theme"]["font"] is False
    assert site["plugins"] == ["search"], "others fetch scripts when a page is opened"
    assert "://" not in text
    fences = {block.language for page in PAGES for block in blocks(page)}
    assert fences <= {"sh", "python", "json", "text", "yaml"}, (
        "such as a diagram, which is drawn by a script"
    )


def test_prose_names_what_is_not_there_only_as_such():
    """Of the daemon itself: model servers have such routes."""
    gone = [path for path in ("/v1/chat/completions",) if path in parts_api.described()["paths"]]
    assert gone == [], f"{gone} exist now: say so in index.md, README.md and the guides"
    assert "does not exist" in prose((DOCS / "index.md").read_text())


def test_the_figures_are_those_that_are_exported(tmp_path):
    """Those of a model's server but for its own, which are of its making."""
    text = (DOCS / "reference" / "metrics.md").read_text()
    told = set(re.findall(r"^\| `((?:orchestrator|llamacpp)_\w+)` \|", text, re.MULTILINE))
    with figured(tmp_path) as office:
        exported = {name for name in office.names() if not name.startswith("process_")}
    assert told == exported - {"llamacpp_tokens_predicted_total"}
