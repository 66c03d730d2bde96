"""The edge, and what else happens to models that it carries: all of it together."""

import json
import os
import shutil
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import yaml

from tests import parts
from tests.scenarios.backend import events
from tests.scenarios.brought import engine_packages
from tests.scenarios.daemon import PATIENCE_S, ROOT, chat, config, model
from tests.scenarios.edged import EdgedDaemon, asked_warm, warmed
from tests.scenarios.world import smollm_file

pytestmark = pytest.mark.nginx

CHAT = "/v1/chat/completions"
# llama-server's words, and the stand-in's manner: 50 tokens a second, whatever else runs here.
SLOW_SERVER = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from orchestrator.stand_in.server import main
if "--port" not in sys.argv:
    flags = ["--model FNAME", "--host HOST", "--port PORT", "--ctx-size N", "--alias STRING"]
    print("version: 11434 (370ec32)", file=sys.stderr)
    print(*(f"{{each}}                which is set" for each in flags), sep="\\n")
    sys.exit()
said = dict(zip(sys.argv, sys.argv[1:]))
own = {{name: said[name] for name in ("--host", "--port") if name in said}}
sys.exit(main(["--model", "found", *(word for pair in own.items() for word in pair)]))
"""
RESETS = 200
AT_ONCE = 16


def until(holds, what="it came about"):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def elsewhere(edged, there):
    def start(**more):
        return edged(
            {"ext": {"service": "elsewhere", "vram_mb": 10, **more}, "a": model(100)},
            services={
                "elsewhere": there.service(),
                "rehearsal": {"engine": "fake", "runtime": "process"},
            },
        )

    return start


def test_a_model_whose_file_goes_while_nginx_carries_it_answers_to_the_end(tmp_path):
    """Then it leaves, and who names it is told that there is none."""
    parts.require("real_model")
    models = tmp_path / "models"
    models.mkdir()
    file = models / "found.gguf"
    shutil.copy(smollm_file(), file)
    os.utime(file, (1, 1))
    binary = tmp_path / "llama-server"
    binary.write_text(SLOW_SERVER)
    binary.chmod(0o755)
    local = {"engine": "llama_cpp", "runtime": "process", "binary": str(binary)}
    settings = config(
        {},
        services={"local": local},
        devices={"source": "host", "headroom_mb": 0, "budget_mb": 4000, "fake": []},
        discovery={"folders": [str(models)]},
    )
    daemon = EdgedDaemon(tmp_path, settings)
    daemon.environment |= {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf")}
    try:
        daemon.start()
        warmed(daemon, "found")
        wish = {"model": "found", "stream": True, **chat(8)}
        with daemon.http.stream("POST", CHAT, json=wish) as answer:
            pieces = answer.iter_text()
            next(pieces)
            file.unlink()
            until(lambda: not daemon.beside.get("/models").json()["data"], "it was looked at")
            rest = "".join(pieces)
        assert rest.rstrip().endswith("data: [DONE]")
        refused = daemon.post(CHAT, {"model": "found", **chat()})
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown_model")
        daemon.until_loaded()
        assert "Traceback" not in daemon.log()
    finally:
        daemon.clean_up()


def test_an_engine_of_another_package_is_carried(tmp_path):
    """Its server counts nothing: what nginx has under way is all that is known of its use."""
    site = engine_packages(tmp_path / "engines")
    models = {"files": {"service": "file_server", "vram_mb": 100, "aliases": ["disk"]}}
    settings = config(models, services={"file_server": {"engine": "file_server"}})
    daemon = EdgedDaemon(tmp_path, settings)
    daemon.executed, daemon.import_path = True, (ROOT, site)
    try:
        daemon.start()
        daemon.load("files")
        until(lambda: asked_warm(daemon.post(CHAT, {"model": "disk"})), "nginx carries it")
        by_edge, by_relay = (
            http.post(CHAT, json={"model": "disk"}) for http in (daemon.http, daemon.beside)
        )
        assert (by_edge.status_code, by_edge.content) == (by_relay.status_code, by_relay.content)
        assert by_edge.status_code == 501, "a file server takes no POST"
        daemon.unload("files")
    finally:
        daemon.clean_up()


def test_a_reload_says_that_another_edge_needs_a_restart_and_goes_on_as_before(elsewhere):
    daemon = elsewhere()
    warmed(daemon, "ext")
    before = daemon.file.read_text()
    said = yaml.safe_load(before)
    said["edge"]["port"] += 1
    daemon.file.write_text(yaml.safe_dump(said))
    told = daemon.post("/admin/reload").json()
    assert told["restart_needed"] == ["edge"]
    warmed(daemon, "ext")
    del said["edge"]
    daemon.file.write_text(yaml.safe_dump(said))
    assert daemon.post("/admin/reload").json()["restart_needed"] == ["edge"]
    warmed(daemon, "ext")


def test_a_name_that_a_reload_gives_to_another_model_leads_there(elsewhere, there):
    daemon = elsewhere(aliases=["name"])
    for own in ("ext", "a"):
        warmed(daemon, own)
    until(lambda: asked_warm(daemon.post(CHAT, {"model": "name", **chat()})), "nginx knows it")
    said = yaml.safe_load(daemon.file.read_text())
    said["models"]["ext"]["aliases"] = []
    said["models"]["a"]["aliases"] = ["name"]
    daemon.file.write_text(yaml.safe_dump(said))
    assert daemon.post("/admin/reload").status_code == 200

    def leads_to_the_other():  # each time by a worker of nginx that may be another one
        wish = {"model": "name", **chat()}
        answer = httpx.post(daemon.url + CHAT, json=wish, timeout=60, trust_env=False)
        return asked_warm(answer) and answer.headers["X-Model"] == "a"

    until(leads_to_the_other, "nginx knows it")
    asked = [path for _, path, _, _ in there.heard].count(CHAT)
    assert {leads_to_the_other() for _ in range(20)} == {True}
    assert [path for _, path, _, _ in there.heard].count(CHAT) == asked


def test_a_line_is_kept_also_when_the_operator_draws_it_while_nginx_carries(elsewhere, there):
    daemon = elsewhere()
    warmed(daemon, "ext")
    said = yaml.safe_load(daemon.file.read_text())
    said["models"]["ext"]["concurrency"] = 2
    daemon.file.write_text(yaml.safe_dump(said))
    assert daemon.post("/admin/reload").status_code == 200
    until(lambda: not asked_warm(daemon.post(CHAT, {"model": "ext"})), "the daemon keeps its line")
    there.answers, there.at_once_seen = [b" "] * 20, 0
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(daemon.post, CHAT, {"model": "ext"}) for _ in range(8)]
        assert {each.result().status_code for each in asked} == {200}
    assert there.at_once_seen == 2


@pytest.mark.parametrize("begun", [False, True], ids=["before the first byte", "in mid-stream"])
@pytest.mark.parametrize("hard", [False, True], ids=["end", "reset"])
def test_a_generation_ends_with_its_client_also_where_nothing_is_said(
    elsewhere, there, begun, hard
):
    """At once, and not with the next piece: there is none for a minute."""
    daemon = elsewhere()
    warmed(daemon, "ext")
    there.kind, there.piece_s = "text/event-stream", 60.0
    there.answers = events({"delta": "x"}) * 2
    there.silent_s = 0.0 if begun else 60.0
    with caller(daemon, {"model": "ext", "stream": True}) as line:
        if begun:
            assert b"delta" in read_until(line, b"delta")
        else:
            heard = len(there.heard)
            until(lambda: len(there.heard) > heard, "it is asked")
        if hard:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: there.cut_off == 1, "its server hears it")
    there.piece_s = there.silent_s = 0.0
    until(lambda: daemon.status()["loaded_models"]["ext"]["in_flight"] == 0, "nothing is counted")


def test_two_hundred_resets_leave_no_count(elsewhere, there):
    daemon = elsewhere()
    warmed(daemon, "ext")
    there.kind, there.answers = "text/event-stream", events({"delta": "x"}) * 20

    def leave(number):
        with caller(daemon, {"model": "ext", "stream": True}) as line:
            if number % 3:
                read_until(line, b"delta")
            if number % 2:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(leave, range(RESETS)))
    until(lambda: daemon.status()["loaded_models"]["ext"]["in_flight"] == 0, "nothing is counted")
    assert daemon.unload("ext")["status"] == "unloaded"
    assert "Traceback" not in daemon.log()


def caller(daemon, body):
    text = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    line = socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE_S)
    line.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
    return line


def read_until(line, text):
    said = b""
    while text not in said:
        piece = line.recv(65536)
        assert piece, said
        said += piece
    return said
