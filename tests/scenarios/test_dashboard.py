"""The page at `/`, as a person uses it: real Chromium, the real daemon."""

import re
import shutil
import time

from tests.pace import crowd
from tests.scenarios.daemon import chat, model
from tests.scenarios.world import SMOLLM, smollm_file
from tests.standins.hub import stand_in_hub


def talked_to(daemon, name, seconds, streaming=True):
    """A chat by way of the daemon that goes on; close what is returned to end it."""
    asked = {"model": name, "stream": streaming, **chat(seconds)}
    talk = daemon.http.stream("POST", "/v1/chat/completions", json=asked)
    talk.__enter__()
    return talk


def cats(**more):
    return {"small": model(6000), "large": model(20000), "other": model(14000)} | more


def test_headline_tells_who_waits_and_how_long(daemons, face):
    daemon = daemons(cats(), scheduling={"protect_idle_s": 0, "patience_s": 60})
    daemon.load("large", owner="somebody", lease_seconds=600)
    daemon.post("/models/load", {"model": "other", "wait": False})
    look = face(daemon).open()
    said = look.until_headline("other waits")
    assert re.fullmatch(r"other waits, at most \d.*more\.", said)


def test_bar_shows_every_holder_and_sums_to_total(daemons, face):
    daemon = daemons(cats())
    daemon.device(foreign_mb=2048)
    daemon.until(lambda s: s["foreign_mb"] == 2048, "they are seen")
    daemon.load("small")
    daemon.post("/vram/leases", {"owner": "comfyui", "vram_mb": 4096, "ttl_seconds": 600})
    look = face(daemon).open()
    look.until_text(".seg.foreign", "2.0 GB")
    look.until_text(".seg.lease", "comfyui")
    shown = look.widths()
    assert {"small", "comfyui", "not ours", "free"} <= shown.keys()
    assert 98 < sum(shown.values()) < 100.5
    assert abs(shown["small"] - 100 * 6000 / 32768) < 1


def test_plan_preview_names_leavers_before_any_act(daemons, face):
    daemon = daemons(cats())
    daemon.load("large")
    look = face(daemon).open()
    look.page.select_option(".ask select", "other")
    assert "large" in look.until_text(".plan", "These would leave")
    assert "large" in look.page.locator(".seg.out").first.inner_text()
    assert look.page.locator(".bar.then .seg.new").inner_text() == "other"
    assert daemon.loaded() == {"large": "loaded"}


def test_load_from_the_page_evicts_exactly_the_previewed(daemons, face):
    daemon = daemons(cats())
    daemon.load("small")
    daemon.load("large")
    look = face(daemon).open()
    look.page.select_option(".ask select", "other")
    look.page.wait_for_selector(".plan .go")
    leavers = set(look.page.locator(".plan li b").all_inner_texts())
    look.press("Load other")
    look.until_text(".note", "other is ready.")
    assert set(daemon.loaded()) == {"small", "large", "other"} - leavers
    look.until_text("tbody th", "other")


def test_unload_in_use_asks_and_drains(daemons, face):
    daemon = daemons(cats())
    daemon.load("small")
    talk = talked_to(daemon, "small", 4 * crowd())
    look = face(daemon).open()
    look.until_text("tr.loaded", "in use")
    look.press("Unload small")
    look.page.wait_for_selector("text=Finish 1, then unload")
    look.page.keyboard.press("Escape")
    look.page.wait_for_selector("button[aria-label='Unload small']")
    assert daemon.loaded() == {"small": "loaded"}
    look.press("Unload small")
    look.page.wait_for_timeout(500)  # longer than a double click: the second one is meant
    look.press("Finish 1, then unload")
    look.until_text(".note", "small is gone")
    assert daemon.loaded() == {}
    talk.__exit__(None, None, None)


def test_pin_survives_reload_and_protects(daemons, face):
    daemon = daemons(cats())
    daemon.load("large")
    look = face(daemon).open()
    look.press("Pin large")
    look.until_text("td.leaves", "pinned")
    look.open()
    assert (
        look.page.get_by_role("button", name="Unpin large").get_attribute("aria-pressed") == "true"
    )
    look.page.select_option(".ask select", "other")
    assert "large" in look.until_text(".plan", "Not now.")
    look.press("Unpin large")
    daemon.until(lambda s: not s["loaded_models"]["large"]["pinned"], "it is unpinned")


def test_queue_shows_reason_and_bound_and_empties(daemons, face):
    daemon = daemons(cats())
    lease = daemon.load("large", owner="somebody", lease_seconds=600)["lease_id"]
    daemon.post("/models/load", {"model": "other", "wait": False})
    look = face(daemon).open()
    told = look.until_text(".queue", "at most")
    assert "other" in told
    assert "large" in told
    assert look.page.locator(".lease-line", has_text="somebody").count() == 1
    look.press("End the lease of somebody")
    look.page.wait_for_timeout(500)
    look.press("Really end it")
    look.until_text(".queue", "Nobody waits.")
    look.until_text("tr.loaded th", "other")
    assert lease not in daemon.http.get("/leases").text


def test_decision_says_why_in_the_words_of_the_log(daemons, face):
    daemon = daemons(cats())
    daemon.load("large")
    daemon.load("other")
    look = face(daemon).open()
    said = daemon.decisions("evict")[-1]["text"].replace("fake-0", "GPU 0")
    look.until_text(".decisions li", said)


def test_foreign_bytes_appear_within_two_seconds(daemons, face):
    daemon = daemons(cats())
    look = face(daemon).open()
    began = time.monotonic()
    daemon.device(foreign_mb=4096)
    look.until_text(".seg.foreign", "4.0 GB")
    assert time.monotonic() - began < 2 * crowd()


def test_unreadable_device_is_said_not_zero(daemons, face):
    daemon = daemons(cats())
    daemon.load("small")
    look = face(daemon).open()
    daemon.device(fault="unreadable")
    look.until_headline("GPU 0 cannot be read. Nothing is planned there.")
    device = look.page.inner_text(".device")
    assert "cannot be read" in device
    assert " a load may use" not in device
    assert "unknown" in look.page.inner_text(".sum")
    assert "small" in look.page.inner_text(".bar")
    assert "GPU 0 cannot be read" in look.page.inner_text(".attention")
    daemon.device(fault=None)
    look.until_headline("small|Nobody waits")


def test_daemon_killed_page_says_so_and_recovers(daemons, face):
    daemon = daemons(cats())
    daemon.load("small")
    look = face(daemon).open()
    daemon.kill()
    look.until_headline("Not connected. What you see is .* old.")
    assert "small" in look.page.inner_text(".bar")
    assert look.page.locator("main.old").count() == 1
    daemon.start()
    look.until_headline("Nobody waits")
    assert look.page.locator("main.old").count() == 0


def test_requests_are_shown_as_they_run_and_can_be_ended(daemons, face):
    daemon = daemons(cats())
    daemon.load("small")
    talk = talked_to(daemon, "small", 600)
    look = face(daemon).open()
    assert "127.0.0.1" in look.until_text("tr.runs", "answering")
    look.press("End the request of 127.0.0.1")
    look.page.wait_for_timeout(500)
    look.press("Really end it")
    look.until_text("tr.over", "ended here")
    assert daemon.http.get("/requests").json()["running"] == []
    talk.__exit__(None, None, None)


def test_a_chat_streams_and_loads_its_model_first(daemons, face):
    daemon = daemons(cats())
    daemon.load("small")
    look = face(daemon).open()
    look.press("Try small")
    daemon.unload("small")
    look.page.fill(".talk textarea", "hello from the page")
    look.page.keyboard.press("Enter")
    assert "hello from the page" in look.until_text(".assistant", "hello from the page")
    look.until_text(".figures", "first word after")
    assert daemon.loaded() == {"small": "loaded"}
    look.page.keyboard.press("Escape")
    look.page.wait_for_selector(".talk", state="detached")


def test_a_failure_says_what_helps_and_is_tried_again(daemons, face):
    daemon = daemons({"broken": model(900, fake={"fail": "exits"})})
    look = face(daemon).open()
    look.page.select_option(".ask select", "broken")
    look.press("Load broken")
    look.until_text(".note.bad", "broken")
    told = look.until_text(".attention", "broken failed to start")
    assert "Read the model's log" in told
    before = len(daemon.decisions("fail"))
    look.press("Try broken again")
    daemon.until(lambda _: len(daemon.decisions("fail")) > before, "it is tried again")


def test_a_file_is_looked_at_before_it_is_added(daemons, face):
    daemon = daemons(cats())
    look = face(daemon).open()
    look.page.fill(".add input", "/nowhere/at/all.gguf")
    look.press("Look")
    look.until_text(".note.bad", "Not added")
    assert look.page.locator(".note").count() == 1, "what it began with is gone"
    assert {each["id"] for each in daemon.http.get("/models").json()["data"]} == cats().keys()


def test_a_file_that_lies_there_is_looked_at_and_added(daemons, face, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(smollm_file(), folder / "small.gguf")
    wheel = {"engine": "xllamacpp", "runtime": "process", "models_dir": str(folder)}
    daemon = daemons({}, services={"wheel": wheel})
    look = face(daemon).open()
    look.until_text(".add li", "small.gguf")
    look.press(f"Look at {folder}/small.gguf")
    look.until_text(".looked", "small would take")
    assert daemon.http.get("/models").json()["data"] == []
    look.press("Add it")
    look.until_text(".plan", "small")
    assert [one["id"] for one in daemon.http.get("/models").json()["data"]] == ["small"]
    look.until("() => !document.querySelector('.add li')")


def test_a_model_of_a_hub_is_brought_and_shown_as_it_comes(daemons, face, tmp_path):
    wheel = {"engine": "xllamacpp", "runtime": "process"}
    with stand_in_hub("org/Small-GGUF", {SMOLLM: smollm_file().read_bytes()}) as hub:
        daemon = daemons({}, services={"wheel": wheel})
        daemon.kill()
        daemon.environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
        daemon.start()
        look = face(daemon).open()
        hub.behaviour.stall_after = 40 << 20
        look.page.fill(".add input", f"org/Small-GGUF:{SMOLLM}")
        look.press("Look")
        look.until_text(".looked", "would take")
        assert daemon.http.get("/models").json()["data"] == [], "nothing is a model before that"
        look.press("Bring it")
        look.until_text(".downloads", SMOLLM)
        (one,) = daemon.status()["downloads"]
        assert one["source"] == f"org/Small-GGUF:{SMOLLM}"
        assert "orchestrator_download_bytes" in daemon.http.get("/metrics").text
        hub.go_on.set()
        look.until_text(".note", "is here.")
        look.until("() => !document.querySelector('.downloads')")


def test_the_log_is_read_when_it_is_asked_for(daemons, face):
    daemon = daemons(cats())
    daemon.load("small")
    look = face(daemon).open()
    assert not [url for url in look.asked if "/logs" in url]
    look.page.select_option(".logs select", "small")
    last = daemon.http.get("/models/small/logs").json()["lines"][-1]
    look.until_text(".logs pre", last)


def test_read_only_hides_and_refuses(daemons, face):
    daemon = daemons(cats(), server={"dashboard": "read_only"})
    daemon.load("small")
    look = face(daemon).open()
    look.until_text("tr.loaded", "small")
    assert look.page.locator("tbody button").count() == 0
    assert "only looking" in look.page.inner_text(".top")
    look.page.select_option(".ask select", "large")
    look.page.wait_for_selector(".plan")
    assert look.page.locator(".plan .go").count() == 0
    script = """path => fetch(path, {method: 'POST', headers: {'Content-Type': 'application/json'},
      body: '{"model": "small"}'}).then(answer => answer.json()).then(told => told.code)"""
    for path in ("/models/unload", "/models/load"):
        assert look.page.evaluate(script, path) == "read_only"
    asked = look.page.evaluate(script.replace("told.code", "told.error.code"), "/v1/completions")
    assert asked == "read_only"
    assert daemon.loaded() == {"small": "loaded"}


def test_looking_never_counts_as_use(daemons, face):
    daemon = daemons({"small": model(6000, ttl_seconds=4)})
    daemon.load("small")
    look = face(daemon).open()
    look.page.select_option(".logs select", "small")
    daemon.until(lambda _: daemon.loaded() == {}, "it leaves when it has been idle")
    look.until_headline("Nothing is loaded")
