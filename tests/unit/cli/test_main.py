import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.main import INTERRUPTED, main
from orchestrator.web.wire import examples
from tests.stand_in import stand_in
from tests.unit.gguf.gguf_files import write_model

ROOT = Path(__file__).parents[3]


@pytest.fixture
def daemon(monkeypatch):
    with stand_in() as remembered:
        monkeypatch.setenv("ORCHESTRATOR_URL", remembered.url)
        monkeypatch.delenv("ORCHESTRATOR_API_KEY", raising=False)
        yield remembered


def command(*words, **keys):
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keys,
    )


def test_status_answers(daemon, capsys):
    daemon.answers["GET /models/status"] = examples.STATUS
    assert main(["status"]) == 0
    assert "qwen3-vl-30b" in capsys.readouterr().out


def test_the_key_of_the_environment_goes_along(daemon, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_API_KEY", "s3cret\n")
    daemon.answers["GET /models/status"] = examples.STATUS
    main(["status"])
    assert daemon.asked[0][2]["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("words", "question", "body"),
    [
        (["models"], "GET /models", examples.CATALOGUE),
        (["list"], "GET /models", examples.CATALOGUE),
        (["ps"], "GET /models/status", {"loaded_models": {}}),
        (["stop", "a"], "POST /models/unload", examples.UNLOADED),
        (["plan", "a", "--profile", "fast"], "POST /models/plan", examples.PLAN),
        (["load", "a", "--pin", "--wait", "5"], "POST /models/load", examples.LOADED),
        (["load", "a", "--no-wait"], "POST /models/load", examples.ACCEPTED),
        (["unload", "a", "--force"], "POST /models/unload", examples.UNLOADED),
        (["logs", "a", "--lines", "3"], "GET /models/a/logs?lines=3", {"lines": ["x"]}),
        (["events", "--lines", "2"], "GET /events?limit=2", examples.EVENTS),
        (["pin", "a"], "PUT /models/a/pin", {"model": "a", "pinned": True}),
        (["unpin", "a"], "DELETE /models/a/pin", {"model": "a", "pinned": False}),
        (["reload"], "POST /admin/reload", {"changed": ["x"], "restart_needed": []}),
    ],
)
def test_each_word_asks_its_question(daemon, capsys, words, question, body):
    daemon.answers[question] = body
    assert main(words) == 0
    assert capsys.readouterr().out.strip()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == body


def test_leases_of_models_and_of_vram_are_shown(daemon, capsys):
    daemon.answers["GET /leases"] = examples.MODEL_LEASES
    daemon.answers["GET /vram/leases"] = examples.ROOMS
    assert main(["leases"]) == 0
    assert "VRAM" in capsys.readouterr().out


def test_a_refusal_is_detail_and_remedy_on_stderr(daemon, capsys):
    body = {"code": "unknown_model", "detail": "No such model.", "remedy": "See GET /models."}
    daemon.answers["POST /models/load"] = (404, body)
    assert main(["load", "nope"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "No such model.\nSee `orchestrator list`.\n")
    assert main(["load", "nope", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == body


def test_an_answer_of_another_version_is_no_traceback(daemon, capsys):
    daemon.answers["GET /models/status"] = {"something": "else"}
    assert main(["status"]) == 1
    assert "another version" in capsys.readouterr().err


def test_no_daemon_names_the_command_that_starts_one(monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["status", "--url", url]) == 1
    assert "orchestrator serve" in capsys.readouterr().err


def test_a_url_that_is_none_is_wrong_usage(monkeypatch, capsys):
    monkeypatch.setenv("ORCHESTRATOR_URL", "localhost:8000")
    assert main(["status"]) == 2
    assert "ORCHESTRATOR_URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["load"],
        ["load", "a", "--wait", "-1"],
        ["load", "a", "--wait", "nan"],
        ["load", "a", "--wait", "99999"],
        ["load", "a", "--wait", "1", "--no-wait"],
        ["load", "a", "--priority", "high"],
        ["load", "a", "--gpu-layers", "-1"],
        ["plan", "a", "--gpu-layers", "most"],
        ["estimate", "a.gguf", "--gpu-layers", "x"],
        ["serve", "--port", "70000"],
        ["config"],
        ["config", "check"],
    ],
)
def test_wrong_usage_is_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_config_check_notes_a_protection_that_outlasts_every_wait(tmp_path, capsys):
    file = tmp_path / "c.yaml"
    for protect_s, noted in ((219, False), (220, True)):
        file.write_text(
            f"scheduling: {{protect_idle_s: {protect_s}}}\nmodels: {{}}\nservices: {{}}\n"
        )
        assert main(["config", "check", str(file)]) == 0
        assert ("protect_idle_s (220) is not below the 220 s" in capsys.readouterr().out) is noted


def test_config_check_says_what_is_right_and_what_is_wrong(tmp_path, capsys):
    file = tmp_path / "o.yaml"
    file.write_text("services: {a: {engine: fake}}\nmodels: {m: {service: a, vram_mb: 1}}\n")
    assert main(["config", "check", str(file)]) == 0
    assert "models: 1, services: 1" in capsys.readouterr().out
    file.write_text("sever: {}\nstate_dir: 3\n")
    assert main(["config", "check", str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"{file}:1: sever: is not a known key; did you mean server?",
        f"{file}:2: state_dir: must be text (in quotes, if it looks like a number), not 3",
    ]


def test_the_example_that_is_printed_is_right(tmp_path, capsys):
    assert main(["config", "example"]) == 0
    file = tmp_path / "o.yaml"
    file.write_text(capsys.readouterr().out)
    assert main(["config", "check", str(file)]) == 0


def test_the_schema_is_json(capsys):
    assert main(["config", "schema"]) == 0
    assert "models" in json.loads(capsys.readouterr().out)["properties"]


def test_a_config_that_is_wrong_does_not_start(tmp_path, capsys):
    assert main(["serve", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_watch_listens_and_ends_with_the_interrupt(daemon):
    event = json.dumps({"type": "snapshot", "status": examples.STATUS})
    daemon.answers["GET /events"] = (200, f"data: {event}\n\n".encode())
    with command("status", "--watch", "--json") as watching:
        assert json.loads(watching.stdout.readline()) == json.loads(event)["status"]
        assert {path for _, path, *_ in daemon.asked} == {"/events"}
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=20)
    assert watching.returncode == INTERRUPTED
    assert "Traceback" not in said


def test_a_reader_that_has_enough_is_no_failure(daemon):
    daemon.answers["GET /models/status"] = examples.STATUS
    reader, writer = os.pipe()
    os.close(reader)
    asking = subprocess.run(
        [sys.executable, "-m", "orchestrator", "status"],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (asking.returncode, asking.stderr) == (0, "")


def test_json_and_sentences_are_said_without_what_draws_tables(daemon):
    daemon.answers |= {"GET /models/status": examples.STATUS, "POST /models/load": examples.LOADED}
    code = "import sys; from orchestrator.cli.main import main; main(sys.argv[1:]); "
    for words in (["version"], ["status", "--json"], ["load", "a"]):
        said = subprocess.run(
            [sys.executable, "-c", f"{code} print('rich' in sys.modules)", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.endswith("False\n")


def test_a_word_for_the_daemon_loads_nothing_heavy():
    heavy = "{'pydantic', 'fastapi', 'yaml', 'psutil', 'httpx', 'asyncio', 'rich'}"
    code = f"import sys, orchestrator.cli.main; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"


# --- estimates ---------------------------------------------------------------------------------

LLAMA = str(ROOT / "tests" / "data" / "footprints" / "llama31-8b.gguf")


def estimated(capsys, *words):
    assert main(["estimate", LLAMA, "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_estimate_has_its_parts_in_mib(capsys):
    told = estimated(capsys, "--context", "8192")
    assert told["context_mib"] == 1024.0
    parts = told["weights_mib"] + told["context_mib"] + told["compute_mib"]
    assert told["device_mib"] == pytest.approx(parts, abs=0.001)
    assert (told["architecture"], told["method"]) == ("llama", "header")
    assert told["host_mib"] > 0


@pytest.mark.parametrize(
    ("words", "context_mib"),
    [
        (["--context", "8192", "--slots", "4", "--split-cache"], 1024.0),
        (["--context", "8192", "--cache-type", "q8_0"], 544.0),
        (["--context", "8192", "--gpu-layers", "0"], 0.0),
        (["--context", "8192", "--flash-attn", "off", "--ubatch", "4096"], 1024.0),
        ([], 16384.0),
    ],
)
def test_every_word_of_an_estimate_counts(capsys, words, context_mib):
    assert estimated(capsys, *words)["context_mib"] == context_mib


def test_an_estimate_can_be_read(capsys):
    assert main(["estimate", LLAMA, "--context", "4096"]) == 0
    assert "512.0 MiB" in capsys.readouterr().out


def test_layers_that_are_none_are_told_in_a_sentence(capsys):
    for wrong in ("x", "-1"):
        with pytest.raises(SystemExit):
            main(["estimate", LLAMA, "--gpu-layers", wrong])
        said = capsys.readouterr().err
        assert f"argument --gpu-layers: {wrong} is neither a number of layers nor `all`" in said


def test_a_cache_that_no_server_would_start_with_is_refused(capsys):
    assert main(["estimate", LLAMA, "--cache-type", "q8_0", "--flash-attn", "off"]) == 1
    assert capsys.readouterr().err == "cache_type_v q8_0 needs flash attention.\n"


def test_a_file_that_is_cut_short_is_said_to_be(capsys):
    """Of the file here, only the header is there."""
    assert main(["estimate", LLAMA]) == 0
    assert "Not certain: the file is truncated: " in capsys.readouterr().out


def test_what_a_file_calls_itself_moves_no_cursor(tmp_path, capsys):
    file = write_model(tmp_path / "m.gguf", {"general.architecture": "x\n\x1b[2Jy"}, [])
    assert main(["estimate", str(file)]) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "[2Jy" in said.err
    assert said.err.count("\n") == 1


def test_orders_take_the_settings_that_are_suggested(daemon):
    daemon.answers["POST /models/load"] = examples.LOADED
    for layers, sent in (("23", 23), ("all", "all")):
        assert main(["load", "a", "--gpu-layers", layers, "--cache-type", "q8_0"]) == 0
        body = daemon.bodies("/models/load")[-1]
        assert (body["gpu_layers"], body["cache_type"]) == (sent, "q8_0")


def test_what_is_no_model_is_told_in_a_sentence(capsys):
    assert main(["estimate", __file__]) == 1
    assert "is not a GGUF file" in capsys.readouterr().err


def test_a_model_without_vram_mb_is_checked_by_its_file(tmp_path, capsys):
    file = tmp_path / "orchestrator.yaml"
    service = f"{{engine: xllamacpp, models_dir: {ROOT / 'tests' / 'data'}}}"
    said = f"services:\n  local: {service}\nmodels:\n  a:\n    service: local\n    file: "
    file.write_text(said + "footprints/llama31-8b.gguf\n")
    assert main(["config", "check", str(file)]) == 0
    file.write_text(said + "llama_logs/text_file.b11434.txt\n")
    assert main(["config", "check", str(file)]) == 2
    assert f"{file}:6: models.a.file: cannot be used: " in capsys.readouterr().err
