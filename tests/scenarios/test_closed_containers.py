"""Servers in containers with keys of their own, in a network that leads nowhere; and what one that
was taken over can still reach. Workflows that post to `endpoint` go on, at both kinds of server.
"""

import re
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.contracts import docker_parts as parts
from tests.scenarios.containers import llama_service, opened_engine, smollm, starting_on
from tests.scenarios.daemon import Daemon, chat
from tests.scenarios.edged import EdgedDaemon
from tests.scenarios.test_closed_servers import keys_of
from tests.scenarios.world import smollm_file
from tests.unit.gguf.gguf_files import write_adapter

pytestmark = [pytest.mark.docker, pytest.mark.llama_cpp]

CHAT = "/v1/chat/completions"
NAME_OF_A_CLOSED_NETWORK = "vram-closed-{}"


@pytest.fixture(scope="module")
def engine():
    with opened_engine() as opened:
        yield opened


@pytest.fixture
def daemons(tmp_path, engine):
    with starting_on(engine, tmp_path) as start:
        yield start


@pytest.fixture(params=["relay", pytest.param("edge", marks=pytest.mark.nginx)])
def planes(request, daemons):
    def start(*words, **sections):
        kind = Daemon if request.param == "relay" else EdgedDaemon
        return daemons(*words, kind=kind, **sections)

    return start


def asked(daemon, name):
    question = {**chat(), "model": name, "max_tokens": 4}
    return daemon.post(CHAT, question).status_code


def closed(**more):
    return {"llama-cpp": llama_service(closed=True, **more)}


def network_of(daemon):
    return NAME_OF_A_CLOSED_NETWORK.format(daemon.identity())


def at(container, daemon):
    """Where it listens, as the engine's host sees it."""
    joined = container["NetworkSettings"]["Networks"][network_of(daemon)]
    return f"http://{joined['IPAddress']}:8080"


def test_a_closed_container_answers_the_daemon_alone(planes, engine):
    daemon = planes({"a": smollm()}, closed())
    told = daemon.load("a")
    container = engine.only(daemon, "a")
    address = at(container, daemon)
    for path in ("/metrics", "/slots", "/props"):
        assert httpx.get(address + path).status_code in {401, 501}, path
    assert httpx.post(address + CHAT, json=chat()).status_code == 401
    answer = httpx.post(
        address + CHAT, json=chat(), headers={"Origin": "http://evil.example"}, timeout=60
    )
    assert "access-control-allow-origin" not in answer.headers
    assert container["NetworkSettings"]["Ports"] in ({}, {"8080/tcp": None}), "no port of the host"
    assert asked(daemon, "a") == 200
    assert told["endpoint"].endswith("/upstream/a")
    question = {**chat(), "max_tokens": 4}
    answer = httpx.post(told["endpoint"] + CHAT, json=question, timeout=60)
    assert answer.status_code == 200, "a workflow that posts to the endpoint works as before"
    assert "does not answer" not in daemon.status()["loaded_models"]["a"]["problem"]
    daemon.unload("a")
    assert engine.containers(daemon) == []
    assert keys_of(daemon) == []


def test_its_key_is_nowhere_to_be_seen_and_outlives_a_kill(daemons, engine):
    daemon = daemons({"a": smollm()}, closed())
    daemon.load("a")
    (file,) = keys_of(daemon)
    key = file.read_text().strip()
    before = engine.only(daemon, "a")
    assert file.name == before["Id"]
    assert file.stat().st_mode & 0o777 == 0o600
    daemon.kill()
    daemon.start()
    daemon.until_loaded(a="loaded")
    after = engine.only(daemon, "a")
    assert (after["Id"], after["State"]["Pid"]) == (before["Id"], before["State"]["Pid"])
    assert asked(daemon, "a") == 200
    assert daemon.load("a")["endpoint"].endswith("/upstream/a")
    shown = [daemon.http.get(path).text for path in ("/models/status", "/metrics", "/events")]
    shown += [daemon.log(), daemon.http.get("/models/a/logs").text, str(after)]
    for each in ("cmdline", "environ"):
        shown.append(Path(f"/proc/{after['State']['Pid']}/{each}").read_text())
    assert not any(key in text for text in shown)
    state = daemon.directory / "state"
    kept = [path.read_bytes() for path in state.iterdir() if path.is_file()]
    assert not any(key.encode() in text for text in kept)


def test_a_restart_by_hand_finds_its_key_again(daemons, engine):
    daemon = daemons({"a": smollm()}, closed())
    daemon.load("a")
    (file,) = keys_of(daemon)
    before = file.read_text()
    engine.client.restart(file.name, timeout=1)
    daemon.until(lambda _: daemon.decisions("adopt", "a"), "it is taken back")
    daemon.until_loaded(a="loaded")
    assert asked(daemon, "a") == 200
    assert [each.read_text() for each in keys_of(daemon)] == [before]
    assert engine.only(daemon, "a")["Id"] == file.name


def test_a_closed_container_has_its_adapters_and_the_scales_of_each_load(tmp_path, planes, engine):
    models = tmp_path / "models"
    models.mkdir(mode=0o755)
    shutil.copy(smollm_file(), models / "small.gguf")
    for seed, name in enumerate(("one", "two"), 1):
        write_adapter(models / f"{name}.gguf", seed)
    folder = {"models_dir": str(models)}
    adapters = ["one.gguf", {"file": "two.gguf", "scale": 0}]
    plain = smollm(file="small.gguf")
    daemon = planes({"plain": plain, "adapted": {**plain, "lora": adapters}}, closed(**folder))

    def said(name):
        question = {**chat(text="What is the capital of France?"), "model": name}
        answer = daemon.post(CHAT, question | {"max_tokens": 8, "temperature": 0})
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"]

    def scales():
        listed = daemon.http.get("/lora-adapters", params={"model": "adapted"})
        return [one["scale"] for one in listed.json()]

    bare, adapted = said("plain"), said("adapted")
    assert (bare != adapted, scales()) == (True, [1.0, 0.0])
    before = engine.only(daemon, "adapted")
    address = at(before, daemon)
    assert httpx.post(f"{address}/lora-adapters", json=[]).status_code == 401
    assert httpx.get(f"{address}/lora-adapters").status_code == 401
    daemon.load("adapted", lora_scales=[0, 0])
    assert engine.only(daemon, "adapted")["Id"] != before["Id"]
    assert (scales(), said("adapted")) == ([0.0, 0.0], bare)


@pytest.mark.nginx
def test_nginx_knows_the_key_while_the_daemon_is_dead(daemons):
    daemon = daemons({"a": smollm()}, closed(), kind=EdgedDaemon)
    daemon.load("a")
    daemon.until(lambda _: asked(daemon, "a") == 200, "it chats")
    daemon.kill()
    assert [asked(daemon, "a") for _ in range(3)] == [200] * 3


def test_containers_of_before_are_adopted_as_they_are(daemons, engine):
    """The operator closes the service: what runs goes on where it is, the next one is closed."""
    daemon = daemons({"a": smollm()})
    open_at = daemon.load("a")["endpoint"]
    assert open_at.startswith("http://127.0.0.1:")
    daemon.end()
    said = daemon.settings
    said["services"]["llama-cpp"]["closed"] = True
    daemon.configure(said)
    daemon.start()
    daemon.until_loaded(a="loaded")
    assert asked(daemon, "a") == 200
    assert daemon.load("a")["endpoint"] == open_at
    daemon.unload("a")
    assert daemon.load("a")["endpoint"].endswith("/upstream/a")
    assert asked(daemon, "a") == 200
    assert network_of(daemon) in engine.only(daemon, "a")["NetworkSettings"]["Networks"]


# --- taken over ----------------------------------------------------------------------------------


def address_of_this_machine():
    """The one that its own network knows it by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return probe.getsockname()[0]


@contextmanager
def neighbour(engine):
    """A container of other people's, on Docker's own bridge; where it answers."""
    parts.import_image(engine.url)
    name = f"probed-{parts.RUN}"
    made = engine.client.create_container(
        parts.IMAGE, ["/sleeper", "--serve", "8080"], name=name, labels={"probed": parts.RUN}
    )
    try:
        engine.client.start(made["Id"])
        seen = engine.client.inspect_container(made["Id"])["NetworkSettings"]["Networks"]
        yield f"{seen['bridge']['IPAddress']}:8080", f"{seen['bridge']['Gateway']}"
    finally:
        engine.client.remove_container(made["Id"], force=True, v=True)


def found_by_prober(engine, daemon, name):
    log = engine.client.logs(engine.only(daemon, name)["Id"]).decode()
    assert "done" in log, log
    return log


def addresses(engine, daemon, near, bridge, other):
    """Twelve ways to what matters."""
    closed_network = engine.client.inspect_network(network_of(daemon))
    gateway = closed_network["IPAM"]["Config"][0]["Gateway"]
    here = address_of_this_machine()
    return [
        *(f"{host}:{daemon.beside_port}" for host in (gateway, bridge, here)),  # the daemon
        *(f"{host}:{daemon.edge_port}" for host in (gateway, here)),  # the edge
        f"{daemon.folder}/control.sock",  # the edge's control
        "/var/run/docker.sock",
        "/run/docker-guard/docker.sock",
        f"{other}:8080",  # another model
        near,  # another container
        "169.254.169.254:80",  # what a cloud tells its machines, keys among it
        "1.1.1.1:443",  # out
    ]


@pytest.mark.nginx
@pytest.mark.parametrize("shut", [True, False], ids=["closed", "open"])
def test_resident_cannot_reach_anything(daemons, engine, shut):
    """Also what it can do where the service is open: this test can fail."""
    parts.prober_image(engine.url)
    taken = {"taken": {**llama_service(closed=shut), "image": parts.PROBER}}
    models = {"victim": smollm(vram_mb=300), "taken": smollm("taken", vram_mb=300)}
    daemon = daemons(models, closed() | taken, kind=EdgedDaemon)
    daemon.beside_port = daemon.beside.base_url.port
    with neighbour(engine) as (near, bridge):
        daemon.load("victim")
        victim = at(engine.only(daemon, "victim"), daemon).removeprefix("http://").split(":")[0]
        tried = addresses(engine, daemon, near, bridge, victim)
        assert len(tried) == 12
        said = daemon.settings
        said["services"]["taken"]["env"] = [f"LLAMA_PROBE={' '.join(tried)}"]
        daemon.configure(said)
        daemon.end()
        daemon.start()
        daemon.until_loaded(victim="loaded")
        daemon.load("taken")
        log = found_by_prober(engine, daemon, "taken")
    assert len(re.findall("^(?:reached|refused) ", log, re.MULTILINE)) == 12
    reached = re.findall("^reached (.*)", log, re.MULTILINE)
    assert reached == [] if shut else near in reached
    assert re.findall("^capabilities (.*)", log, re.MULTILINE) == ["0"]
    assert "writable" not in log
