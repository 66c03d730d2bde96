"""The word `bench`, with a daemon that answers what it is told."""

import json

import pytest

from orchestrator.cli import benching
from orchestrator.cli.benching import PRIORITY, prompt
from orchestrator.cli.main import main
from orchestrator.web.wire import examples, speed_examples
from tests.stand_in import stand_in

CHAT, KEEP = "POST /v1/chat/completions", "POST /models/qwen3-vl-30b/benchmarks"
STATUS, ENTRY = "GET /models/status", "GET /models/qwen3-vl-30b"
LEASED = {**examples.LOADED, "already_loaded": False, "lease_id": "lease-8"}
GIVEN_BACK = ("DELETE", "/leases/lease-8")
TIMED = {
    "usage": {"prompt_tokens": 480, "completion_tokens": 100},
    "timings": {"prompt_per_second": 900.0, "predicted_per_second": 44.0},
}


def stream(*events):
    frames = (f"data: {json.dumps(event)}" for event in events)
    return "\n\n".join([*frames, "data: [DONE]", ""]).encode()


def piece(text, key="content"):
    return {"choices": [{"delta": {key: text}}]}


def status(in_flight=0):
    (loaded,) = examples.STATUS["loaded_models"].values()
    there = {"qwen3-vl-30b": {**loaded, "in_flight": in_flight}}
    return {**examples.STATUS, "loaded_models": there}


@pytest.fixture
def daemon(monkeypatch):
    with stand_in() as remembered:
        monkeypatch.setenv("ORCHESTRATOR_URL", remembered.url)
        entry = {
            "id": "qwen3-vl-30b",
            "load_seconds": 14.2,
            "context_size": 4096,
            "context_per_slot": None,
        }
        fine = [{**one, "drifts": False} for one in speed_examples.BENCHMARK["speeds"]]
        remembered.answers |= {
            ENTRY: entry,
            STATUS: status(),
            "POST /models/load": LEASED,
            CHAT: stream(piece("one"), piece("two"), TIMED),
            KEEP: {**speed_examples.BENCHMARK, "speeds": fine},
            "DELETE /leases/lease-8": (204, b""),
        }
        yield remembered


def asked(daemon):
    return [(method, path) for method, path, *_ in daemon.asked]


def test_it_loads_as_any_caller_measures_keeps_and_gives_the_lease_back(daemon, capsys):
    assert main(["bench", "qwen3-vl-30b", "--requests", "2"]) == 0
    [order] = daemon.bodies("/models/load")
    assert (order["priority"], order["model"]) == (PRIORITY, "qwen3-vl-30b")
    assert order["owner"].startswith("bench-")
    assert order["lease_seconds"] > benching.MEASURING_S_MAX
    chats = daemon.bodies("/v1/chat/completions")
    assert len(chats) == 3, "one that is not counted, and two that are"
    assert len({chat["messages"][0]["content"] for chat in chats}) == 3, "nothing is cached"
    assert all(chat["max_tokens"] == 128 for chat in chats)
    [kept] = daemon.bodies("/models/qwen3-vl-30b/benchmarks")
    assert kept.pop("first_token_seconds") > 0
    assert kept == {
        "generation_tokens_per_second": 44.0,
        "prompt_tokens_per_second": 900.0,
        "prompt_tokens": 480,
        "answer_tokens": 100,
        "requests": 2,
        "load_seconds": 14.2,
    }
    assert asked(daemon)[-1] == GIVEN_BACK
    assert "38.9 tokens/s" in capsys.readouterr().out


def test_of_a_model_that_was_there_no_load_is_told(daemon):
    daemon.answers["POST /models/load"] = {**LEASED, "already_loaded": True}
    main(["bench", "qwen3-vl-30b", "--requests", "1"])
    [kept] = daemon.bodies("/models/qwen3-vl-30b/benchmarks")
    assert "load_seconds" not in kept


def test_other_settings_are_ordered_and_their_load_is_not_the_catalogues(daemon):
    words = ["--requests", "1", "--context-size", "1024", "--evict", "never"]
    main(["bench", "qwen3-vl-30b", *words])
    [order] = daemon.bodies("/models/load")
    assert (order["context_size"], order["evict"]) == (1024, "never")
    [kept] = daemon.bodies("/models/qwen3-vl-30b/benchmarks")
    assert "load_seconds" not in kept


def test_slower_than_expected_is_exit_code_1(daemon):
    daemon.answers[KEEP] = speed_examples.BENCHMARK
    assert main(["bench", "qwen3-vl-30b", "--requests", "1"]) == 1


def test_a_server_without_timings_is_timed_here(daemon):
    usage = {"usage": {"prompt_tokens": 480, "completion_tokens": 100}}
    daemon.answers[CHAT] = stream(piece("a", "reasoning_content"), piece("b"), usage)
    main(["bench", "qwen3-vl-30b", "--requests", "1"])
    [kept] = daemon.bodies("/models/qwen3-vl-30b/benchmarks")
    rate = 480 / kept["first_token_seconds"]
    assert kept["prompt_tokens_per_second"] == pytest.approx(rate)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({CHAT: stream(TIMED)}, "wrote nothing"),
        ({CHAT: stream({"error": {"message": "no room"}})}, "no room"),
        ({CHAT: (503, {"detail": "It is gone.", "remedy": "Wait."})}, "It is gone."),
        ({CHAT: stream(piece("a"))}, "not what this version expects"),
        ({STATUS: {**examples.STATUS, "loaded_models": {}}}, "has left meanwhile"),
        ({STATUS: status(in_flight=2)}, "nothing is measured beside others"),
    ],
)
def test_however_it_ends_the_lease_is_given_back_and_nothing_is_kept(
    daemon, capsys, monkeypatch, answers, says
):
    monkeypatch.setattr(benching, "QUIET_S_MAX", 0.0)
    daemon.answers |= answers
    assert main(["bench", "qwen3-vl-30b"]) == 1
    assert says in capsys.readouterr().err
    assert daemon.bodies("/models/qwen3-vl-30b/benchmarks") == []
    assert asked(daemon)[-1] == GIVEN_BACK


def test_ctrl_c_gives_the_lease_back(daemon, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(benching, "ask", interrupted)
    assert main(["bench", "qwen3-vl-30b"]) == 130
    assert asked(daemon)[-1] == GIVEN_BACK


def test_a_model_that_takes_too_long_for_one_request_is_not_measured(daemon, capsys, monkeypatch):
    monkeypatch.setattr(benching, "MEASURING_S_MAX", 0.0)
    assert main(["bench", "qwen3-vl-30b"]) == 1
    assert "--prompt-tokens" in capsys.readouterr().err


def test_a_small_context_holds_prompt_and_answer(daemon):
    daemon.answers[ENTRY] = {**daemon.answers[ENTRY], "context_per_slot": 256}
    main(["bench", "qwen3-vl-30b", "--requests", "1"])
    chat = daemon.bodies("/v1/chat/completions")[0]
    assert chat["max_tokens"] == 96
    assert len(chat["messages"][0]["content"].split()) < 96


def test_a_prompt_has_about_as_many_tokens_as_words():
    assert len(prompt(512).split()) == 480
    assert prompt(1) != ""


def test_without_a_name_what_was_measured_is_listed(daemon, capsys):
    daemon.answers["GET /benchmarks"] = speed_examples.BENCHMARKS
    assert main(["bench"]) == 0
    assert "slower than expected" in capsys.readouterr().out
