"""Docker: real llama.cpp in real containers, and everything that may happen to them meanwhile."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import docker.errors
import httpx
import pytest

from orchestrator.runtimes.docker.create import LABEL_IDENTITY
from tests.contracts import docker_parts as parts
from tests.pace import crowd
from tests.scenarios.containers import (
    CARD_MB,
    IMAGE,
    MODEL_MB,
    Engine,
    inside_network_of,
    llama_image,
    llama_service,
    opened_engine,
    running_on,
    settings,
    smollm,
    starting_on,
)
from tests.scenarios.daemon import model
from tests.scenarios.world import frozen
from tests.standins import nvml

pytestmark = [pytest.mark.docker, pytest.mark.llama_cpp]

READY_S_MAX = 2.0  # from serving on
NOTICED_S_MAX = 2.0  # an event takes milliseconds
STATUS_S_MAX = 0.5  # likewise
MARKED_S_MAX = 10.0  # three seconds without an answer, and the tick after them
SLEEPER_PORT = ("/sleeper", "--serve", "8000")


@pytest.fixture(scope="module")
def engine():
    with opened_engine() as opened:
        yield opened


@pytest.fixture
def daemons(tmp_path, engine):
    with starting_on(engine, tmp_path) as start:
        yield start


def ask(daemon, name, question="What is the capital of France?"):
    answer = httpx.post(
        daemon.endpoint(name) + "/v1/chat/completions",
        json={
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 16,
            "temperature": 0,
        },
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def is_charged(daemon, name):
    """It is the only one on the card, and nobody else may have what it was promised."""
    status = daemon.status()
    left_mb = CARD_MB - status["loaded_models"][name]["vram_mb"]
    return left_mb - 1 <= status["available_mb"] <= left_mb  # both are rounded, to our cost


def named(container, url, **more):
    return {
        "engine": "container",
        "runtime": "docker",
        "container": container,
        "url": url,
        "health": "/health",
    } | more


def pid_of(engine, name):
    return engine.client.inspect_container(name)["State"]["Pid"]


# --- a life of a container ----------------------------------------------------------------------


def test_a_real_model_is_loaded_chatted_with_and_evicted_by_another(daemons, engine):
    daemon = daemons({"a": smollm(), "b": smollm()})
    assert daemon.load("a")["status"] == "loaded"
    assert "Paris" in ask(daemon, "a")
    container = engine.only(daemon)
    assert daemon.load("b")["evicted"] == ["a"]
    assert "Paris" in ask(daemon, "b")
    assert engine.only(daemon)["Id"] != container["Id"], "the first one is gone, not just stopped"
    daemon.unload("b")
    assert engine.containers(daemon) == []


def test_sigkill_daemon_then_adopt_the_same_container(daemons, engine):
    daemon = daemons({"a": smollm()})
    daemon.load("a")
    before = engine.only(daemon)
    daemon.kill()
    adopted_at_once(daemon, a="loaded")
    after = engine.only(daemon)
    assert (after["Id"], after["State"]["StartedAt"]) == (
        before["Id"],
        before["State"]["StartedAt"],
    )
    assert "Paris" in ask(daemon, "a")
    assert daemon.load("a")["already_loaded"]
    assert daemon.unload("a")["verified"]
    assert engine.containers(daemon) == []


def adopted_at_once(daemon, **expected):
    """From the moment on when it serves. Until then it imports what it consists of, which takes
    a second on a machine with nothing else to do: that is printed, not bounded.
    """
    began = time.monotonic()
    daemon.start()
    served = time.monotonic()
    daemon.until_loaded(**expected)
    ready_s = time.monotonic() - served
    print(f"it served after {served - began:.1f} s, with what outlived it {ready_s:.2f} s later")
    assert ready_s < READY_S_MAX * crowd()


def test_sigkill_daemon_in_mid_stream_then_adopt(daemons, engine):
    daemon = daemons({"a": smollm()})
    daemon.load("a")
    before = engine.only(daemon)["Id"]
    asked = {
        "messages": [{"role": "user", "content": "Count from one to one hundred, in words."}],
        "max_tokens": 400,
        "stream": True,
    }
    url = daemon.endpoint("a") + "/v1/chat/completions"
    with httpx.stream("POST", url, json=asked, timeout=120) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines).startswith("data: ")
        daemon.kill()
        adopted_at_once(daemon, a="loaded")
        *_, last = lines
    assert last == "data: [DONE]", "nobody cut it"
    assert engine.only(daemon)["Id"] == before
    assert daemon.load("a")["already_loaded"]


@pytest.mark.parametrize("order", ["evict", "unload"])
def test_sigkill_daemon_while_a_container_leaves(daemons, engine, order):
    """It goes on leaving: what was begun is not forgotten, and nothing runs on uncharged."""
    daemon = daemons({"a": smollm(), "b": smollm()})
    daemon.load("a")
    before = engine.only(daemon)["Id"]
    path, model = ("load", "b") if order == "evict" else ("unload", "a")

    def give_order():
        with suppress(httpx.HTTPError):
            daemon.post(f"/models/{path}", {"model": model})

    ordering = threading.Thread(target=give_order)
    ordering.start()
    daemon.until(lambda _: daemon.decisions("evict", "a"), "it is told to go")
    daemon.kill()
    ordering.join()
    daemon.start()
    daemon.until(lambda _: "a" not in daemon.loaded(), "it has left")
    assert before not in [each["Id"] for each in engine.containers(daemon)]
    assert daemon.load("b")["status"] == "loaded"
    assert "Paris" in ask(daemon, "b")
    assert is_charged(daemon, "b")
    assert [each["State"]["Running"] for each in engine.containers(daemon)] == [True]


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.5])
def test_sigkill_daemon_while_a_container_starts(daemons, engine, after_s):
    """Whatever moment it died at: the next life has one container that answers, or none."""
    daemon = daemons({"a": smollm()})

    def order():
        with suppress(httpx.HTTPError):
            daemon.post("/models/load", {"model": "a"})

    loading = threading.Thread(target=order)
    loading.start()
    time.sleep(after_s)
    daemon.kill()
    loading.join()
    daemon.start()
    daemon.load("a")
    assert engine.only(daemon)["State"]["Running"]
    assert "Paris" in ask(daemon, "a")


def test_a_stop_by_hand_is_noticed_at_once_and_the_next_wish_loads_anew(daemons, engine):
    daemon = daemons({"a": smollm()})
    daemon.load("a")
    before = engine.only(daemon)["Id"]
    engine.client.stop(before, timeout=1)
    began = time.monotonic()
    daemon.until_loaded()
    assert time.monotonic() - began < NOTICED_S_MAX * crowd()
    assert len(daemon.decisions("died", "a")) == 1
    assert daemon.load("a")["status"] == "loaded"
    assert engine.only(daemon)["Id"] != before
    assert "Paris" in ask(daemon, "a")


def test_a_restart_by_hand_is_the_same_resident_again(daemons, engine):
    """Its port is another one and it loads anew; it is charged, and nobody starts a second one."""
    daemon = daemons({"a": smollm()})
    daemon.load("a")
    before = engine.only(daemon)["Id"]
    engine.client.restart(before, timeout=1)
    daemon.until(
        lambda _: daemon.decisions("adopt", "a"), "it is taken back", NOTICED_S_MAX * crowd()
    )
    assert is_charged(daemon, "a"), "while it loads"
    daemon.until_loaded(a="loaded")
    assert "Paris" in ask(daemon, "a")
    assert daemon.load("a")["already_loaded"]
    assert engine.only(daemon)["Id"] == before
    assert daemon.unload("a")["verified"]
    assert engine.containers(daemon) == []


def test_a_start_by_hand_long_after_a_stop_is_seen_and_really_stopped(daemons, engine):
    daemon = daemons({"a": smollm(), "b": smollm()})
    daemon.load("a")
    before = engine.only(daemon)["Id"]
    engine.client.stop(before, timeout=1)
    daemon.until_loaded()
    time.sleep(1)  # long gone, and its bytes are back
    engine.client.start(before)
    daemon.until_loaded(a="loaded")
    assert daemon.load("b")["evicted"] == ["a"]
    assert [each["Id"] == before for each in engine.containers(daemon)] == [False]


def test_of_two_copies_the_one_that_was_asked_for_stays(daemons, engine):
    """Somebody starts an old life again while its model is loaded anew."""
    daemon = daemons({"a": smollm()})
    daemon.load("a")
    before = engine.only(daemon)
    copy = engine.client.create_container_from_config(
        {"Image": IMAGE, "Cmd": ["sleep", "600"], "Labels": before["Config"]["Labels"]}
    )["Id"]
    engine.client.remove_container(before["Id"], force=True)
    daemon.until_loaded()
    loading = threading.Thread(target=daemon.load, args=("a",))
    loading.start()
    with suppress(docker.errors.APIError):  # it may be removed already
        engine.client.start(copy)
    loading.join()
    daemon.until(lambda _: len(engine.containers(daemon)) == 1, "one is left")
    assert daemon.loaded() == {"a": "loaded"}
    assert "Paris" in ask(daemon, "a")


def test_stops_by_hand_are_not_the_models_fault(daemons, engine):
    daemon = daemons({"a": smollm()})
    for stop in (engine.client.stop, engine.client.kill, engine.client.stop, engine.client.stop):
        daemon.load("a")
        stop(engine.only(daemon)["Id"])
        daemon.until_loaded()
    said = daemon.decisions("died", "a")
    assert len(said) == 4
    assert all("stopped by somebody else" in each["text"] for each in said)


def test_a_container_that_is_killed_says_so(daemons, engine):
    daemon = daemons({"a": smollm()})
    daemon.load("a")
    engine.client.kill(engine.only(daemon)["Id"])
    daemon.until_loaded()
    (death,) = daemon.decisions("died", "a")
    assert "SIGKILL" in death["text"]
    assert daemon.status()["used_mb"] == 0


def test_a_container_that_runs_out_of_its_memory_says_so(daemons, engine):
    """64 MB of host RAM hold neither the cache of 8192 tokens nor what the model computes in."""
    small = llama_service(memory_mb=64)
    daemon = daemons({"a": smollm("small", context_size=8192), "b": model(100)}, {"small": small})
    daemon.load("b")
    refused = daemon.refused("a")
    assert (refused["code"], refused["cause"]) == ("load_failed", "exited")
    assert "killed at its limit of 64 MB of host RAM" in refused["detail"]
    assert engine.containers(daemon) == []
    daemon.until_loaded(b="loaded")
    assert not daemon.decisions("evict"), "nobody had to leave for it"


def test_a_missing_image_is_named_with_its_command_and_nobody_leaves(daemons, engine):
    lost = llama_service(image="llama-service:nobody-built-it")
    daemon = daemons({"a": smollm("lost"), "b": smollm()}, {"lost": lost})
    daemon.load("b")
    before = engine.only(daemon)["Id"]
    refused = daemon.refused("a")
    assert refused["cause"] == "image_missing"
    assert "docker build -f llama_service/Dockerfile" in refused["remedy"]
    assert engine.only(daemon)["Id"] == before, "nobody was stopped for it"


def test_a_missing_container_is_named_with_its_command_and_nobody_leaves(daemons, engine):
    lost = named("nobody-made-it", "http://127.0.0.1:9")
    daemon = daemons({"a": {"service": "lost", "vram_mb": MODEL_MB}, "b": smollm()}, {"lost": lost})
    daemon.load("b")
    refused = daemon.refused("a")
    assert "docker compose create" in refused["remedy"]
    assert "must be called nobody-made-it" in refused["remedy"]
    assert daemon.loaded() == {"b": "loaded"}


# --- engines and stops that fail ----------------------------------------------------------------


def test_an_engine_that_is_not_there_is_no_reason_not_to_start(daemons):
    daemon = daemons({"a": smollm(), "p": model(100)}, host="unix:///nowhere/docker.sock")
    refused = daemon.refused("a")
    assert (refused["status"], refused["code"]) == (503, "runtime_unavailable")
    assert refused["cause"] == "runtime_unavailable"
    assert refused["retry_after_seconds"] > 0
    assert "Is the engine running" in refused["detail"]
    daemon.until(lambda _: daemon.decisions("runtime"), "it is said")
    ready = daemon.http.get("/health/ready")
    assert ready.status_code == 200, "the other service starts what is asked for"
    assert "nothing is started there" in ready.json()["reasons"][0]
    assert daemon.load("p")["status"] == "loaded"


@pytest.mark.dockerd
def test_docker_hangs_the_daemon_does_not(tmp_path):
    """SIGSTOP to the engine: it accepts connections and never says a word."""
    with parts.private_engine() as private, inside_network_of(private.pid):
        engine = Engine(private.url)
        llama_image(private.url)
        said = settings({"a": smollm(), "b": smollm(), "p": model(100)})
        with running_on(
            engine, tmp_path, said, executed=True
        ) as daemon:  # to be in the engine's network
            daemon.load("a")
            before = engine.only(daemon)["Id"]
            assert not marked(daemon)
            os.kill(private.pid, signal.SIGSTOP)
            try:
                check_alive(daemon)
            finally:
                os.kill(private.pid, signal.SIGCONT)
            daemon.until(lambda _: not marked(daemon), "the mark is gone")
            assert daemon.loaded()["a"] == "loaded"
            began = time.monotonic()
            assert daemon.load("b", wait=30)["evicted"] == ["a"], "it recovers by itself"
            print(f"loaded {time.monotonic() - began:.1f} s after the engine went on")
            assert engine.only(daemon)["Id"] != before
        engine.close()


def marked(daemon):
    return "this is its last known state" in daemon.status()["loaded_models"]["a"]["problem"]


def check_alive(daemon):
    slowest_s = 0.0
    daemon.until(lambda _: marked(daemon), "it is marked", MARKED_S_MAX * crowd())
    refused = daemon.refused("b")
    assert (refused["status"], refused["cause"]) == (503, "runtime_unavailable")
    assert refused["retry_after_seconds"] > 0
    ends = time.monotonic() + 12  # longer than any call of ours is waited for
    loaded_p = False
    while time.monotonic() < ends:
        began = time.monotonic()
        assert daemon.loaded()["a"] == "loaded", "the last known state"
        assert marked(daemon)
        slowest_s = max(slowest_s, time.monotonic() - began)
        if not loaded_p:
            began = time.monotonic()
            assert daemon.load("p")["status"] == "loaded", "other runtimes go on"
            assert time.monotonic() - began < 5 * crowd()
            loaded_p = True
            assert "Paris" in ask(daemon, "a"), "the model answers as before"
        time.sleep(0.1)
    assert slowest_s < STATUS_S_MAX * crowd()
    assert set(daemon.loaded()) == {"a", "p"}, "nothing was started"


def test_failed_container_stop_is_not_stopped(daemons, engine):
    daemon = daemons({"a": smollm(), "b": smollm()}, scheduling={"stop_grace_s": 1})
    daemon.load("a")
    stubborn = engine.only(daemon)
    with frozen(server_of(engine, stubborn["Id"])):
        refused = daemon.post("/models/unload", {"model": "a"})
        assert refused.status_code == 409
        assert daemon.loaded() == {"a": "stuck"}
        assert is_charged(daemon, "a"), "still"
        assert daemon.refused("b", wait=0.5)["status"] == 503
        assert [each["Id"] for each in engine.containers(daemon)] == [stubborn["Id"]]
        assert daemon.decisions("stuck")[0]["remedy"]
    assert daemon.unload("a")["status"] == "unloaded"
    assert daemon.load("b")["status"] == "loaded"


def processes(engine, container):
    return [int(row[1]) for row in engine.client.top(container)["Processes"]]


def server_of(engine, container):
    """The server itself, not the init above it."""
    (found,) = (
        pid
        for pid in processes(engine, container)
        if Path(f"/proc/{pid}/comm").read_text().strip() == "llama-server"
    )
    return found


# --- other people's containers ------------------------------------------------------------------


def test_two_orchestrators_on_one_engine_do_not_see_each_others(daemons, engine):
    one, two = daemons({"a": smollm()}), daemons({"a": smollm()})
    one.load("a")
    assert two.loaded() == {}
    two.load("a")
    ours, theirs = engine.only(one), engine.only(two)
    assert ours["Id"] != theirs["Id"]
    one.kill()
    one.start()
    one.until_loaded(a="loaded")
    one.unload("a")
    now = engine.only(two)["State"]
    assert {**now, "Health": None} == {**theirs["State"], "Health": None}
    assert "Paris" in ask(two, "a")


def test_nobody_elses_container_is_touched(daemons, engine):
    bystander, _ = engine.make_named("bystander", *SLEEPER_PORT)
    engine.client.start(bystander)
    dead, _ = engine.make_named("dead", *SLEEPER_PORT)
    somebodys = engine.client.create_container(
        IMAGE, labels={LABEL_IDENTITY: "somebody-else", "vram-orchestrator.scenario": parts.RUN}
    )["Id"]
    before = [engine.client.inspect_container(each) for each in (bystander, dead, somebodys)]
    daemon = daemons({"a": smollm(), "b": smollm()})
    daemon.load("a")
    daemon.load("b")
    daemon.kill()
    daemon.start()
    daemon.until_loaded(b="loaded")
    daemon.unload("b")
    after = [engine.client.inspect_container(each) for each in (bystander, dead, somebodys)]
    assert [each["State"] for each in after] == [each["State"] for each in before]


def test_a_named_llama_cpp_is_started_watched_adopted_and_stopped(daemons, engine):
    """A sibling service that compose defined: `container:`, with its address."""
    file = smollm()["file"]
    server = ("llama-server", "-m", file, "--host", "0.0.0.0", "--port", "8000", "-c", "1024")
    name, url = engine.make_named("sibling", *server, "--no-jinja", image=IMAGE)
    service = {"engine": "llama_cpp", "runtime": "docker", "container": name, "url": url}
    daemon = daemons(
        {"sibling": {"service": "sibling", "vram_mb": MODEL_MB}, "a": smollm()},
        {"sibling": service},
    )
    daemon.load("a")
    assert daemon.load("sibling")["evicted"] == ["a"]
    assert daemon.endpoint("sibling") == url
    assert "Paris" in ask(daemon, "sibling")
    for settings_of_ours in ({"context_size": 8192}, {"profile": "fast"}, {"gpu_layers": 3}):
        refused = daemon.refused("sibling", **settings_of_ours)
        assert (refused["status"], refused["code"]) == (409, "conflict")
        assert f"container {name} is defined" in refused["remedy"]
    seen = daemon.http.get("/models/sibling").json()
    assert (seen["serving"], seen["resident"]["serving"]) == (None, None)
    started = engine.client.inspect_container(name)["State"]["StartedAt"]
    daemon.kill()
    daemon.start()
    daemon.until_loaded(sibling="loaded")
    assert engine.client.inspect_container(name)["State"]["StartedAt"] == started
    engine.client.stop(name, timeout=1)
    began = time.monotonic()
    daemon.until_loaded()
    assert time.monotonic() - began < NOTICED_S_MAX * crowd()
    daemon.load("sibling")
    assert daemon.unload("sibling")["verified"]
    assert not engine.runs(name)


def test_any_container_is_loaded_when_it_answers_and_stopped_to_make_room(daemons, engine):
    name, url = engine.make_named("whisperx", *SLEEPER_PORT)
    daemon = daemons(
        {"whisperx": {"service": "whisperx", "vram_mb": MODEL_MB}, "a": smollm()},
        {"whisperx": named(name, url)},
    )
    answer = daemon.load("whisperx")
    assert (answer["endpoint"], answer["vram_mb"]) == (url, MODEL_MB)
    assert httpx.get(url).status_code == 200
    assert daemon.load("a")["evicted"] == ["whisperx"]
    assert not engine.runs(name)
    assert engine.client.inspect_container(name)["State"]["Status"] == "exited", "and kept"


def test_a_container_that_compose_has_started_is_a_resident(daemons, engine):
    """Before the daemon, and again while it runs."""
    name, url = engine.make_named("ovi", *SLEEPER_PORT)
    engine.client.start(name)
    daemon = daemons(
        {"ovi": {"service": "ovi", "vram_mb": MODEL_MB}, "a": smollm()}, {"ovi": named(name, url)}
    )
    assert daemon.loaded() == {"ovi": "loaded"}
    assert daemon.status()["available_mb"] == CARD_MB - MODEL_MB
    assert "somebody else started it" in daemon.decisions("adopt", "ovi")[0]["why"]
    assert daemon.load("a")["evicted"] == ["ovi"]
    daemon.unload("a")
    engine.client.start(name)
    daemon.until_loaded(ovi="loaded")
    started = engine.client.inspect_container(name)["State"]["StartedAt"]
    daemon.kill()
    daemon.start()
    assert daemon.loaded() == {"ovi": "loaded"}
    assert engine.client.inspect_container(name)["State"]["StartedAt"] == started
    daemon.unload("ovi")
    assert not engine.runs(name)


def test_stop_after_autorestart_really_stops(daemons, engine):
    name, url = engine.make_named("restarts", *SLEEPER_PORT, restart="always")
    daemon = daemons({"ovi": {"service": "ovi", "vram_mb": MODEL_MB}}, {"ovi": named(name, url)})
    daemon.load("ovi")
    os.kill(pid_of(engine, name), signal.SIGKILL)
    daemon.until(lambda _: daemon.decisions("died", "ovi"), "its death is noticed")
    daemon.until_loaded(ovi="loaded")
    assert engine.client.inspect_container(name)["RestartCount"] == 1
    assert daemon.unload("ovi")["verified"]
    time.sleep(1)  # longer than the engine's pause before a restart
    assert not engine.runs(name)
    assert daemon.loaded() == {}


# --- GPUs and the guard -------------------------------------------------------------------------


@pytest.mark.compiler
def test_a_gpu_is_requested_by_the_uuid_that_was_planned_on(tmp_path, engine):
    """The readings of a stand-in driver; the engine has a stand-in of NVIDIA's hook."""
    state = tmp_path / "machine"
    cards = ("gpu GPU-aaaa total=8192 used=10", "gpu GPU-bbbb total=8192 used=10")
    nvml.write_state(state, *cards)
    library = nvml.compile_standin(tmp_path / "lib")
    said = settings({"a": smollm(devices=["GPU-bbbb"])}, devices={"source": "nvml"})
    said["devices"] = {"source": "nvml", "headroom_mb": 0, "sample_interval_s": 0.2}
    driver = {"LD_LIBRARY_PATH": str(library), nvml.STATE_VARIABLE: str(state)}
    with running_on(engine, tmp_path, said, **driver) as daemon:
        answer = daemon.load("a")
        assert answer["devices"][0] == {"device": "GPU-bbbb", "vram_mb": answer["vram_mb"]}
        assert [each["device"] for each in answer["devices"][1:]] == ["host"]
        seen = engine.only(daemon)
        (request,) = seen["HostConfig"]["DeviceRequests"]
        assert (request["DeviceIDs"], request["Capabilities"]) == (["GPU-bbbb"], [["gpu"]])
        environment = {
            line
            for pid in processes(engine, seen["Id"])
            for line in Path(f"/proc/{pid}/environ").read_text().split("\0")
        }
        assert {"NVIDIA_VISIBLE_DEVICES=GPU-bbbb", "CUDA_VISIBLE_DEVICES=GPU-bbbb"} <= environment
        # As the driver would see it: what its processes hold is the resident's, not foreign.
        holder = server_of(engine, seen["Id"])
        nvml.write_state(state, *cards, f"process GPU-bbbb {holder} 650 alive")
        daemon.until(
            lambda s: next(d for d in s["devices"] if d["id"] == "GPU-bbbb")["used_mb"] == 660,
            "the bytes are read",
        )
        status = daemon.until(lambda s: s["foreign_mb"] == 20, "they are not foreign")
        assert status["loaded_models"]["a"]["status"] == "loaded"
        assert daemon.unload("a")["verified"]
        assert daemon.status()["used_mb"] == 20, "the driver has them back"


@pytest.mark.nginx
def test_everything_goes_through_the_socket_guard(tmp_path, engine):
    identity = f"behind-guard-{parts.RUN}"
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "identity").write_text(identity)
    name, url = engine.make_named("guarded", *SLEEPER_PORT)
    said = settings(
        {"a": smollm(), "b": smollm(), "n": {"service": "n", "vram_mb": MODEL_MB}},
        {"n": named(name, url)},
    )
    models = said["services"]["llama-cpp"]["models_dir"]
    allowed = {"GUARD_IDENTITY": identity, "GUARD_MODELS": models, "GUARD_CONTAINERS": name}
    with (
        parts.guard(engine.url, **allowed, GUARD_IMAGES=IMAGE) as guarded,
        running_on(engine, tmp_path, said, host=guarded) as daemon,
    ):
        daemon.load("a")
        assert "Paris" in ask(daemon, "a")
        assert daemon.load("b")["evicted"] == ["a"]
        before = engine.only(daemon)["Id"]
        daemon.kill()
        daemon.start()
        daemon.until_loaded(b="loaded")
        assert engine.only(daemon)["Id"] == before
        assert daemon.load("n")["evicted"] == ["b"]
        assert engine.runs(name)
        engine.client.stop(name, timeout=1)
        daemon.until_loaded()
        assert engine.containers(daemon) == []
