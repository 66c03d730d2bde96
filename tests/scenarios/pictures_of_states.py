"""Every state that the page is made for, to be looked at: `python -m tests.scenarios.pictures_of_states DIR`.

Light, dark, on a wide screen and on a phone. They are for the eye of who changes the page, and are
kept nowhere.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests import parts
from tests.scenarios.daemon import config, running
from tests.scenarios.face import CHROMIUM, Face, card, face_of, resident, status
from tests.scenarios.pictures import at, shown

SCREENS = (("wide", 1440, 900), ("phone", 390, 844))
SCHEMES = ("light", "dark")
MODELS = ("bge-m3", "gemma-3-12b", "qwen3-vl-30b")

Told = dict[str, Any]


def read_card(**more: Any) -> Told:
    said = {"name": "NVIDIA GeForce RTX 5090", "read_at": at(0.2), "temperature_c": 46.0}
    figures = {
        "used_mb": 10600,
        "available_mb": 21400,
        "foreign_mb": 400,
        "utilization_percent": 12,
    }
    return card(0, 32607, **said, **figures) | more


def here(*changed: Told, **more: Any) -> Told:
    """Two models on a card, some of them with something the matter."""
    two = [
        resident("bge-m3", 1200, last_used_at=at(26), pinned=True),
        resident("gemma-3-12b", 9200, last_used_at=at(800), expires_at=at(-378)),
    ]
    named = {each["model"]: each for each in (*two, *changed)}
    return status(*named.values(), **{"devices": [read_card()], "now": at(0), **more})


def model(name: str, **more: Any) -> Told:
    return {"id": name, "vram_mb": 9000, "breaker": None, "failure": None, **more}


def snapshot(told: Told, **more: Any) -> Told:
    past: Told = {"reasons": [], "decisions": [], "spans": []}
    return {"type": "snapshot", "status": told, **past, **more}


def lost() -> Told:
    gone = {"state": "lost", "problem": "GPU is lost (NVML 15)", "read_at": at(50)}
    unknown = ("total_mb", "used_mb", "free_mb", "available_mb", "foreign_mb",
               "utilization_percent", "temperature_c")  # fmt: skip
    devices = [read_card(**gone, **dict.fromkeys(unknown))]
    event = here(devices=devices, total_mb=None, used_mb=None, available_mb=None)
    return snapshot(event, reasons=["fake-0: GPU is lost (NVML 15)"])


def host() -> Told:
    ram = read_card(id="host", name="host", kind="host", temperature_c=None, headroom_mb=2048,
                    utilization_percent=None, foreign_mb=None)  # fmt: skip
    on_host = resident("bge-m3", 1200, "host", last_used_at=at(26))
    return snapshot(status(on_host, devices=[ram], now=at(0)))


def stuck() -> Told:
    hung = resident("gemma-3-12b", 9200, status="stuck", last_used_at=at(800),
                    problem="Process 4711 does not end: it hangs in a driver.")  # fmt: skip
    return snapshot(here(hung), reasons=["gemma-3-12b did not stop."])


def silent() -> Told:
    silence = "Docker has not answered for 40 s"
    quiet = [
        resident(name, mb, last_used_at=at(400), problem=f"{silence}; it was ready when last seen.")
        for name, mb in (("bge-m3", 1200), ("gemma-3-12b", 9200))
    ]
    return snapshot(here(*quiet), reasons=[f"{silence}; nothing is started there."])


def unknown() -> Told:
    blind = read_card(utilization_percent=None, temperature_c=None, foreign_mb=None)
    return snapshot(here(devices=[blind]))


BREAKER = {
    "failures": 3, "open_until": at(-120), "cause": "exited", "detail": "Its server ended by "
    "itself (exit code 1): error loading model: unknown architecture 'qwen9'.",
    "remedy": "Read the model's log; update llama.cpp.",
}  # fmt: skip
FAILURE = {"cause": "model_file", "detail": "/models/old.gguf is not there.",
           "remedy": "`orchestrator pull old`, or remove the model."}  # fmt: skip


def canned(*events: Told, models: list[Told] | None = None) -> Callable[[Face], None]:
    listed = [model(name) for name in MODELS] if models is None else models

    def open_(look: Face) -> None:
        look.canned(*events, models=listed)
        look.until("() => self.face().state.models !== null")

    return open_


def busy(look: Face) -> None:
    shown(look)


def daemon_gone(look: Face) -> None:
    canned(snapshot(here()))(look)
    look.hear({"type": "link", "link": "lost"})
    look.until_headline("Not connected")


def talk(look: Face) -> None:
    canned(snapshot(here()))(look)
    look.press("Try gemma-3-12b")
    look.page.wait_for_selector(".talk")


def refused_look(look: Face) -> None:
    canned(snapshot(here()))(look)
    look.page.fill(".add input", "/nowhere/at/all.gguf")
    look.press("Look")
    look.page.wait_for_selector(".note.bad")


STATES: Mapping[str, Callable[[Face], None]] = {
    "busy": busy,
    "first-start": canned(snapshot(here() | {"loaded_models": {}}), models=[]),
    "idle": canned(snapshot(here() | {"loaded_models": {}})),
    "no-gpu": canned(host()),
    "no-device": canned(snapshot(status(devices=[], now=at(0)))),
    "device-unreadable": canned(lost()),
    "stale-reading": canned(snapshot(here(devices=[read_card(read_at=at(95))]))),
    "unknown": canned(unknown(), models=[model("hidden", vram_mb=None)]),
    "stuck": canned(stuck()),
    "breaker-open": canned(
        snapshot(here()), models=[model("qwen9", breaker=BREAKER), model("old", failure=FAILURE)]
    ),
    "runtime-silent": canned(silent()),
    "daemon-gone": daemon_gone,
    "talk": talk,
    "refused-look": refused_look,
}


def without_scripts(browser: Browser, url: str, picture: Path, context: Told) -> None:
    with face_of(browser, url, java_script_enabled=False, **context) as look:
        look.page.goto(url, wait_until="commit")
        look.page.wait_for_selector("noscript")
        look.page.screenshot(path=picture)


def pictures(browser: Browser, url: str, folder: Path, wanted: list[str]) -> None:
    for screen, width, height in SCREENS:
        for scheme in SCHEMES:
            view = {"width": width, "height": height}
            context: Told = {"viewport": view, "color_scheme": scheme, "timezone_id": "UTC"}

            def named(state: str, kind: str = f"{screen}-{scheme}") -> Path:
                return folder / f"{state}-{kind}.png"

            for state, opened in STATES.items():
                if not wanted or state in wanted:
                    with face_of(browser, url, **context) as look:
                        opened(look)
                        look.page.screenshot(path=named(state), full_page=state != "talk")
            if not wanted or "no-javascript" in wanted:
                without_scripts(browser, url, named("no-javascript"), context)


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), config({})) as daemon,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=parts.chromium(), args=[*CHROMIUM])
        pictures(browser, daemon.url, folder, sys.argv[2:])
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
