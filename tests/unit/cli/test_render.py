import copy

import pytest

from orchestrator.cli import render
from orchestrator.cli.screen import say
from orchestrator.web.wire import examples


def test_sizes_are_gigabytes_with_one_decimal():
    assert render.size(17234) == "16.8 GB"
    assert render.size(0) == "0.0 GB"
    assert render.size(None) == "?"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (1.26, "1.3 s"),
        (59, "59 s"),
        (59.7, "1 min"),
        (61, "1 min 1 s"),
        (120, "2 min"),
        (3700, "1 h 1 min"),
        (None, "?"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert render.duration(seconds) == said


@pytest.fixture
def said(capsys):
    """The lines of what is said, as they go into a pipe."""

    def lines(parts):
        say(*parts)
        return capsys.readouterr().out.splitlines()

    return lines


def test_status_says_who_holds_what(said):
    device, _, head, model, *_ = said(render.status_lines(examples.STATUS))
    assert device.startswith(f"{examples.GPU} (NVIDIA GeForce RTX 5090): ")
    assert device.endswith(
        "16.8 GB of 32.0 GB used, 14.7 GB available, 0.0 GB held by others, 45 % busy, 61 °C"
    )
    assert [head, model] == [
        "MODEL         STATE      VRAM  KNOWN AS  PRIORITY  IN USE      IDLE  DEVICES       ENDPOINT",
        (
            "qwen3-vl-30b  loaded  16.8 GB  measured        10  1 request  2.0 s  GPU-6a1f7c52  "
            "http://127.0.0.1:41873"
        ),
    ]


def test_status_says_what_is_slower_than_expected(said):
    *_, head, row = said(render.status_lines(examples.STATUS))
    assert head.split() == ["SPEED", "OF", "MEASURED", "EXPECTED", "BY"]
    assert "38.9 tokens/s  45 -10 %  slower than expected  benchmark" in row


def test_status_says_under_the_models_what_is_not_as_it_should_be(said):
    status = copy.deepcopy(examples.STATUS)
    model = status["loaded_models"]["qwen3-vl-30b"]
    status["loaded_models"]["other"] = {**model, "model": "other"}
    model |= {"problem": "It took no VRAM.\x1b[2J", "given_up": ["half the context", "f16"]}
    _, _, _, first, second, *under = said(render.status_lines({**status, "speeds": []}))
    assert first.startswith("qwen3-vl-30b")
    assert second.startswith("other")
    assert under == [
        "  qwen3-vl-30b: It took no VRAM.\N{REPLACEMENT CHARACTER}[2J",
        "  qwen3-vl-30b: It had to give up: half the context, f16.",
    ]


def test_status_shows_what_cannot_be_read_leases_and_who_waits(said):
    status = copy.deepcopy(examples.STATUS)
    status["loaded_models"] = {}
    status["devices"][0] |= {"state": "lost", "problem": "it fell off the bus"}
    status["leases"] = examples.ROOMS["leases"]
    status["queue"] = [
        {
            "model": "ovi",
            "priority": 5,
            "callers": 2,
            "waited_seconds": 3,
            "bound_seconds": 180,
            "waits_for": "qwen3-vl-30b drains",
        }
    ]
    text = "\n".join(said(render.status_lines(status)))
    assert "lost: it fell off the bus" in text
    assert "No model is loaded." in text
    assert examples.ROOMS["leases"][0]["owner"] in text
    assert "3.0 s" in text
    assert "qwen3-vl-30b drains" in text


def test_what_a_load_waits_for_is_found_in_the_status():
    one = {"status": "x", "loading_since": None}
    status = {"queue": [{"model": "a", "waits_for": "b"}], "loaded_models": {"c": one}}
    status["now"] = "2026-01-15T10:30:12.000Z"
    assert render.waiting_words(status, "a") == "b"
    assert render.waiting_words(status, "c") == "c is x"
    assert render.waiting_words(status, "d") == ""


@pytest.mark.parametrize(
    ("usual_s", "told"),
    [
        (None, "loading for 12 s"),
        (30.0, "loading, 12 s of usually 30 s"),
        (8.0, "loading, 12 s where it usually takes 8.0 s"),
    ],
)
def test_a_load_is_shown_beside_what_it_took_before(usual_s, told):
    one = {"status": "loading", "loading_since": "2026-01-15T10:30:00.000Z"}
    models = {"a": {**one, "usual_seconds": usual_s}}
    status = {"queue": [], "loaded_models": models, "now": "2026-01-15T10:30:12.000Z"}
    assert render.waiting_words(status, "a") == told


CHANGED = {
    "changed": [],
    "restart_needed": [],
    "file": "/o.yaml",
    "file_changed_at": "2026-01-15T16:36:35.000Z",
}


@pytest.mark.parametrize(
    ("render", "body", "word"),
    [
        (render.models_lines, examples.CATALOGUE, "qwen3-vl-30b"),
        (render.models_lines, {"data": []}, "orchestrator add FILE.gguf"),
        (render.ps_lines, {"loaded_models": {}}, "No model is loaded."),
        (render.lease_lines, examples.MODEL_LEASES, "OWNER"),
        (render.lease_lines, {"leases": []}, "No model is leased."),
        (render.room_lines, {"leases": []}, "No VRAM is leased."),
        (render.load_lines, examples.LOADED, "Evicted for it: whisperx."),
        (render.load_lines, {**examples.LOADED, "already_loaded": True}, "already"),
        (render.accepted_lines, examples.ACCEPTED, "op-17"),
        (render.unload_lines, examples.UNLOADED, "freed"),
        (render.unload_lines, {**examples.UNLOADED, "status": "not_loaded"}, "was not loaded"),
        (render.unload_lines, {**examples.UNLOADED, "status": "released"}, "other leases"),
        (
            render.unload_lines,
            {**examples.UNLOADED, "note": "4 of 8 MB did not come back"},
            "4 of 8 MB",
        ),
        (render.plan_lines, examples.PLAN, "would be loaded"),
        (render.plan_lines, {**examples.PLAN, "already_loaded": True}, "loaded already"),
        (render.pinned_lines, {"model": "a", "pinned": True}, "a is pinned."),
        (render.pinned_lines, {"model": "a", "pinned": False}, "not pinned any more"),
        (render.reloaded_lines, {"changed": [], "restart_needed": ["x"]}, "restart"),
        (render.reloaded_lines, CHANGED, "/o.yaml was last changed at 2026-01-1"),
    ],
)
def test_each_answer_has_its_words(said, render, body, word):
    assert word in "\n".join(said(render(body)))


def test_a_plan_that_is_refused_says_why_and_what_helps():
    refusal = {"code": "does_not_fit", "detail": "Too large.", "remedy": "Take a smaller one."}
    lines = render.plan_lines({**examples.PLAN, "fits": False, "refusal": refusal})
    assert "does_not_fit" in lines[0]
    assert lines[1:] == ["Too large.", "Take a smaller one."]


def test_a_plan_says_what_would_be_given_up():
    lines = render.plan_lines(examples.PLAN)
    assert "It would have to give up: context 4096 instead of 8192." in lines
    whole = render.plan_lines({**examples.PLAN, "given_up": []})
    assert not any("give up" in line for line in whole)


def test_a_decision_is_one_line_with_its_reason():
    decision = {
        "at": examples.AT,
        "kind": "evict",
        "text": "Evicting a.",
        "why": "b needs the room",
        "remedy": "",
    }
    line = render.decision_line(decision)
    assert line.endswith("evict     Evicting a. (b needs the room)")


def test_an_error_shows_cause_blockers_log_and_way_out():
    lines = render.error_lines(
        {
            "detail": "No room.",
            "remedy": "Wait.",
            "blockers": [{"model": None, "held_mb": 2048, "device": "g", "why": "a game"}],
            "log_tail": ["cuda error"],
        }
    )
    assert lines == [
        "No room.",
        "  others: 2.0 GB on g: a game",
        "The last lines of its log:",
        "  cuda error",
        "Wait.",
    ]


def test_an_error_body_of_somebody_else_is_no_traceback():
    assert render.error_lines({"detail": {"x": 1}, "blockers": 3, "log_tail": "x"})
    assert render.error_lines({}) == ["The daemon refused."]
