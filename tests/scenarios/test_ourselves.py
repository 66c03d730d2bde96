"""Ourselves: killed, stopped, started twice, reloaded, on a bad disk, and asked by web pages."""

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx
import pytest
import yaml

from tests.scenarios.daemon import ROOT, Daemon, chat, command, config, model
from tests.scenarios.world import BadDisk, stopped

BIG = 20000  # two of them do not fit together
SETTLE_S = 15.0


@pytest.fixture
def bystander():
    """A model server of somebody else's orchestrator: nobody here may touch it."""
    marks = {"VRAM_ORCHESTRATOR_IDENTITY": "someone-else", "VRAM_ORCHESTRATOR_MODEL": "a"}
    with subprocess.Popen(["sleep", "600"], env=marks) as process:
        yield process
        assert process.poll() is None, "it was touched"
        process.kill()


def in_background(call, *args, **more):
    """An order whose answer nobody waits for; the daemon may be killed in the middle of it."""

    def order():
        try:
            call(*args, timeout=20, **more)
        except httpx.HTTPError:
            return

    thread = threading.Thread(target=order)
    thread.start()
    return thread


def pids(daemon):
    return {server.pid for server in daemon.servers()}


def check_belief(daemon):
    """What it says is there is what runs, once each, and the device agrees."""

    def settled(status):
        moving = [s for s in daemon.loaded().values() if s != "loaded"]
        names = sorted(
            server.environ()["VRAM_ORCHESTRATOR_MODEL"] for server in alive(daemon.servers())
        )
        charged = status["used_mb"] == sum(
            each["vram_mb"] for each in status["loaded_models"].values()
        )
        return not moving and charged and names == sorted(daemon.loaded())

    daemon.until(settled, "belief and world agree", SETTLE_S)


def alive(servers):
    return [each for each in servers if each.is_running() and each.status() != "zombie"]


def restart(daemon):
    daemon.kill()
    return daemon.start()


def test_sigkill_daemon_then_adopt(daemons, bystander):
    """In mid-stream: the stream goes on, and the same server is adopted."""
    daemon = daemons({"a": model(BIG), "b": model(5000)})
    lease = daemon.load("a", owner="me", lease_seconds=600)["lease_id"]
    before = pids(daemon)
    url = daemon.endpoint("a") + "/v1/chat/completions"
    with httpx.stream("POST", url, json=chat(3, stream=True), timeout=30) as stream:
        lines = stream.iter_lines()
        next(lines)
        restart(daemon)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert daemon.loaded() == {"a": "loaded"}
    assert pids(daemon) == before
    assert [each["lease_id"] for each in daemon.http.get("/leases").json()["leases"]] == [lease]
    assert daemon.load("a")["already_loaded"]
    assert daemon.load("b")["status"] == "loaded"
    daemon.servers("a")[0].kill()
    daemon.until_loaded(b="loaded")  # an adopted server is watched like any other
    check_belief(daemon)


def test_registry_lost_and_servers_named(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a")
    before = pids(daemon)
    daemon.kill()
    for part in (daemon.directory / "state").glob("registry.sqlite*"):
        part.unlink()
    daemon.start()
    said = " ".join(each["text"] for each in daemon.decisions())
    assert "there has been one here before" in said
    assert "a backup that has them can be put in its place" in said
    assert "of which the registry knows nothing: it is taken over" in said
    assert daemon.load("a")["already_loaded"]
    assert pids(daemon) == before
    daemon.kill()
    daemon.start()
    said = [each["text"] for each in daemon.decisions()]
    assert sum("there has been one here before" in text for text in said) == 1


def test_a_restarted_daemon_answers_soon(daemons):
    """Executed, as by a supervisor: it reads the program, and what outlived it keeps it no longer."""
    daemon = daemons({"a": model(BIG), "b": model(5000)})
    for name in "ab":
        daemon.load(name)
    daemon.executed = True
    # A busy machine may be late once.
    assert any(restart(daemon) < import_s(daemon) + 2 for _ in range(3))
    assert daemon.loaded() == {"a": "loaded", "b": "loaded"}


def import_s(daemon):
    """How long this machine takes at this moment to do no more than read the program."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "import orchestrator.daemon.serve"],
        env=daemon.environment | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    return time.monotonic() - began


def test_sigkill_at_every_step_of_a_load(daemons, bystander):
    daemon = daemons({"a": model(BIG, fake={"load_s": 0.5})})
    for delay_s in (0.0, 0.02, 0.06, 0.2, 0.6):
        order = in_background(httpx.post, daemon.url + "/models/load", json={"model": "a"})
        time.sleep(delay_s)
        restart(daemon)
        order.join()
        check_belief(daemon)
        daemon.load("a")
        assert len(daemon.servers("a")) == 1, f"killed after {delay_s} s"
        daemon.unload("a")
    assert daemon.status()["used_mb"] == 0


def test_sigkill_at_every_step_of_an_eviction(daemons, bystander):
    daemon = daemons(
        {"a": model(BIG, fake={"stop_s": 0.2}), "b": model(BIG, fake={"load_s": 0.3})},
    )
    for delay_s in (0.0, 0.03, 0.15, 0.3, 0.5, 0.8):
        daemon.load("a")
        order = in_background(httpx.post, daemon.url + "/models/load", json={"model": "b"})
        time.sleep(delay_s)
        restart(daemon)
        order.join()
        check_belief(daemon)
        daemon.load("b")
        assert list(daemon.loaded()) == ["b"], f"killed after {delay_s} s"
    assert not daemon.decisions("fail"), "never out of memory"


def test_sigkill_at_every_step_of_an_unload(daemons, bystander):
    daemon = daemons({"a": model(BIG, fake={"stop_s": 0.3}), "keep": model(5000)})
    daemon.load("keep")
    kept = {server.pid for server in daemon.servers("keep")}
    for delay_s in (0.0, 0.02, 0.1, 0.4):
        daemon.load("a")
        order = in_background(httpx.post, daemon.url + "/models/unload", json={"model": "a"})
        time.sleep(delay_s)
        restart(daemon)
        order.join()
        check_belief(daemon)
    daemon.unload("a")
    assert pids(daemon) == kept


def test_what_crashed_with_the_daemon_is_forgotten(daemons):
    daemon = daemons({"a": model(BIG), "b": model(5000)})
    daemon.load("a")
    daemon.load("b")
    daemon.kill()
    daemon.servers("a")[0].kill()
    daemon.start()
    assert daemon.loaded() == {"b": "loaded"}
    assert daemon.load("a")["already_loaded"] is False


def test_models_are_found_again_without_their_registry(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a")
    before = pids(daemon)
    daemon.kill()
    for file in (daemon.directory / "state").glob("registry.sqlite*"):
        file.write_bytes(b"not a database, and long enough to be looked at" * 100)
    daemon.start()
    daemon.until_loaded(a="loaded")
    assert pids(daemon) == before
    assert any("damaged" in each["text"] for each in daemon.decisions("device"))
    assert list((daemon.directory / "state").glob("registry.sqlite.broken-*"))


def test_idle_time_is_not_counted_while_nobody_looked(daemons):
    daemon = daemons({"a": model(BIG, ttl_seconds=3)})
    daemon.load("a")
    daemon.kill()
    time.sleep(3.5)
    daemon.start()
    time.sleep(1.5)  # the first look at who is idle comes after a second
    assert daemon.loaded() == {"a": "loaded"}
    with stopped(daemon):
        time.sleep(3)
    assert daemon.loaded() == {"a": "loaded"}
    daemon.until_loaded()


# --- reload ----------------------------------------------------------------------------------


def changed(daemon, **models):
    settings = dict(daemon.settings)
    settings["models"] = {k: v for k, v in (settings["models"] | models).items() if v}
    daemon.configure(settings)


@pytest.mark.parametrize("by", ["signal", "request"])
def test_reload_touches_only_what_changed(daemons, by):
    daemon = daemons({"a": model(BIG), "b": model(5000), "c": model(1000), "d": model(10)})
    daemon.load("a")
    daemon.load("b")
    before = pids(daemon)
    changed(daemon, b=model(5000, context_size=512), c=None, e=model(2000))
    if by == "signal":
        daemon.signal(signal.SIGHUP)
        daemon.until(lambda _: "e" in names(daemon), "e is known")
    else:
        answer = daemon.post("/admin/reload").json()
        assert answer["changed"] == ["models.b", "models.c", "models.e"]
        assert answer["restart_needed"] == []
    assert names(daemon) == {"a", "b", "d", "e"}
    assert daemon.refused("c")["code"] == "unknown_model"
    assert daemon.loaded() == {"a": "loaded", "b": "loaded"}
    assert pids(daemon) == before, "nothing was restarted"
    assert daemon.load("a")["already_loaded"]
    assert daemon.load("e")["status"] == "loaded"


def names(daemon):
    return {each["id"] for each in daemon.http.get("/models").json()["data"]}


def test_what_only_a_restart_can_change_is_said_and_breaks_nothing(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a")
    before = pids(daemon)
    changed(daemon, b=model(10, service="second"))
    services = {"second": {"engine": "fake", "runtime": "process"}}
    daemon.configure(daemon.settings | {"services": daemon.settings["services"] | services})
    assert daemon.post("/admin/reload").json()["restart_needed"] == ["services.second"]
    for path in ("/models/load", "/models/plan"):
        refused = daemon.post(path, {"model": "b"})
        assert refused.status_code == 409, refused.text
        assert "Restart" in refused.json()["remedy"]
    restart(daemon)
    assert daemon.load("b")["status"] == "loaded"
    assert before <= pids(daemon)


def test_a_model_that_was_taken_out_can_still_be_unloaded(daemons):
    daemon = daemons({"a": model(BIG), "b": model(5000), "c": model(10)})
    daemon.load("a")
    daemon.load("b")
    changed(daemon, a=None, b=None)
    daemon.post("/admin/reload")
    assert daemon.loaded() == {"a": "loaded", "b": "loaded"}
    assert daemon.http.get("/models/a/logs").status_code in (200, 404)
    assert daemon.unload("a")["verified"]
    restart(daemon)
    assert daemon.loaded() == {"b": "loaded"}
    assert daemon.unload("b")["verified"]
    assert daemon.refused("b")["code"] == "unknown_model"


@pytest.mark.parametrize("by", ["signal", "request"])
def test_reload_of_a_wrong_file_changes_nothing(daemons, by):
    daemon = daemons({"a": model(BIG), "b": model(10)})
    daemon.load("a")
    daemon.file.write_text(daemon.file.read_text() + "\nmodel: {}\nscheduling: 7\n")
    if by == "signal":
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: "not reloaded" in daemon.log())
    else:
        answer = daemon.post("/admin/reload")
        assert answer.status_code == 422
        assert "model" in answer.json()["detail"]
    assert names(daemon) == {"a", "b"}
    assert daemon.loaded() == {"a": "loaded"}
    assert "Traceback" not in daemon.log()


def wait_for(holds, patience_s=SETTLE_S):
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_reload_with_preload_no_double_load(daemons):
    daemon = daemons({"a": model(BIG, preload=True, fake={"load_s": 0.5}), "b": model(10)})
    for _ in range(3):
        daemon.post("/admin/reload")
        daemon.signal(signal.SIGHUP)
    daemon.until_loaded(a="loaded")
    daemon.post("/admin/reload")
    before = pids(daemon)
    assert len(before) == 1
    restart(daemon)
    daemon.until_loaded(a="loaded")
    assert pids(daemon) == before
    assert len(daemon.decisions("load")) == 1


# --- one at a time ---------------------------------------------------------------------------


def serve(directory, file, *more):
    """A daemon that is expected not to start: its exit code and what it said."""
    code, said = command(directory, "serve", "--config", str(file), *more)
    assert "Traceback" not in said
    return code, said


def test_two_daemons_one_registry(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a")
    before = pids(daemon)
    code, said = serve(daemon.directory, daemon.file, "--port", "0")
    assert code == 1
    assert f"process {daemon.process.pid}" in said
    assert "state_dir" in said
    assert pids(daemon) == before
    assert daemon.load("a")["already_loaded"]


def test_port_already_taken(tmp_path):
    settings = config({"a": model(BIG, preload=True)})
    daemon = Daemon(tmp_path, settings)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = serve(tmp_path, daemon.file, "--port", str(port))
    daemon.clean_up()
    assert code == 1
    assert str(port) in said
    assert "already in use" in said
    assert "Loading a" not in said, "nothing is begun by a daemon that cannot serve"


def test_config_with_five_mistakes(tmp_path):
    settings = config({"a": model(-5), "b": model(10, service="nobody"), "c": model(10, ttl=3)})
    settings |= {"servers": {}, "scheduling": {"patience_s": "soon"}}
    file = tmp_path / "orchestrator.yaml"
    file.write_text(yaml.safe_dump(settings))
    code, said = serve(tmp_path, file)
    assert code == 2
    for place in (
        "models.a.vram_mb",
        "models.b.service",
        "models.c.ttl",
        "servers",
        "scheduling.patience_s",
    ):
        (line,) = [line for line in said.splitlines() if place in line]
        assert re.search(r"orchestrator\.yaml:\d+", line), line


def test_registry_of_a_newer_version(tmp_path):
    daemon = Daemon(tmp_path, config({"a": model(BIG)}))
    daemon.start()
    assert daemon.end() == 0
    registry = tmp_path / "state" / "registry.sqlite"
    with closing(sqlite3.connect(registry)) as database, database:
        database.execute("INSERT INTO schema_version VALUES (999, '2031-01-01')")
    before = registry.read_bytes()
    code, said = serve(tmp_path, daemon.file, "--port", "0")
    daemon.clean_up()
    assert code == 1
    assert "newer" in said
    assert registry.read_bytes() == before, "left as it is"


# --- the end ---------------------------------------------------------------------------------


@contextmanager
def listening(daemon):
    """Somebody who follows the events until the daemon ends."""
    with daemon.http.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
        lines = stream.iter_lines()
        next(lines)
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(list, lines)


@pytest.mark.parametrize("on_shutdown", ["keep", "stop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_is_clean(daemons, on_shutdown, number):
    daemon = daemons(
        {"a": model(BIG), "b": model(5000, fake={"load_s": 1.5}), "c": model(BIG)},
        on_shutdown=on_shutdown,
    )
    daemon.load("a", owner="me")
    before = pids(daemon)
    with listening(daemon) as heard, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(daemon.post, "/models/load", {"model": "c"})
        loading = in_background(httpx.post, daemon.url + "/models/load", json={"model": "b"})
        daemon.until(lambda s: s["loaded_models"].get("b"), "b loads")
        daemon.signal(number)
        assert daemon.process.wait(timeout=30) == 0
        assert heard.result(timeout=60) is not None, "listeners are told the end"
        refused = waiting.result(timeout=60)
        assert refused.json()["code"] == "shutting_down"
        loading.join()
    assert "Traceback" not in daemon.log()
    assert "never awaited" not in daemon.log()
    if on_shutdown == "stop":
        assert daemon.servers() == []
    else:
        assert before <= pids(daemon)
        daemon.start()
        daemon.until(lambda s: daemon.loaded().get("a") == "loaded", "a is adopted")
        assert before <= pids(daemon)
        check_belief(daemon)


# --- time ------------------------------------------------------------------------------------


def test_sigstop_daemon_expires_nothing_unheard(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG)})
    lease = daemon.load("a", owner="me", lease_seconds=3)["lease_id"]
    renewal = {"lease_seconds": 60}
    with ThreadPoolExecutor(1) as pool:
        with stopped(daemon):
            renewed = pool.submit(
                httpx.put, f"{daemon.url}/leases/{lease}", json=renewal, timeout=30
            )
            time.sleep(4)
        assert renewed.result().status_code == 200
    assert [each["lease_id"] for each in daemon.http.get("/leases").json()["leases"]] == [lease]
    assert not daemon.decisions("expire")
    assert daemon.refused("b", wait=0.3)["status"] == 503, "a is held"


def test_lease_that_nobody_renews_expires_after_a_stop(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a", owner="me", lease_seconds=1)
    with stopped(daemon):
        time.sleep(2.5)
    daemon.until(lambda _: not daemon.http.get("/leases").json()["leases"], "it expires")


def test_slow_fsync_delays_nobody(tmp_path):
    disk = BadDisk(tmp_path)
    daemon = Daemon(tmp_path, config({"a": model(10000), "b": model(1000), "c": model(1000)}))
    daemon.environment |= disk.environment(slow_ms=1500)
    try:
        daemon.start()
        daemon.load("a")
        looks, loads = daemon.status, lambda: daemon.load("a")
        before = typical(looks), typical(loads)
        disk.becomes("slow")
        order = in_background(httpx.post, daemon.url + "/models/load", json={"model": "b"})
        during = typical(looks), typical(loads)
        order.join()
        assert daemon.loaded()["b"] == "loaded", "a cold load waits for its intent, and comes"
        began = time.monotonic()
        daemon.load("a", owner="me")
        assert time.monotonic() - began > 1.4, "a lease is answered when it is on the disk"
        disk.becomes("well")
    finally:
        daemon.clean_up()
    assert during[0] < before[0] + 0.05, "10 ms on a machine without other work"
    assert during[1] < before[1] + 0.05


ROOMS = "/vram/leases"
ROOM = {"vram_mb": 1, "owner": "me", "ttl_seconds": 600}
NEW = {"service": "rehearsal", "vram_mb": 1, "pinned": True}


def mine(daemon, path="/leases"):
    """When the leases end that are mine."""
    leases = daemon.http.get(path).json()["leases"]
    return {each["lease_id"]: each["expires_at"] for each in leases if each["owner"] == "me"}


def at(path, daemon, root="/leases"):
    return path.format(next(iter(mine(daemon, root))))


def pinned(daemon, name="a"):
    return daemon.http.get(f"/models/{name}").json().get("pinned")


def ends(answer):
    return {answer.json()["lease_id"]: answer.json()["expires_at"]}


# What is asked, and whether a later life of the daemon knows what was answered.
OUTLIVES = {
    "room": (lambda d: d.post(ROOMS, ROOM), lambda d, told: mine(d, ROOMS) == ends(told)),
    "lease": (
        lambda d: d.post("/models/load", {"model": "a", "owner": "me"}),
        lambda d, told: mine(d) == ends(told),
    ),
    "renewal": (
        lambda d: d.http.put(at("/leases/{}", d), json={"lease_seconds": 7200}),
        lambda d, told: mine(d) == ends(told),
    ),
    "unload of an owner": (
        lambda d: d.post("/models/unload", {"model": "a", "owner": "me"}),
        lambda d, _: mine(d) == {},
    ),
    "release": (
        lambda d: d.http.delete(at(ROOMS + "/{}", d, ROOMS)),
        lambda d, _: mine(d, ROOMS) == {},
    ),
    "pin": (lambda d: d.http.put("/models/a/pin"), lambda d, _: pinned(d)),
    "unpin": (lambda d: d.http.delete("/models/a/pin"), lambda d, _: not pinned(d)),
    "pin with a load": (
        lambda d: d.post("/models/load", {"model": "a", "pin": True}),
        lambda d, _: pinned(d),
    ),
    "unpin again": (lambda d: d.http.delete("/models/a/pin"), lambda d, _: not pinned(d)),
    "model": (lambda d: d.http.put("/models/new", json=NEW), lambda d, _: pinned(d, "new")),
    "no model": (
        lambda d: d.http.delete("/models/new"),
        lambda d, _: d.http.get("/models/new").status_code == 404,
    ),
}


def test_kill_after_the_answer_loses_nothing(daemons):
    """All that outlives a restart, with `kill -9` right after the answer, several times."""
    daemon = daemons({"a": model(1000)})
    daemon.load("a", owner="another")
    for _ in range(2):
        for kind, (act, survives) in OUTLIVES.items():
            answer = act(daemon)
            daemon.kill()
            assert answer.is_success, answer.text
            daemon.start()
            assert survives(daemon, answer), (kind, answer.text)
    assert "Traceback" not in daemon.log()


def typical(call):
    samples = []
    for _ in range(40):
        began = time.monotonic()
        call()
        samples.append(time.monotonic() - began)
    return sorted(samples)[len(samples) // 2]


# --- web pages -------------------------------------------------------------------------------

FOREIGN = {
    "host": ({"Host": "evil.example"}, 421),
    "rebound": ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
    "origin": ({"Origin": "http://evil.example"}, 403),
    "null-origin": ({"Origin": "null"}, 403),
    "other-port": ({"Sec-Fetch-Site": "same-site"}, 403),
    "cross-site": ({"Sec-Fetch-Site": "cross-site"}, 403),
    "form": ({"Content-Type": "text/plain"}, 415),
}


def test_web_page_cannot_drive_it(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a", owner="me")
    lease = daemon.http.get("/leases").json()["leases"][0]["lease_id"]
    known = {"name": "a", "lease_id": lease, "device_id": "fake-0", "model": "a", "path": "x"}
    routes = daemon.http.get("/openapi.json").json()["paths"]
    writes = [
        (method, re.sub(r"{(\w+)(:\w+)?}", lambda part: known.get(part[1], "a"), path))
        for path, methods in routes.items()
        for method in methods
        if method not in ("get", "head", "options")
    ]
    assert len(writes) >= 12
    decided = len(daemon.decisions())
    for method, path in writes:
        for name, (headers, status) in FOREIGN.items():
            if path.startswith("/upstream/") and name == "form":
                continue  # what a body may be is its server's matter; a page's Origin is refused
            sent = {"Content-Type": "application/json"} | headers
            answer = daemon.http.request(method, path, content=b'{"model": "a"}', headers=sent)
            assert answer.status_code == status, f"{method} {path} from {name}: {answer.text}"
            said = answer.json()  # Ollama's clients read one sentence, which has the remedy in it
            assert said["error"] if path.startswith("/api/") else said["remedy"]
            assert not [h for h in answer.headers if h.startswith("access-control-")]
    for path, methods in routes.items():
        if "get" in methods and "{" not in path:
            answer = daemon.http.get(path, headers={"Host": "evil.example"})
            assert answer.status_code == 421, path
    assert daemon.loaded() == {"a": "loaded"}
    assert len(daemon.decisions()) == decided, "nothing was done"
    assert daemon.http.get("/leases").json()["leases"]
