"""What holds in a browser whatever the page shows: who may ask, what leaves, how it looks, what it costs."""

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.web.rest.dashboard import FOLDER, Dashboard, assets, page
from tests import parts
from tests.pace import crowd
from tests.scenarios.daemon import model
from tests.scenarios.face import card, resident, status

WIDTHS = (320, 360, 390, 430, 480, 560, 640, 641, 768, 880, 900, 1024, 1081, 1200, 1321, 1440, 1920)
OWN_BYTES_MAX = 67_500  # scripts, style and page as they are written, for people to read
SENT_BYTES_MAX = 28_400  # all of it, compressed by gzip
CPU_SHARE_MAX = 0.15
CPU_S = 10
EVENTS = 2400
HEAP_GROWTH_BYTES_MAX = 1_500_000

BUSY = [resident(f"model-{n:02}", 600, f"fake-{n % 4}", in_flight=n % 3) for n in range(50)]
CARDS = [card(number) for number in range(4)]
WAITING = {
    "model": "a-model-with-a-rather-long-name-30b-instruct-q4", "priority": 5, "callers": 3,
    "waited_seconds": 70.0, "bound_seconds": 360.0, "possible_at": "2026-01-15T10:34:00.000Z",
    "waits_for": "it needs 22000 MB and 12000 MB can be used now; in the way: model-01 (it is in "
    "use by 2 requests), model-02 (it is pinned)",
}  # fmt: skip
DECIDED = {
    "id": 1, "at": "2026-01-15T10:30:00.000Z", "kind": "fail", "model": "model-01",
    "text": "model-01 did not come up (out of memory).", "why": "It took 9400 MB.", "evicted": [],
    "remedy": "Lower context_size.",
}  # fmt: skip
SPAN = {
    "span_id": 1, "holder": "resident", "name": "model-01", "device": "fake-0", "vram_mb": 9000,
    "from_at": "2026-01-15T10:10:00.000Z", "until_at": None,
}  # fmt: skip
RUNS = {
    "id": 7, "asked": "model-01", "model": "model-01", "protocol": "openai", "owner": "n8n",
    "path": "/v1/chat/completions", "client": "192.168.1.20", "streaming": True, "priority": None,
    "began_at": "2026-01-15T10:30:50.000Z", "ended_at": None, "total_seconds": 2.0,
    "wait_seconds": 0.0, "load_seconds": 0.0, "first_byte_seconds": 0.1, "why": "", "status": 200,
    "outcome": None, "tokens_in": None, "tokens_out": None, "tokens_per_second": None,
}  # fmt: skip


def full(number=0):
    """A machine on which everything happens at once."""
    moved = [{**each, "vram_mb": each["vram_mb"] + number % 7} for each in BUSY[:12]]
    moved[0] = {**moved[0], "status": "loading", "loading_since": "2026-01-15T10:30:40.000Z"}
    moved[1] = {**moved[1], "status": "draining", "why_leaving": "model-01 makes room"}
    moved[2] = {**moved[2], "status": "stuck", "problem": "It hangs in a driver."}
    lease = {"lease_id": "lease-1", "owner": "comfyui", "priority": 5, "vram_mb": 4000,
             "granted_at": "2026-01-15T10:30:00.000Z", "device": "fake-1",
             "expires_at": "2026-01-15T10:40:00.000Z"}  # fmt: skip
    cards = [{**each, "foreign_mb": 1500} for each in CARDS]
    return status(*moved, devices=cards, leases=[lease], queue=[WAITING])


@pytest.fixture
def shown(daemons, face):
    """The page with everything on it."""

    def open_(**context):
        look = face(daemons({}), **context)
        listed = [{"id": each["model"], "vram_mb": 600} for each in BUSY]
        run = {"type": "requests", "running": [RUNS], "running_total": 1, "ended": []}
        past = {"decisions": [DECIDED], "spans": [SPAN]}
        return look.canned(look.snapshot(full(), **past), run, models=listed)

    return open_


FETCH = """([url, type, mode]) => fetch(url, {method: 'POST', mode, headers: {'Content-Type': type},
  body: '{"model": "small"}'}).then(a => a.status, () => 0)"""
IMAGE = """([url]) => new Promise(done => { const i = new Image(); i.onload = i.onerror = () => done(0);
  i.src = url; })"""


@pytest.mark.parametrize(
    ("of", "to", "kind", "mode", "obeyed"),
    [
        ("127.0.0.1", "127.0.0.1", "application/json", "same-origin", True),
        ("box.local", "box.local", "application/json", "same-origin", True),
        ("evil.test", "127.0.0.1", "text/plain", "no-cors", False),
        ("evil.test", "box.local", "text/plain", "no-cors", False),
        ("127.0.0.1:other", "127.0.0.1", "text/plain", "no-cors", False),
        ("evil.test", "127.0.0.1", "application/json", "cors", False),
        ("evil.test", "127.0.0.1", "image", "", False),
    ],
)
def test_cross_site_post_is_refused(daemons, face, elsewhere, of, to, kind, mode, obeyed):
    daemon = daemons({"small": model(6000)})
    daemon.load("small")
    port = daemon.port if of == to else elsewhere
    look = face(daemon)
    look.page.goto(f"http://{of.removesuffix(':other')}:{port}/", wait_until="commit")
    url = f"http://{to}:{daemon.port}"
    if kind == "image":
        look.page.evaluate(IMAGE, [f"{url}/models/unload?model=small"])
    else:
        look.page.evaluate(FETCH, [f"{url}/models/unload", kind, mode])
    assert (daemon.loaded() == {}) is obeyed


def test_rebound_host_is_refused(daemons, face):
    daemon = daemons({})
    look = face(daemon)
    for path in ("/", "/models/status", "/events"):
        answer = look.page.goto(f"http://rebound.test:{daemon.port}{path}", wait_until="commit")
        assert answer is not None
        assert answer.status == 421


def test_eight_tabs(daemons, face):
    daemon = daemons({"small": model(6000)})
    first = face(daemon).open()
    tabs = [first.page]
    for _ in range(7):
        tab = first.page.context.new_page()
        tab.goto(daemon.url, wait_until="commit")
        tab.wait_for_selector(".headline")
        tabs.append(tab)
    daemon.load("small")
    for tab in tabs:
        tab.bring_to_front()
        tab.wait_for_selector("tr.loaded")


def test_no_request_leaves_the_host_and_no_rule_is_broken(daemons, face):
    daemon = daemons({"small": model(6000)})
    daemon.load("small")
    look = face(daemon).open()
    look.press("Try small")
    look.page.keyboard.press("Escape")
    look.page.goto(f"{daemon.url}/docs", wait_until="commit")
    look.page.wait_for_selector("#operations-models-load_models_load_post, .opblock")
    own = urlsplit(daemon.url).netloc
    foreign = [url for url in look.asked if urlsplit(url).netloc not in ("", own)]
    assert foreign == []
    assert look.complaints == []


def test_without_scripts_it_says_where_the_facts_are(daemons, face):
    daemon = daemons({})
    look = face(daemon, java_script_enabled=False)
    look.page.goto(daemon.url, wait_until="commit")
    assert "/models/status" in look.page.inner_text("noscript")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_light_dark_desktop_phone(shown, scheme, width):
    parts.require("axe")
    look = shown(color_scheme=scheme, viewport={"width": width, "height": 900})
    script = Path(parts.TOOLS / "fetch_axe.sh")
    axe = Path(subprocess.run([script], check=True, capture_output=True, text=True).stdout.strip())
    look.page.evaluate(axe.read_text())
    found = look.page.evaluate("axe.run().then(r => r.violations)")
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


def test_no_overflow_at_17_widths(shown):
    look = shown()
    look.page.select_option(".logs select", "")
    for width in WIDTHS:
        look.page.set_viewport_size({"width": width, "height": 900})
        wide = look.page.evaluate(
            """() => [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() &&
              !e.closest('.bar, .sr, pre, svg, .ticks, .times, .plots') &&
              e.getBoundingClientRect().right > (e.closest('section, .lead') ?? document.body)
                .getBoundingClientRect().right + 1).map(e => e.outerHTML.slice(0, 120))"""
        )
        assert wide == [], width
        assert look.page.evaluate("document.documentElement.scrollWidth") <= width


def test_forced_colors_keep_bars(shown):
    look = shown(forced_colors="active")
    colours = look.page.evaluate(
        "() => [...document.querySelectorAll('.seg.loaded')].map(e => getComputedStyle(e).backgroundColor)"
    )
    assert len(set(colours)) > 3


def test_reduced_motion_is_still(shown):
    look = shown(reduced_motion="reduce")
    assert look.page.evaluate("document.getAnimations().length") == 0


def measured(session):
    return {
        each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]
    }


UPDATES = """([statuses, count, every]) => new Promise(done => { let n = 0;
  const timer = setInterval(() => { self.hear({type: 'status', status: statuses[n++ % statuses.length]});
    if (n === count) { clearInterval(timer); requestAnimationFrame(() => done()); } }, every); })"""


def test_fifty_residents_under_15_percent_cpu(shown):
    look = shown()
    session = look.page.context.new_cdp_session(look.page)
    # Counted is what the page's thread computed, not how long it waited for a processor.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    changing = [
        status(*({**each, "vram_mb": 600 + n} for each in BUSY), devices=CARDS) for n in range(4)
    ]
    before = measured(session)
    look.page.evaluate(UPDATES, [changing, CPU_S * 4, 250])
    spent = measured(session)["TaskDuration"] - before["TaskDuration"]
    assert spent / CPU_S < CPU_SHARE_MAX


def test_heap_flat_after_2400_events(shown):
    look = shown()
    session = look.page.context.new_cdp_session(look.page)
    session.send("Performance.enable")
    changing = [full(n) for n in range(7)]
    look.page.evaluate(UPDATES, [changing, 100, 4])

    def at_rest():
        session.send("HeapProfiler.collectGarbage")
        return measured(session)

    before = at_rest()
    look.page.evaluate(UPDATES, [changing, EVENTS, 4])
    after = at_rest()
    assert after["JSHeapUsedSize"] - before["JSHeapUsedSize"] < HEAP_GROWTH_BYTES_MAX
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 5


def test_first_paint_is_soon(daemons, face):
    look = face(daemons({})).open()
    paints = look.page.evaluate("performance.getEntriesByType('paint').map(e => e.startTime)")
    assert max(paints) < 300 * crowd()


def test_page_weight():
    own = [path for path in FOLDER.iterdir() if path.suffix in (".js", ".css", ".html")]
    assert sum(path.stat().st_size for path in own) < OWN_BYTES_MAX
    sent = [*assets().values(), page(Dashboard.FULL)]
    assert sum(len(each.compressed) for each in sent) < SENT_BYTES_MAX
