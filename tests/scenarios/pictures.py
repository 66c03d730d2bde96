"""The pictures of README and the guide: `make pictures`. The page is the real one, its stream is told here."""

import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Route, sync_playwright

from tests import parts
from tests.scenarios.daemon import config, running
from tests.scenarios.face import CHROMIUM, Face, card, face_of, resident, status

FOLDER = Path(__file__).parents[2] / "docs" / "images"
NOW = datetime(2026, 1, 15, 14, 30, 20, tzinfo=UTC)
SIZES = {
    "qwen3-vl-30b": 17200, "gemma-3-12b": 9200, "bge-m3": 1200, "whisper-large-v3": 6000,
    "flux-dev": 12300, "wan-video-14b": 14500, "qwen3-coder-30b": 18400,
}  # fmt: skip


def at(seconds_ago: float) -> str:
    return (NOW - timedelta(seconds=seconds_ago)).isoformat().replace("+00:00", "Z")


def cards() -> list[dict[str, Any]]:
    one = card(0, 32607, name="NVIDIA GeForce RTX 5090", read_at=at(0.2), temperature_c=46.0)
    one |= {"available_mb": 2355, "used_mb": 29740, "foreign_mb": 2040, "utilization_percent": 31.0}
    two = card(1, 24576, name="NVIDIA GeForce RTX 3090", read_at=at(0.2), temperature_c=61.0)
    two |= {"available_mb": 864, "used_mb": 23200, "foreign_mb": 0, "utilization_percent": 87.0}
    return [one, two]


def residents() -> list[dict[str, Any]]:
    def one(name: str, gpu: int, service: str, used: float, **more: Any) -> dict[str, Any]:
        said = {"service": service, "loaded_at": at(used + 600), "last_used_at": at(used)} | more
        return resident(name, SIZES[name], f"fake-{gpu}", **said)

    return [
        one("bge-m3", 0, "llama-cpp", 26, pinned=True),
        one("gemma-3-12b", 0, "llama-cpp", 820, expires_at=at(-378), vram_provenance="estimated"),
        one("flux-dev", 0, "comfyui", 3, priority=4, status="loading", loading_since=at(4),
            usual_seconds=15.0, ready_at=at(-11), loaded_at=None),
        one("qwen3-vl-30b", 1, "llama-cpp", 0, priority=10, in_flight=2, status="draining",
            why_leaving="It finishes 2 requests, then wan-video-14b has its room."),
        one("whisper-large-v3", 1, "whisper", 168, expires_at=at(-432)),
    ]  # fmt: skip


def queue() -> list[dict[str, Any]]:
    return [
        {"model": "wan-video-14b", "priority": 3, "callers": 2, "waited_seconds": 174.0,
         "bound_seconds": 380.0, "possible_at": None,
         "waits_for": "qwen3-vl-30b finishes 2 requests and leaves; at most 74 s more."},
        {"model": "qwen3-coder-30b", "priority": 6, "callers": 1, "waited_seconds": 16.0,
         "bound_seconds": 190.0, "possible_at": at(-160),
         "waits_for": "wan-video-14b has asked before."},
    ]  # fmt: skip


def decisions() -> list[dict[str, Any]]:
    told = [
        (0.0, "load", "flux-dev", "Loading flux-dev on fake-0.", "", ""),
        (4.0, "reserve", "flux-dev", "flux-dev gets 12300 MB on fake-0; nobody has to leave.",
         "14600 MB were free", ""),
        (95.0, "drain", "qwen3-vl-30b", "qwen3-vl-30b takes no new requests: wan-video-14b is due.",
         "it has waited for 60 s", ""),
        (700.0, "fail", "gemma-3-12b", "gemma-3-12b ran out of memory while it loaded.",
         "it took 9400 MB where 9000 were promised; the next start has 10100",
         "If it repeats, lower context_size (now 32768)."),
        (720.0, "evict", "qwen3-coder-30b", "Evicting qwen3-coder-30b: gemma-3-12b needs the room.",
         "it has been idle for 17 min", ""),
        (1500.0, "loaded", "whisper-large-v3", "whisper-large-v3 is ready after 2.1 s.", "", ""),
    ]  # fmt: skip
    return [
        {"id": 90 - number, "at": at(ago), "kind": kind, "model": model, "text": text, "why": why,
         "evicted": [], "remedy": remedy}
        for number, (ago, kind, model, text, why, remedy) in enumerate(told)
    ][::-1]  # fmt: skip


def spans() -> list[dict[str, Any]]:
    """Half an hour of a machine that swaps."""
    lots = random.Random(7)
    made: list[dict[str, Any]] = []

    def span(name: str, gpu: int, begin: float, end: float | None, **more: Any) -> None:
        made.append(
            {"span_id": len(made), "holder": "resident", "name": name, "device": f"fake-{gpu}",
             "vram_mb": SIZES.get(name, 0), "from_at": at(begin),
             "until_at": None if end is None else at(end)} | more
        )  # fmt: skip

    span("bge-m3", 0, 7200, None)
    span("", 0, 7200, None, holder="foreign", vram_mb=2040)
    ago = 1900.0
    while ago > 900:
        stays = lots.uniform(60, 240)
        span(lots.choice(["qwen3-coder-30b", "wan-video-14b", "flux-dev"]), 0, ago, ago - stays)
        ago -= stays + lots.uniform(5, 20)
    span("gemma-3-12b", 0, 690, None)
    span("comfyui upscale", 0, 640, None, holder="lease", vram_mb=5000)
    span("flux-dev", 0, 4, None)
    span("qwen3-coder-30b", 1, 1900, 1520)
    span("qwen3-vl-30b", 1, 1500, None)
    span("whisper-large-v3", 1, 1480, None)
    return made


def requests() -> dict[str, Any]:
    def one(number: int, model: str, owner: str | None, ago: float, **more: Any) -> dict[str, Any]:
        said = {
            "id": number, "asked": model, "model": model, "protocol": "openai", "owner": owner,
            "path": "/v1/chat/completions", "client": "192.168.1.20", "streaming": True,
            "priority": None, "began_at": at(ago), "ended_at": None, "total_seconds": ago,
            "wait_seconds": 0.0, "load_seconds": 0.0, "first_byte_seconds": 0.2, "why": "",
            "outcome": None, "status": 200, "tokens_in": None, "tokens_out": None,
            "tokens_per_second": None,
        }  # fmt: skip
        return said | more

    over = {"ended_at": at(40), "outcome": "answered", "tokens_out": 412, "tokens_per_second": 82.0}
    waits = {"first_byte_seconds": None, "why": "flux-dev loads"}
    return {
        "type": "requests", "running_total": 3,
        "running": [one(91, "qwen3-vl-30b", "n8n", 12), one(90, "qwen3-vl-30b", "open-webui", 31),
                    one(89, "flux-dev", "comfyui", 3, **waits) | {"model": None}],
        "ended": [one(88, "bge-m3", "n8n", 40, **(over | {"total_seconds": 0.3, "tokens_out": None,
                      "tokens_per_second": None, "path": "/v1/embeddings"})),
                  one(87, "gemma-3-12b", None, 820, **(over | {"total_seconds": 6.2,
                      "wait_seconds": 1.4}))],
    }  # fmt: skip


PLAN = {
    "fits": True, "model": "qwen3-coder-30b", "vram_mb": 18400, "vram_provenance": "measured",
    "available_mb": 3219, "already_loaded": False, "drains": False, "given_up": [],
    "refusal": None, "suggestions": [], "eta_seconds": 23.0,
    "placement": [{"device": "fake-0", "vram_mb": 18400}],
    "evict": [{"model": "gemma-3-12b", "vram_mb": 9200, "reason": "it has been idle for 820 s"},
              {"model": "flux-dev", "vram_mb": 12300, "reason": "lowest priority, it only loads"}],
}  # fmt: skip


def shown(look: Face) -> Face:
    """The page with a whole day's trouble at one moment."""
    lease = {"lease_id": "lease-1", "owner": "comfyui upscale", "priority": 5, "device": "fake-0",
             "vram_mb": 5000, "granted_at": at(640), "expires_at": at(-760)}  # fmt: skip
    sums = {"total_mb": 57183, "used_mb": 52940, "available_mb": 3219}
    told = status(*residents(), devices=cards(), leases=[lease], queue=queue(), now=at(0), **sums)
    past = {"decisions": decisions(), "spans": spans()}
    models = [{"id": name, "vram_mb": mb} for name, mb in SIZES.items()]
    return look.canned(look.snapshot(told, **past), requests(), models=models)


def pictures(browser: Browser, url: str, folder: Path) -> None:
    def answer(route: Route) -> None:
        route.fulfill(json=PLAN)

    for name, scheme, width, height in (
        ("light", "light", 1440, 900), ("dark", "dark", 1440, 900), ("phone", "light", 390, 844),
    ):  # fmt: skip
        context: dict[str, Any] = {
            "color_scheme": scheme,
            "viewport": {"width": width, "height": height},
        }
        with face_of(browser, url, timezone_id="UTC", **context) as look:
            shown(look)
            if name == "light":
                look.page.route("**/models/plan", answer)
                look.page.select_option(".ask select", "qwen3-coder-30b")
                look.page.wait_for_selector(".plan")
            look.page.screenshot(path=folder / f"dashboard-{name}.png", full_page=name != "phone")


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), config({})) as daemon,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=parts.chromium(), args=[*CHROMIUM])
        pictures(browser, daemon.url, folder)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
