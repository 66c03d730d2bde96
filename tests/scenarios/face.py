"""The page at `/` in a real browser, and what a test may know of it.

Its stream can be taken over by a test (`canned`), for states that a daemon is seldom in.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route

from tests.pace import crowd

# The names are those of other machines, and lead here: what a page elsewhere may do is tried.
CHROMIUM = (
    "--no-sandbox",
    "--no-proxy-server",
    "--js-flags=--expose-gc",
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP box.local 127.0.0.1",
)
PATIENCE_S = 20.0
CROWD_MAX = 6.0  # what is not there after two minutes will not come
POLL_MS = 50
CANNED = """
delete self.SharedWorker;
self.EventSource = class { constructor() { this.readyState = 1; self.source = this; } close() {} };
self.hear = event => self.source.onmessage({ data: JSON.stringify(event) });
"""
LOADED: Mapping[str, Any] = {
    "service": "rehearsal", "loaded_at": "2026-01-15T10:30:00.000Z", "status": "loaded",
    "loading_since": None, "ready_at": None, "usual_seconds": None, "vram_provenance": "measured", "priority": 5, "pinned": False,
    "in_flight": 0, "busy": False, "leases": [], "last_used_at": "2026-01-15T10:30:30.000Z",
    "expires_at": None, "endpoint": None, "serving": None, "why_leaving": "", "problem": "",
    "given_up": [],
}  # fmt: skip
NOW = "2026-01-15T10:31:00.000Z"


def resident(name: str, mb: int, device: str = "fake-0", **more: Any) -> dict[str, Any]:
    share = [{"device": device, "vram_mb": mb}]
    return {**LOADED, "model": name, "vram_mb": mb, "devices": share, **more}


def card(number: int = 0, total_mb: int = 32768, **more: Any) -> dict[str, Any]:
    said = {
        "id": f"fake-{number}", "name": "Fake 32 GB", "kind": "gpu", "state": "ok", "problem": "",
        "read_at": NOW, "temperature_c": 40.0, "charged_mb": 0, "total_mb": total_mb, "used_mb": 0,
        "free_mb": total_mb, "available_mb": total_mb, "foreign_mb": 0, "headroom_mb": 512,
        "utilization_percent": 0.0,
    }  # fmt: skip
    return said | more


def status(*residents: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A status as the stream tells it: one card, unless said otherwise."""
    devices = more.pop("devices", [card()])
    sums = {key: devices[0][key] for key in devices[0] if key.endswith("_mb")} if devices else {}
    sums = sums or {"total_mb": None, "used_mb": None, "available_mb": None}
    models = {each["model"]: each for each in residents}
    return {
        **sums, "now": NOW, "loaded_models": models, "devices": devices, "leases": [], "queue": [],
        "downloads": [],
    } | more  # fmt: skip


class Face:
    """The page, with all that it said and asked for."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.patience_s = PATIENCE_S * min(crowd(), CROWD_MAX)
        page.set_default_timeout(1000 * self.patience_s)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._note)

    def _hear(self, message: ConsoleMessage) -> None:
        # A refusal is an answer, and Chromium writes each down as a mistake of the page.
        if message.type in ("error", "warning") and "status of" not in message.text:
            self.complaints.append(message.text)

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)

    def open(self) -> "Face":
        self.page.goto(self.url, wait_until="commit")
        self.page.wait_for_selector(".headline")
        return self

    def canned(self, *events: dict[str, Any], models: list[dict[str, Any]] | None = None) -> "Face":
        """Open it with a stream that the test speaks."""

        def answer(route: Route) -> None:
            route.fulfill(json={"object": "list", "data": models or []})

        self.page.route(re.compile(r"/models$"), answer)
        self.page.add_init_script(CANNED)
        self.page.goto(self.url, wait_until="commit")
        self.until("() => Boolean(self.source?.onmessage)")
        for event in events:
            self.hear(event)
        self.page.wait_for_selector(".headline")
        return self

    def snapshot(self, told: dict[str, Any], **more: Any) -> dict[str, Any]:
        past: dict[str, Any] = {"reasons": [], "decisions": [], "spans": []}
        return {"type": "snapshot", "status": told, **past, **more}

    def hear(self, event: dict[str, Any]) -> None:
        self.page.evaluate("event => self.hear(event)", event)

    def called(self, module: str, call: str, *values: Any) -> Any:
        """What a function of one of its modules returns: `called("state", "gb", 1024)`."""
        script = f"values => import('/dashboard/{module}.js').then(m => m.{call}(...values))"
        return self.page.evaluate(script, list(values))

    def until(self, script: str, value: Any = None) -> None:
        """Wait until the function returns true. Not by Playwright, which needs eval for that."""
        deadline = time.monotonic() + self.patience_s
        while not self.page.evaluate(script, value):
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {script} of {value}\n{self.page.inner_text('body')}")
            self.page.wait_for_timeout(POLL_MS)

    # --- what a person sees ------------------------------------------------------------------

    def headline(self) -> str:
        return self.page.inner_text(".headline").replace("\xa0", " ")

    def until_headline(self, words: str) -> str:
        script = "words => new RegExp(words).test(document.querySelector('.headline')?.innerText.replace(/\\s/g, ' '))"
        self.until(script, words)
        return self.headline()

    def section(self, title: str) -> str:
        return self.page.locator(
            "section", has=self.page.locator("h2", has_text=title)
        ).inner_text()

    def until_text(self, selector: str, words: str) -> str:
        """Wait for these words in one of the elements; return what all of them say, also what has
        no room to be shown.
        """
        script = """([selector, words]) => [...document.querySelectorAll(selector)]
          .some(e => e.textContent.replace(/\\s+/g, ' ').includes(words))"""
        self.until(script, [selector, " ".join(words.split())])
        told = self.page.locator(selector).all_text_contents()
        return "\n".join(" ".join(each.split()) for each in told)

    def row(self, model: str) -> str:
        return self.page.locator("tbody tr", has_text=model).first.inner_text()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def widths(self) -> dict[str, float]:
        """Of the segments of all bars but those of plans, in percent of the bar."""
        script = """() => [...document.querySelectorAll('.bar:not(.then) .seg')].map(e => [
          e.title.split(':')[0], 100 * e.getBoundingClientRect().width / e.parentElement.clientWidth])"""
        return dict(self.page.evaluate(script))


@contextmanager
def face_of(browser: Browser, url: str, **context: Any) -> Iterator[Face]:
    opened: BrowserContext = browser.new_context(**context)
    try:
        yield Face(opened.new_page(), url)
    finally:
        opened.close()
