import gzip
import re

import pytest

from orchestrator.config.sections import Dashboard, ServerSettings
from orchestrator.web.rest.dashboard import FOLDER, VENDORED, assets
from tests.tools.vendor import FOLDER as VENDOR
from tests.tools.vendor import digest, manifest
from tests.unit.web.office import Office

BROWSER = {"Accept": "text/html"}
FOREIGN = re.compile(r"""(?:https?:)?//(?!www\.w3\.org/)[a-z0-9-]+\.[a-z]""", re.IGNORECASE)


@pytest.fixture
def shown(tmp_path):
    """A desk whose page is of this kind."""

    def show(how_much):
        return Office(tmp_path, server=ServerSettings(dashboard=how_much))

    return show


def test_page_is_served_to_browsers(office):
    page = office.asked("GET", "/", headers=BROWSER)
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert 'data-dashboard="full"' in page.text


def test_page_says_that_it_is_for_looking_only(shown):
    with shown(Dashboard.READ_ONLY) as office:
        assert 'data-dashboard="read_only"' in office.asked("GET", "/", headers=BROWSER).text


def test_no_page_where_it_is_off(shown):
    with shown(Dashboard.OFF) as office:
        answer = office.asked("GET", "/", headers=BROWSER)
        assert (answer.status_code, answer.headers["Location"]) == (307, "/docs")
        assert office.asked("GET", "/dashboard/app.js").status_code == 404


def test_all_that_the_page_asks_for_is_there(office):
    texts = [office.asked("GET", "/", headers=BROWSER).text]
    texts += [asset.body.decode() for asset in assets().values()]
    for name in {name for text in texts for name in re.findall(r"/dashboard/([\w.]+)", text)}:
        assert office.asked("GET", f"/dashboard/{name}").status_code == 200, name


def test_assets_are_compressed_and_sent_again_only_when_they_have_changed(office):
    plain = office.asked("GET", "/dashboard/app.js", headers={"Accept-Encoding": "identity"})
    packed = office.asked("GET", "/dashboard/app.js", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.text == plain.text == gzip.decompress(assets()["app.js"].compressed).decode()
    known = {"If-None-Match": plain.headers["ETag"]}
    again = office.asked("GET", "/dashboard/app.js", headers=known)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["app.js", "app.css", "state.js", "stream.js", "view.js"])
def test_nothing_but_comments_is_left_out(name):
    sent, written = assets()[name].body.decode(), (FOLDER / name).read_text()
    assert sent.count("\n") == written.count("\n"), "the lines keep their numbers"
    for line, as_sent in zip(written.splitlines(), sent.splitlines(), strict=True):
        assert line == as_sent or (not as_sent and re.fullmatch(r" *//.*|/\*.*\*/", line)), line


@pytest.mark.parametrize("name", ["dashboard.py", "..%2fapp.py", "manifest.json", "index.html"])
def test_nothing_else_is_served(office, name):
    assert office.asked("GET", f"/dashboard/{name}").status_code == 404


def test_policy_has_no_loophole_and_the_page_needs_none(office):
    page = office.asked("GET", "/", headers=BROWSER)
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert not re.search(r"<script[^>]*>[^<]|<style|\bon\w+=|\bstyle=", page.text)


def test_nothing_names_a_foreign_host():
    for path in FOLDER.rglob("*"):
        if path.suffix in (".js", ".mjs", ".css", ".html"):
            assert not FOREIGN.search(path.read_text().replace("http://www.w3.org/", "")), path


def test_what_is_of_others_is_what_the_manifest_says():
    assert manifest().keys() == VENDORED
    for name, of in manifest().items():
        assert digest((VENDOR / name).read_bytes()) == of["sha256"], (
            f"{name}: run tests.tools.vendor"
        )
        assert (VENDOR / f"LICENSE.{of['package']}.txt").read_text().strip()
