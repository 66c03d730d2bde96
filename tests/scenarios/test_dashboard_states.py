"""States that a daemon is seldom in, told by the test in its place; and what the page makes of them."""

import re

import pytest

from tests.scenarios.face import NOW, card, resident, status

HOSTILE = "<img src=x onerror=alert(1)>.*(["


@pytest.fixture
def told(daemons, face):
    """The page, with a stream that the test speaks."""
    daemon = daemons({})

    def open_(*events, **context):
        models = context.pop("models", [{"id": "small", "vram_mb": 6000}])
        look = face(daemon, **context)
        first = [event if "type" in event else look.snapshot(event) for event in events]
        return look.canned(*first, models=models)

    return open_


def model(name, **more):
    return {"id": name, "vram_mb": 6000, "breaker": None, "failure": None} | more


def test_stale_reading_looks_stale(told):
    old = card(read_at="2026-01-15T10:30:15.000Z", used_mb=6000)
    look = told(status(resident("small", 6000), devices=[old]))
    assert re.match(r"GPU 0 was last read 4[5-9] s ago\.", look.headline())
    assert look.page.locator(".device.stale").count() == 1
    assert "read 45 s ago" in look.page.inner_text(".device header")
    assert "a load may use" not in look.page.inner_text(".device header")


def test_stuck_model_stays_on_the_bar(told):
    stuck = resident("small", 6000, status="stuck", problem="It hangs in a driver.")
    look = told(status(stuck))
    assert "small did not stop" in look.headline()
    assert "small" in look.page.inner_text(".seg.stuck")
    assert "It hangs in a driver." in look.page.inner_text(".attention")
    assert look.page.get_by_role("button", name="Try again now").count() == 1


def test_hung_server_is_named_with_what_comes_of_it(told):
    said = "Its server has not answered for 21 s. If that lasts, it is restarted by force in 99 s."
    hung = {"problem": said, "silent_since": "2026-01-15T10:30:29.000Z", "in_flight": 2}
    look = told(status(resident("small", 6000, **hung), resident("other", 6000)))
    assert look.headline() == "small does not answer."
    attention = look.page.inner_text(".attention")
    assert "restarted by force in 99 s" in attention
    assert "as it should" not in attention, "it is said once"
    assert "in doubt" in look.row("small")
    assert "1 ready" in look.page.inner_text(".sum")
    look.page.get_by_role("button", name="Unload small").click()
    assert look.page.get_by_role("button", name="Cut off").count() == 1


def test_unknown_is_unknown_and_never_zero(told):
    blind = card(utilization_percent=None, temperature_c=None, foreign_mb=None)
    look = told(status(devices=[blind]), models=[model("hidden", vram_mb=None)])
    header = look.page.inner_text(".device header")
    assert "busy: unknown" in header
    assert "°C" not in header
    assert "hidden, unknown" in look.until_text(".ask option", "hidden")


def test_a_load_is_shown_beside_what_it_took_before(told):
    coming = {"status": "loading", "loading_since": "2026-01-15T10:30:48.000Z", "usual_seconds": 90}
    look = told(status(resident("small", 6000, **coming)))
    assert re.fullmatch(r"small is loading, 1\d s of usually 1 min 30 s\.", look.headline())
    assert "of usually 1 min 30 s" in look.row("small")
    first = resident("small", 6000, **coming | {"usual_seconds": None})
    look.hear({"type": "status", "status": status(first)})
    look.until_headline("small is loading, 1. s so far.")


def test_a_machine_without_a_gpu_is_said_to_be_one(told):
    ram = card(id="host", kind="host", name="A processor", utilization_percent=None)
    look = told(status(resident("small", 900, "host"), devices=[ram]))
    assert "orchestrator doctor" in look.section("In memory")
    assert "busy" not in look.page.inner_text(".device header")


def test_without_the_daemon_a_phone_still_shows_what_was(told):
    look = told(status(resident("small", 900)), viewport={"width": 390, "height": 844})
    look.hear({"type": "link", "link": "lost"})
    look.until_headline("Not connected")
    sums = look.page.locator(".sum b").evaluate_all("all => all.map(b => b.clientWidth)")
    assert min(sums) > 5
    assert (
        look.page.locator(".top > *").evaluate_all(
            "all => Math.max(...all.map(e => e.clientHeight))"
        )
        < 45
    )


def test_no_device_is_said(told):
    look = told(status(devices=[]))
    assert look.headline() == "No device has been read yet."
    assert "orchestrator doctor" in look.page.inner_text("main")
    assert look.page.locator(".boot").count() == 0, "what was said before is gone"


def test_first_start_says_what_to_do(told):
    look = told(status(), models=[])
    look.until_headline("There are no models yet.")
    assert "orchestrator serve ~/models" in look.page.inner_text(".first")
    assert look.page.locator(".first button").count() == 1


def test_breaker_and_silence_say_what_helps(told):
    shut = {"failures": 3, "open_until": "2026-01-15T10:33:00.000Z", "cause": "exited",
            "detail": "It ended by itself.", "remedy": "Read its log."}  # fmt: skip
    silent = resident("quiet", 6000, problem="Docker does not answer; it was ready when last seen.")
    look = told(status(silent), models=[model("bad", breaker=shut), model("quiet")])
    said = look.until_text(".attention", "bad failed to start 3 times, refused for")
    assert "Read its log." in said
    assert "Docker does not answer" in said
    assert "quiet does not serve as it should" in look.headline()
    assert "in doubt" in look.row("quiet"), "ready is what it was when it was last seen"
    assert "0 ready" in look.page.inner_text(".sum")


def test_what_the_daemon_says_is_amiss_is_shown_once(told):
    lost = card(state="lost", problem="GPU is lost (NVML 15)", total_mb=None, available_mb=None)
    event = {"type": "status", "status": status(devices=[lost]), "reasons": [
        "fake-0: GPU is lost (NVML 15)", "/models cannot be read."]}  # fmt: skip
    look = told(status(), event)
    said = look.until_text(".attention", "/models cannot be read.")
    assert said.count("GPU is lost") == 1
    assert look.page.locator(".device.dark").count() == 1


def test_downloads_say_how_far_how_fast_and_how_long(told):
    one = {"source": "org/big-GGUF:Q8_0", "file": "big-Q8_0.gguf", "phase": "downloading",
           "detail": "", "done_bytes": 16 << 30, "total_bytes": 45 << 30,
           "bytes_per_second": 88 << 20, "started_at": "2026-01-15T10:28:00.000Z"}  # fmt: skip
    held = {**one, "source": "other", "file": "other.gguf", "phase": "paused", "total_bytes": None,
            "detail": "The hub is busy.", "bytes_per_second": None}  # fmt: skip
    look = told(status(downloads=[one, held]))
    said = look.until_text(".downloads", "16 GB of 45 GB")
    assert "88 MB/s, 5 min 37 s left" in said
    assert "asking how much it is" in said
    assert "The hub is busy." in said
    look.hear({"type": "status", "status": status()})
    look.until("() => !document.querySelector('.downloads')")


def test_what_is_unknown_is_not_drawn_as_free_or_full(told):
    lost = card(state="lost", problem="GPU is lost", total_mb=None, available_mb=None)
    look = told(status(resident("small", 6000), devices=[lost]))
    assert look.widths()["small"] < 60
    look.hear({"type": "status", "status": status(devices=[card(foreign_mb=None)])})
    look.until_text(".seg.free", "free, or not ours")


def test_one_cause_of_several_models_is_said_once(told):
    silence = "Docker has not answered for 40 s"
    quiet = [resident(name, 600, problem=f"{silence}; last known.") for name in ("a", "b")]
    event = {"type": "status", "status": status(*quiet),
             "reasons": [f"{silence}; nothing is started there."]}  # fmt: skip
    said = told(status(), event).until_text(".attention", "a and b do not serve as they should")
    assert said.count(silence) == 1


def test_hostile_names_are_text(told):
    span = {"span_id": 1, "holder": "resident", "name": HOSTILE, "device": "fake-0",
            "vram_mb": 900, "from_at": NOW, "until_at": None}  # fmt: skip
    decided = {"id": 1, "at": NOW, "kind": "load", "model": HOSTILE, "text": f"Loading {HOSTILE}.",
               "why": "<script>alert(1)</script>", "evicted": [], "remedy": HOSTILE}  # fmt: skip
    wait = {"model": HOSTILE, "priority": 5, "callers": 1, "waited_seconds": 1, "bound_seconds": 60,
            "waits_for": f"{HOSTILE} is in use", "possible_at": None}  # fmt: skip
    hostile = status(resident(HOSTILE, 900, problem=HOSTILE), queue=[wait])
    look = told(hostile, {"type": "decision", **decided}, {"type": "span", **span},
                models=[model(HOSTILE)])  # fmt: skip
    look.page.on("dialog", lambda dialog: look.complaints.append(dialog.message))
    assert HOSTILE in look.headline()
    look.until_text(".decisions li", "<script>")
    look.press(f"Try {HOSTILE}")
    look.page.wait_for_selector(".talk")
    assert look.page.locator("img, #app script").count() == 0
    assert look.complaints == []


def test_focus_survives_updates(told):
    look = told(status(resident("small", 6000)))
    button = look.page.get_by_role("button", name="Pin small")
    button.focus()
    for number in range(6):
        more = resident("small", 6000 + number, in_flight=number)
        look.hear({"type": "status", "status": status(more, resident(f"m{number}", 500))})
        look.until_text(".bar", f"m{number}")
    assert button.evaluate("e => e === document.activeElement")


def test_the_time_under_the_history_stays_on_a_phone(told):
    held = {"span_id": 1, "holder": "resident", "name": "small", "device": "fake-0",
            "vram_mb": 6000, "from_at": "2026-01-15T10:10:00.000Z", "until_at": None}  # fmt: skip
    full_hour = status(resident("small", 6000), now="2026-01-15T10:30:05.000Z")
    view = {"width": 390, "height": 844}
    look = told(full_hour, {"type": "span", **held}, viewport=view, timezone_id="UTC")
    assert "10:20" in look.until_text(".times", "10:20")
    assert look.page.evaluate("document.documentElement.scrollWidth") <= view["width"]


def test_history_scrubber_by_keyboard(told):
    held = {"span_id": 1, "holder": "resident", "name": "small", "device": "fake-0",
            "vram_mb": 6000, "from_at": "2026-01-15T10:10:00.000Z", "until_at": None}  # fmt: skip
    look = told(status(resident("small", 6000)), {"type": "span", **held})
    scrubber = look.page.get_by_label("Look back in time")
    scrubber.focus()
    look.page.keyboard.press("ArrowLeft")
    assert "GPU 0: small" in look.until_text(".said", "GPU 0: small")
    assert scrubber.get_attribute("aria-valuetext").endswith("GPU 0: small")
    look.page.keyboard.press("Home")
    look.until_text(".said", "GPU 0: empty")


def test_a_plan_that_does_not_fit_has_suggestions_to_click(told):
    look = told(status())
    refusal = {"code": "does_not_fit", "detail": "small needs 65536 MB.", "remedy": "Use less."}
    plan = {"fits": False, "model": "small", "vram_mb": 65536, "vram_provenance": "estimated",
            "evict": [], "placement": [], "eta_seconds": None, "already_loaded": False,
            "drains": False, "given_up": [], "refusal": refusal,
            "suggestions": [{"context_size": 4096}]}  # fmt: skip
    asked = []

    def answer(route):
        asked.append(route.request.post_data_json)
        route.fulfill(json=plan)

    look.page.route("**/models/plan", answer)
    look.page.select_option(".ask select", "small")
    assert "Does not fit." in look.until_text(".plan", "Use less.")
    look.press("With context size 4096")
    look.until("() => self.face().ui.settings.context_size === 4096")
    assert asked[-1] == {"model": "small", "context_size": 4096}


def test_a_picture_goes_with_a_message_where_the_model_can_see(told):
    look = told(status(resident("small", 6000)))
    sent = []

    def answer(route):
        sent.append(route.request.post_data_json)
        words = 'data: {"choices":[{"delta":{"content":"A dot."}}]}\n\ndata: [DONE]\n\n'
        route.fulfill(body=words, content_type="text/event-stream")

    look.page.route("**/api/show", lambda route: route.fulfill(json={"capabilities": ["vision"]}))
    look.page.route("**/v1/chat/completions", answer)
    look.press("Try small")
    picture = {"name": "dot.png", "mimeType": "image/png", "buffer": b"\x89PNG"}
    look.page.set_input_files(".talk input[type=file]", picture)
    look.page.wait_for_selector(".talk form img")
    look.page.fill(".talk textarea", "what is it?")
    look.page.keyboard.press("Enter")
    look.until_text(".assistant", "A dot.")
    words, image = sent[0]["messages"][0]["content"]
    assert words == {"type": "text", "text": "what is it?"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


# --- the pure functions, in the same browser ---------------------------------------------------


def test_share_keeps_what_is_unchanged(told):
    look = told(status())
    kept = look.page.evaluate(
        """() => import('/dashboard/state.js').then(({ share }) => {
          const old = { a: { b: 1 }, c: [1, 2] };
          const next = share(old, { a: { b: 1 }, c: [1, 3] });
          return [next.a === old.a, next.c === old.c, share(old, { a: { b: 1 }, c: [1, 2] }) === old];
        })"""
    )
    assert kept == [True, False, True]


def test_segments_never_overflow_their_device(told):
    look = told(status())
    over = status(resident("a", 20000), resident("b", 20000))
    parts = look.called("state", "segments", over, over["devices"][0])
    by_kind = {part["kind"]: part["mb"] for part in parts}
    assert (by_kind["free"], by_kind["headroom"]) == (0, 0)
    fits = status(resident("a", 20000))
    parts = look.called("state", "segments", fits, fits["devices"][0])
    assert sum(part["mb"] for part in parts) == 32768


def test_unknown_events_change_nothing(told):
    look = told(status(resident("small", 6000)))
    look.hear({"type": "of a later version", "status": None})
    assert "small" in look.page.inner_text(".bar")


def test_colours_are_shared_only_when_all_are_taken(told):
    look = told(status(*(resident(f"m{n}", 500) for n in range(10))))
    hues = look.page.evaluate("Object.values(self.face().state.hues)")
    assert sorted(hues) == list(range(10))


def test_strata_are_as_thick_as_the_bytes(told):
    look = told(status())
    span = {"span_id": 1, "holder": "resident", "name": "a", "device": "fake-0", "vram_mb": 16384,
            "from_at": "1970-01-01T00:00:10Z", "until_at": "1970-01-01T00:00:20Z"}  # fmt: skip
    (band,) = look.called("state", "strata", [span], card(), 0, 40000, 400, 100)
    assert band["d"] == "M100.0 100.0H200.0V50.0H100.0Z"
