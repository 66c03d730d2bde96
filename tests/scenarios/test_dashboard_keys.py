"""The page of a daemon with keys: logged in by one, out again, and what a key may not do."""

import re
from collections.abc import Iterator

import httpx
import pytest

from orchestrator.web.gate import COOKIE
from tests.scenarios.daemon import model
from tests.scenarios.test_keys import bearer, keys

FETCHED = """([url, more]) => fetch(url, more).then(a => a.text(), () => "unreadable")"""


@pytest.fixture
def daemon(daemons):
    return daemons({"a": model(3000), "b": model(3000)})


@pytest.fixture
def boss(daemon):
    return keys(daemon, "create", "boss", "--scope", "admin")


def loaded(daemon, made):
    answer = daemon.http.post("/models/load", json={"model": "a"}, headers=bearer(made))
    assert answer.status_code == 200, answer.text


def until_form(look):
    look.page.get_by_label("API key").wait_for()


def log_in(look, made):
    look.page.get_by_label("API key").fill(made["key"])
    look.press("Log in")
    look.page.wait_for_selector(".headline")


@pytest.fixture
def look(daemon, boss, face) -> Iterator:
    look = face(daemon)
    look.page.goto(daemon.url, wait_until="commit")
    until_form(look)
    return look


def test_key_logs_in_and_its_cookie_is_all_that_stays(daemon, boss, look):
    assert "3000" not in look.page.inner_text("body")
    look.page.get_by_label("API key").fill("vo_nothing1_" + "x" * 43)
    look.press("Log in")
    look.until_text(".note.bad", "Not logged in")
    log_in(look, boss)
    look.page.get_by_role("button", name="Add it").or_(
        look.page.get_by_label("Add a model")
    ).wait_for()
    (cookie,) = look.page.context.cookies()
    assert cookie["name"] == COOKIE
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert boss["key"] not in str(cookie)
    kept = look.page.evaluate(
        "() => [document.cookie, JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage})]"
    )
    assert kept == ["", "{}", "{}"]
    assert boss["key"] not in "".join(look.asked) + look.page.content()
    loaded(daemon, boss)
    look.page.wait_for_selector("tr.loaded")


def test_what_is_typed_stays_while_the_page_asks_again(daemon, boss, face):
    look = face(daemon)
    look.page.add_init_script("delete self.SharedWorker")
    look.page.clock.install()
    look.page.goto(daemon.url, wait_until="commit")
    until_form(look)
    field = look.page.get_by_label("API key")
    field.fill("half of a key")

    def later(route):
        look.page.wait_for_timeout(300)
        route.continue_()

    look.page.route("**/auth/whoami", later)
    with look.page.expect_response("**/auth/whoami"), look.page.expect_request("**/events*"):
        look.page.clock.fast_forward(61_000)
    assert field.input_value() == "half of a key"


def test_a_login_is_one_of_all_tabs(daemon, boss, look):
    other = look.page.context.new_page()
    other.goto(daemon.url, wait_until="commit")
    other.get_by_label("API key").wait_for()
    log_in(look, boss)
    other.wait_for_selector(".headline")


EVIL = b"""<title>of a model</title><script>
document.title = "ran";
fetch("/keys", {method: "POST", headers: {"Content-Type": "application/json"},
  body: '{"name": "evil", "scopes": ["admin"]}'}).then(a => document.title = "made " + a.status);
navigator.serviceWorker?.register("/upstream/far/worker.js", {scope: "/"});
</script>"""


def test_page_of_a_model_server_is_a_stranger_to_ours(daemons, there, face):
    """Whoever logs in and looks at it gives it nothing: it runs at our address as nobody's."""
    daemon = daemons({"ext": {"service": "far", "vram_mb": 10}}, services={"far": there.service()})
    boss = keys(daemon, "create", "boss", "--scope", "admin")
    daemon.http.post("/models/load", json={"model": "ext"}, headers=bearer(boss))
    there.kind, there.answers = "text/html", [EVIL]
    there.says = [("Set-Cookie", "vo_session=x; Path=/"), ("Service-Worker-Allowed", "/")]
    look = face(daemon)
    look.page.goto(daemon.url, wait_until="commit")
    until_form(look)
    log_in(look, boss)
    before = look.page.context.cookies()
    look.page.evaluate("() => { location.href = '/upstream/ext/'; }")
    look.page.wait_for_url("**/upstream/ext/")
    look.page.wait_for_load_state("networkidle")
    assert look.page.title() == "of a model"
    assert look.page.context.cookies() == before
    assert [one["name"] for one in keys(daemon, "list")["keys"]] == ["boss"]
    answer = daemon.http.get("/upstream/ext/", headers=bearer(boss))
    assert not {"set-cookie", "service-worker-allowed"} & {*answer.headers}


def test_log_out_ends_what_every_tab_shows(boss, daemon, look):
    log_in(look, boss)
    other = look.page.context.new_page()
    other.goto(daemon.url, wait_until="commit")
    other.wait_for_selector(".headline")
    (cookie,) = look.page.context.cookies()
    look.press("Log out boss")
    until_form(look)
    other.get_by_label("API key").wait_for()
    assert look.page.context.cookies() == []
    with httpx.Client(base_url=daemon.url, trust_env=False) as client:
        said = {"Cookie": f"{COOKIE}={cookie['value']}"}
        assert client.get("/models", headers=said).status_code == 401


def test_key_that_is_revoked_in_use_leads_back_to_the_form(daemon, look):
    made = keys(daemon, "create", "n8n", "--scope", "load")
    log_in(look, made)
    keys(daemon, "revoke", made["id"])
    until_form(look)
    assert look.page.locator(".headline").count() == 0, "what was seen with it is gone"


@pytest.mark.parametrize(
    ("scope", "may", "may_not"),
    [
        ("read", (), ("Unload a", "Pin a", "Try a")),
        ("load", ("Unload a", "Try a"), ("Pin a",)),
        ("admin", ("Unload a", "Try a", "Pin a"), ()),
    ],
)
def test_what_a_key_may_not_do_is_not_offered(daemon, boss, look, scope, may, may_not):
    loaded(daemon, boss)
    log_in(look, keys(daemon, "create", "one", "--scope", scope))
    look.page.wait_for_selector("tr.loaded")
    for name in may:
        look.page.get_by_role("button", name=name).wait_for()
    for name in may_not:
        assert look.page.get_by_role("button", name=name).count() == 0
    assert look.page.get_by_label("Add a model").count() == (scope == "admin")


def test_refusal_of_a_key_is_shown(daemon, boss, look):
    loaded(daemon, boss)
    log_in(look, keys(daemon, "create", "one", "--scope", "load"))
    look.page.wait_for_selector("tr.loaded")
    look.press("Unload a")
    look.page.wait_for_timeout(500)  # a double click is no answer
    look.press("Really unload")
    look.until_text(".note.bad", "Not unloaded")


def test_page_that_may_only_look_is_logged_in_too(daemons, face):
    daemon = daemons({"a": model(3000)}, server={"dashboard": "read_only"})
    made = keys(daemon, "create", "one", "--scope", "read")
    look = face(daemon)
    look.page.goto(daemon.url, wait_until="commit")
    until_form(look)
    log_in(look, made)
    assert "only looking" in look.page.inner_text("header.top")


def test_second_origin_gets_nothing_of_a_login(daemon, boss, look, elsewhere):
    log_in(look, boss)
    page = look.page.context.new_page()
    for host in ("evil.test", "127.0.0.1"):
        page.goto(f"http://{host}:{elsewhere}/", wait_until="commit")
        for more in ({"credentials": "include"}, {"credentials": "include", "mode": "no-cors"}):
            said = page.evaluate(FETCHED, [f"{daemon.url}/models", more])
            assert not re.search(r'"id"', said), (host, more)
    load = {
        "method": "POST",
        "credentials": "include",
        "mode": "no-cors",
        "headers": {"Content-Type": "text/plain"},
        "body": '{"model": "a"}',
    }
    page.evaluate(FETCHED, [f"{daemon.url}/models/load", load])
    assert daemon.http.get("/models/status", headers=bearer(boss)).json()["loaded_models"] == {}
