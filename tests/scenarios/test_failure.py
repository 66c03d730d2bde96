"""Failure: what breaks is named, charged, told at once, and breaks nobody else."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.pace import crowd
from tests.scenarios.daemon import chat, model, running
from tests.scenarios.world import fill, frozen, small_disk
from tests.unit.gguf.gguf_files import LLAMA, write_model

BIG = 20000  # two of them do not fit together
FAILS = {"fail": "exits"}


def test_broken_model_breaker(daemons):
    daemon = daemons({"a": model(BIG, fake=FAILS), "well": model(1000)})
    refusals = [daemon.refused("a") for _ in range(10)]
    assert 1 <= len(daemon.decisions("load", "a")) <= 3
    assert [each["code"] for each in refusals[3:]] == ["breaker_open"] * 7
    assert {each["cause"] for each in refusals} == {"exited"}
    assert "as it was told to" in "".join(refusals[-1]["log_tail"])
    assert refusals[-1]["retry_after_seconds"] > 1
    began = time.monotonic()
    daemon.refused("a")
    assert time.monotonic() - began < 1 * crowd(), "at once"
    assert daemon.load("well")["status"] == "loaded"
    assert daemon.status()["used_mb"] == 1000, "nothing of it is left"


def test_a_breaker_forgets_a_file_that_was_missing_once_it_is_there(daemons):
    """The model of the file is not one that a server could load: what it hears then is new."""
    services = {"local": {"engine": "xllamacpp", "runtime": "process", "models_dir": "./models"}}
    models = {"a": {"service": "local", "file": "a.gguf", "vram_mb": 100}}
    daemon = daemons(models, services=services)
    codes = []
    for _ in range(3):
        plan = daemon.post("/models/plan", {"model": "a"}).json()
        refused = daemon.refused("a")
        assert (plan["fits"], plan["refusal"]["code"]) == (False, refused["code"])
        assert plan["refusal"]["detail"] == refused["detail"]
        assert "there is no such file" in refused["detail"]
        codes.append(refused["code"])
    assert codes == ["load_failed", "breaker_open", "breaker_open"]
    (daemon.directory / "models").mkdir()
    write_model(daemon.directory / "models" / "a.gguf", LLAMA, whole=True)
    assert daemon.post("/models/plan", {"model": "a"}).json()["fits"]
    mended = daemon.refused("a")
    assert mended["code"] == "load_failed"
    assert "there is no such file" not in mended["detail"]
    assert daemon.refused("a")["code"] == "breaker_open", "of a server that really ended"


@pytest.mark.parametrize("restores", [True, False])
def test_failed_load_restores_victim(daemons, restores):
    daemon = daemons(
        {"a": model(BIG), "b": model(BIG, fake=FAILS)}, scheduling={"restore_victims": restores}
    )
    daemon.load("a")
    assert daemon.refused("b")["code"] == "load_failed"
    if restores:
        daemon.until_loaded(a="loaded")
        assert "did not come up" in daemon.decisions("restore", "a")[0]["text"]
    else:
        daemon.until(lambda s: s["used_mb"] == 0, "everybody has left")
        assert not daemon.decisions("restore")
        assert daemon.loaded() == {}


def test_oom_at_load_is_learned(daemons):
    """It takes 24 GB for a moment, which it did not say: beside 10 GB of others there is no room."""
    daemon = daemons(
        {
            "a": model(18000, fake={"peak_mb": 24000}),
            "idle": model(8000),
            "used": model(2000),
        }
    )
    daemon.load("used", owner="somebody", lease_seconds=600)
    daemon.load("idle")
    assert daemon.load("a")["status"] == "loaded"
    (failure,) = daemon.decisions("fail", "a")
    assert failure["why"] == "out_of_memory"
    assert len(daemon.decisions("load", "a")) == 2, "one retry"
    assert daemon.decisions("reserve", "a")[-1]["evicted"] == ["idle"], "with more room"
    assert daemon.loaded() == {"a": "loaded", "used": "loaded"}
    daemon.unload("a")
    daemon.load("idle")
    daemon.load("a")
    assert len(daemon.decisions("fail", "a")) == 1, "it is known the next time"


def test_dead_start_is_reported_at_once(daemons):
    daemon = daemons({"a": model(BIG, fake=FAILS)})
    late = []
    for _ in range(3):  # a busy machine may be late once
        watch = Obituary(daemon)
        refused = daemon.refused("a")
        late.append(time.monotonic() - watch.died())
    assert refused["cause"] == "exited"
    assert "as it was told to" in "".join(refused["log_tail"])
    assert min(late) < 0.2 * crowd(), late


class Obituary:
    """Sees when the daemon's only child, which lives for a third of a second, dies."""

    def __init__(self, daemon):
        self.tasks = Path(f"/proc/{daemon.process.pid}/task")
        self.died_at = 0.0
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            born = " ".join(each.read_text() for each in self.tasks.glob("*/children")).split()
            for pid in born:
                psutil.wait_procs([psutil.Process(int(pid))], timeout=60)
                self.died_at = time.monotonic()
                return
            time.sleep(0.01)

    def died(self):
        self.thread.join()
        assert self.died_at, "its server was seen"
        return self.died_at


@pytest.mark.parametrize("visible", [True, False], ids=["processes", "no-processes"])
def test_silent_cpu_fallback_is_reported(daemons, visible):
    card = {"name": "x", "total_mb": 32768, "release_lag_s": 0.1, "processes_visible": visible}
    daemon = daemons(
        {"a": model(BIG, fake={"takes_no_vram": True}), "b": model(5000)}, devices={"fake": [card]}
    )
    daemon.load("b")
    daemon.load("a")
    (said,) = daemon.decisions("fail")
    assert "took no VRAM" in said["text"]
    assert said["remedy"]
    models = daemon.status()["loaded_models"]
    assert models["a"]["problem"] == said["text"]
    assert (models["a"]["vram_mb"], models["b"]["problem"]) == (BIG, "")
    assert daemon.talk("a").status_code == 200, "slow is better than nothing"


def test_stop_after_autorestart_really_stops(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a")
    (first,) = daemon.servers("a")
    first.kill()
    daemon.until_loaded()
    daemon.load("a")
    (second,) = daemon.servers("a")
    assert second.pid != first.pid
    answer = daemon.unload("a")
    assert (answer["status"], answer["verified"]) == ("unloaded", True)
    assert daemon.servers("a") == []
    assert daemon.status()["used_mb"] == 0


def test_backend_dies_while_serving(daemons):
    daemon = daemons({"a": model(BIG), "b": model(5000)})
    daemon.load("a", owner="me")
    daemon.load("b")
    url = daemon.endpoint("a") + "/v1/chat/completions"
    with httpx.stream("POST", url, json=chat(30, stream=True), timeout=30) as stream:
        lines = stream.iter_lines()
        next(lines)
        daemon.servers("a")[0].kill()
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            list(lines)
    daemon.until_loaded(b="loaded")
    (death,) = daemon.decisions("died")
    assert death["model"] == "a"
    assert daemon.http.get("/leases").json()["leases"] == []
    assert daemon.load("a")["already_loaded"] is False
    assert daemon.loaded() == {"a": "loaded", "b": "loaded"}


def test_model_that_keeps_dying_is_not_started_for_ever(daemons):
    daemon = daemons({"a": model(BIG, fake={"dies_after_s": 0.6})})
    codes = []
    for _ in range(6):
        answer = daemon.post("/models/load", {"model": "a"})
        codes.append(answer.json().get("code", "loaded"))
        daemon.until(lambda s: not s["loaded_models"], "it died")
    assert codes[-1] == "breaker_open"
    assert len(daemon.decisions("load", "a")) <= 3


def test_load_that_never_ends_is_ended(daemons):
    daemon = daemons(
        {"a": model(BIG, fake={"fail": "never_ready"})}, scheduling={"load_deadline_s": 1}
    )
    refused = daemon.refused("a")
    assert (refused["code"], refused["cause"]) == ("load_failed", "not_ready_in_time")
    assert "load_deadline_s" in refused["remedy"]
    assert daemon.servers("a") == []


def test_nvml_unreadable_is_null_not_zero(daemons):
    daemon = daemons({"a": model(10000), "b": model(1000)})
    daemon.load("a")
    daemon.device(fault="unreadable")
    status = daemon.until(lambda s: s["devices"][0]["state"] == "unreadable", "it is noticed")
    for key in ("total_mb", "used_mb", "free_mb", "available_mb", "utilization_percent"):
        assert status[key] is None, key
        assert status["devices"][0][key] is None, key
    assert status["devices"][0]["problem"]
    refused = daemon.refused("b", wait=0.5)
    assert (refused["status"], refused["code"]) == (503, "device_unreadable")
    assert daemon.load("a")["already_loaded"], "what runs is served"
    assert daemon.talk("a").status_code == 200
    ready = daemon.http.get("/health/ready")
    assert ready.status_code == 503
    assert "fake-0" in ready.json()["reasons"][0]
    daemon.device(fault=None)
    daemon.until(lambda s: s["free_mb"] == 22768, "it answers again")
    assert daemon.load("b")["status"] == "loaded"
    assert daemon.http.get("/health/ready").status_code == 200


def test_gpu_lost_is_fenced(daemons):
    cards = {"fake": [{"name": n, "total_mb": 24000, "release_lag_s": 0.1} for n in "xy"]}
    daemon = daemons(
        {"a": model(10000, devices=["fake-0"]), "b": model(5000), "c": model(5000)}, devices=cards
    )
    daemon.load("a")
    daemon.device(fault="lost")
    daemon.until(lambda s: s["devices"][0]["state"] == "lost", "it is noticed")
    assert [each["device"] for each in daemon.load("b")["devices"]] == ["fake-1"]
    assert daemon.http.get("/health/ready").status_code == 200, "there is another one"
    daemon.unload("a")
    assert daemon.refused("a", wait=0.5)["code"] == "device_unreadable"
    assert daemon.loaded() == {"b": "loaded"}
    daemon.device(fault=None)
    daemon.until(lambda s: s["devices"][0]["state"] == "ok", "it answers again")
    assert [each["device"] for each in daemon.load("a")["devices"]] == ["fake-0"]


def test_disk_full_registry(tmp_path):
    """A real disk without a byte left: models run, load and leave; the daemon says why it is
    not ready, and writes it all down once there is room.
    """
    # On host RAM: the account of fake devices would be on the same disk.
    settings = {
        "state_dir": "./state",
        "devices": {"source": "host", "budget_mb": 3000, "headroom_mb": 0},
        "scheduling": {"min_residency_s": 0, "stop_grace_s": 2},
        "services": {"rehearsal": {"engine": "fake", "runtime": "process"}},
        "models": {name: model(500) for name in "abc"},
    }
    with (
        small_disk(tmp_path / "daemon" / "state", 4096) as disk,
        running(tmp_path / "daemon", settings) as daemon,
    ):
        daemon.load("a")
        ballast = fill(disk)
        daemon.load("b")
        daemon.unload("a")
        daemon.load("c", owner="me", lease_seconds=600)
        assert daemon.loaded() == {"b": "loaded", "c": "loaded"}
        ready = daemon.http.get("/health/ready")
        assert ready.status_code == 503
        assert "full" in ready.text
        assert len(daemon.decisions("loaded")) == 3, "also what is not written is told"
        ballast.unlink()
        daemon.until(lambda _: daemon.http.get("/health/ready").status_code == 200, "recovered")
        daemon.kill()
        daemon.start()
        assert daemon.loaded() == {"b": "loaded", "c": "loaded"}
        assert [each["owner"] for each in daemon.http.get("/leases").json()["leases"]] == ["me"]
        assert len(daemon.decisions("loaded")) == 3, "nothing was lost"
        for server in daemon.servers():
            server.kill()
        daemon.end()


def test_failed_stop_is_not_stopped(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG)}, scheduling={"stop_grace_s": 0.1})
    daemon.load("a")
    (server,) = daemon.servers("a")
    with frozen(server.pid):
        refused = daemon.post("/models/unload", {"model": "a"})
        assert refused.status_code == 409
        assert "SIGKILL" in refused.json()["detail"]
        assert daemon.loaded() == {"a": "stuck"}
        assert daemon.status()["available_mb"] == 12768, "still charged"
        assert daemon.refused("b", wait=0.5)["status"] == 503
        assert daemon.servers("b") == [], "nothing is started on top of it"
        assert daemon.decisions("stuck")[0]["remedy"]
    assert daemon.unload("a")["status"] == "unloaded"
    assert daemon.load("b")["status"] == "loaded"


def test_a_ready_server_that_hangs_is_said_and_given_to_no_caller(daemons):
    """Looks at the others go on meanwhile; a caller that waits is served when it answers."""
    daemon = daemons({"a": model(BIG), "b": model(5000)})
    for name in "ab":
        daemon.load(name)
    (server,) = daemon.servers("a")
    with ThreadPoolExecutor(2) as pool:
        server.suspend()
        try:
            began_s = time.monotonic()
            daemon.until(lambda s: problem(s, "a"), "it is marked")
            assert time.monotonic() - began_s < 8 * crowd()
            assert "has not answered for" in problem(daemon.status(), "a")
            assert "It is waited for" in problem(daemon.status(), "a")
            assert daemon.status()["loaded_models"]["a"]["silent_since"]
            assert 'orchestrator_resident_silent{model="a"} 1.0' in daemon.http.get("/metrics").text
            refused = daemon.refused("a", wait=0.3)
            assert (refused["status"], refused["code"]) == (503, "server_silent")
            assert "force" in refused["remedy"]
            plan = daemon.post("/models/plan", {"model": "a"}).json()
            assert (plan["fits"], plan["refusal"]["code"]) == (False, "server_silent")
            talking = pool.submit(daemon.talk, "b", 6.0)
            began_s = time.monotonic()
            daemon.until(lambda s: s["loaded_models"]["b"]["busy"], "b is seen in use")
            assert time.monotonic() - began_s < 4 * crowd()
            assert not problem(daemon.status(), "b")
            waiting = pool.submit(daemon.load, "a")
            daemon.until(lambda s: s["queue"], "a caller waits")
        finally:
            server.resume()
        assert waiting.result(timeout=60)["endpoint"] == daemon.endpoint("a")
        assert talking.result(timeout=60).status_code == 200
    assert not problem(daemon.status(), "a")
    assert len(daemon.decisions("server", "a")) == 2


def problem(status, name):
    return status["loaded_models"][name]["problem"]


def test_a_server_that_hangs_leaves_by_force_and_for_others(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG)}, scheduling={"stop_grace_s": 0.5})
    daemon.load("a")
    for leave in (lambda: daemon.unload("a", force=True), lambda: daemon.load("b")):
        daemon.load("a")
        (server,) = daemon.servers("a")
        server.suspend()
        daemon.until(lambda s: problem(s, "a"), "it is marked")
        leave()
        assert not server.is_running()


def test_a_server_that_hangs_is_restarted_where_the_operator_wants_it(daemons):
    """Whoever waits for it is served by the new one, and nobody has to come for that."""
    scheduling = {"stop_grace_s": 0.5, "on_hang": "restart", "hang_s": 10}
    daemon = daemons({"a": model(BIG)}, scheduling=scheduling)
    daemon.load("a")
    (server,) = daemon.servers("a")
    server.suspend()
    daemon.until(lambda _: not server.is_running(), "it is stopped")
    daemon.until_loaded(a="loaded")
    assert daemon.servers("a") != [server]
    (evicted,) = daemon.decisions("evict", "a")
    assert evicted["why"].endswith("(on_hang: restart)")
