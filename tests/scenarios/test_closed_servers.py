"""Servers with keys of their own: closed to everybody but the daemon and its edge, and open to all
where the operator says so. Clients that use `endpoint` work in both.
"""

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.scenarios.daemon import chat, model
from tests.scenarios.world import THREADS, smollm_file

CHAT = "/v1/chat/completions"


def services(**more):
    return {"rehearsal": {"engine": "fake", "runtime": "process"} | more}


def keys_of(daemon):
    return list((daemon.directory / "state" / "server-keys").iterdir())


def own_port(daemon, name):
    """Where its server listens."""
    (server,) = daemon.servers(name)
    return next(each.laddr.port for each in server.net_connections() if each.status == "LISTEN")


def test_a_closed_server_answers_the_daemon_alone(planes):
    daemon = planes({"a": model(1000)}, services=services(closed=True))
    told = daemon.load("a")
    at = f"http://127.0.0.1:{own_port(daemon, 'a')}"
    for path in ("/metrics", "/slots"):
        assert httpx.get(at + path).status_code == 401
    assert httpx.post(at + CHAT, json=chat()).status_code == 401
    wrong = {"Authorization": "Bearer " + "x" * 43}
    assert httpx.post(at + CHAT, json=chat(), headers=wrong).status_code == 401
    assert daemon.post(CHAT, chat() | {"model": "a"}).status_code == 200
    assert told["endpoint"].endswith("/upstream/a")
    answer = httpx.post(told["endpoint"] + CHAT, json=chat(), timeout=60)
    assert answer.status_code == 200, "a workflow that posts to the endpoint works as before"
    assert daemon.status()["loaded_models"]["a"]["problem"] == ""
    daemon.unload("a")
    assert daemon.servers() == []
    assert keys_of(daemon) == []


@pytest.mark.nginx
def test_nginx_knows_the_key_also_while_the_daemon_is_dead(edged):
    daemon = edged({"a": model(1000)}, services=services(closed=True))
    daemon.load("a")
    daemon.until(
        lambda _: daemon.post(CHAT, chat() | {"model": "a"}).status_code == 200, "it chats"
    )
    daemon.kill()
    answers = [httpx.post(daemon.url + CHAT, json=chat() | {"model": "a"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert "uthorization" not in answers[0].text


def test_its_key_is_in_no_argument_environment_log_or_answer_and_outlives_a_kill(daemons):
    daemon = daemons({"a": model(1000)}, services=services(closed=True))
    daemon.load("a")
    (file,) = keys_of(daemon)
    key = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    (server,) = daemon.servers("a")
    daemon.kill()
    daemon.start()
    daemon.until_loaded(a="loaded")
    assert [each.pid for each in daemon.servers("a")] == [server.pid]
    assert daemon.post(CHAT, chat() | {"model": "a"}).status_code == 200
    assert daemon.load("a")["endpoint"].endswith("/upstream/a")
    shown = [daemon.http.get(path).text for path in ("/models/status", "/metrics", "/events")]
    shown += [daemon.log(), daemon.http.get("/models/a/logs").text]
    shown += [" ".join((*server.cmdline(), *server.environ().values()))]
    shown += [" ".join(psutil.Process(daemon.process.pid).cmdline())]
    state = daemon.directory / "state"
    kept = [path.read_bytes() for path in state.iterdir() if path.is_file()]
    assert not any(key in text for text in shown)
    assert not any(key.encode() in text for text in kept)


def test_an_open_server_answers_everybody_of_this_machine(planes):
    """The default: nothing is changed for those who use the endpoint of a load."""
    daemon = planes({"a": model(1000)}, services=services())
    told = daemon.load("a")
    assert told["endpoint"] == f"http://127.0.0.1:{own_port(daemon, 'a')}"
    assert httpx.post(told["endpoint"] + CHAT, json=chat(), timeout=60).status_code == 200
    assert not (daemon.directory / "state" / "server-keys").exists()


@pytest.fixture
def theirs(tmp_path):
    """A server that somebody else runs, the URL where it answers, and the file with its key."""
    file = tmp_path / "their-key"
    file.write_text("a key that they chose\n".replace(" ", "-"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    words = ("--model", "ext", "--port", str(port), "--api-key-file", str(file))
    server = subprocess.Popen([sys.executable, "-m", "orchestrator.stand_in.server", *words])
    try:
        yield f"http://127.0.0.1:{port}", file
    finally:
        server.kill()
        server.wait()


def test_a_server_that_others_defined_hears_the_key_that_the_operator_names(planes, theirs):
    url, file = theirs
    there = {"engine": "llama_cpp", "runtime": "external", "url": url}
    entry = {"service": "there", "vram_mb": 10}
    daemon = planes({"ext": entry}, services={"there": there | {"key_file": str(file)}})
    assert daemon.load("ext")["endpoint"] == url
    assert httpx.post(url + CHAT, json=chat(), timeout=60).status_code == 401
    key = {"Authorization": f"Bearer {file.read_text().strip()}"}
    assert httpx.post(url + CHAT, json=chat(), headers=key, timeout=60).status_code == 200
    for _ in range(4):
        assert daemon.post(CHAT, chat() | {"model": "ext"}).status_code == 200
    assert file.read_text().strip() not in daemon.log()


@pytest.mark.real_model
def test_a_real_server_takes_its_key_out_of_the_file(daemons):
    file = smollm_file()
    local = {"engine": "xllamacpp", "runtime": "process", "models_dir": str(file.parent)}
    entry = {"service": "local", "file": file.name, "vram_mb": 600, "threads": THREADS}
    daemon = daemons(
        {"a": entry | {"context_size": 512}},
        services={"local": local | {"closed": True}},
        devices={"source": "host", "fake": [], "budget_mb": 4000},
    )
    daemon.load("a")
    at = f"http://127.0.0.1:{own_port(daemon, 'a')}"
    assert httpx.post(at + CHAT, json=chat(), timeout=60).status_code == 401
    assert httpx.get(at + "/metrics", timeout=60).status_code == 401
    said = daemon.post(CHAT, {**chat(), "model": "a", "max_tokens": 4})
    assert said.status_code == 200, said.text
    assert Path(keys_of(daemon)[0]).name == at.removeprefix("http://")
    daemon.unload("a")
