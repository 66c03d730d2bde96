"""Keys of the real daemon, made and revoked beside it by the command line."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import openai
import pytest

from tests.documents import DOCS, blocks
from tests.pace import crowd
from tests.scenarios.daemon import ROOT, chat, model

CHAT = "/v1/chat/completions"
HEARD_S = 0.1  # of a revocation beside the daemon, on an idle machine
PATIENCE_S = 30.0


@pytest.fixture
def daemon(daemons):
    return daemons({"a": model(3000), "b": model(3000)})


def keys(daemon, *words):
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "keys", *words, "--config", daemon.file, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def bearer(made):
    return {"Authorization": f"Bearer {made['key']}"}


def key_of(daemon, *words):
    """One that the daemon has heard of: it is made beside it."""
    made = keys(daemon, "create", *words)
    headers = bearer(made)
    daemon.until(
        lambda _: daemon.http.get("/auth/whoami", headers=headers).json().get("id") == made["id"],
        "the key is known",
    )
    return headers


def test_key_closes_the_running_daemon_and_outlives_a_kill(daemon):
    assert daemon.http.get("/models").status_code == 200
    made = keys(daemon, "create", "ci", "--scope", "read")
    assert daemon.http.get("/models", headers=bearer(made)).status_code == 200
    assert daemon.http.get("/models").status_code == 401
    daemon.kill()
    late = keys(daemon, "create", "late", "--scope", "read")
    daemon.start()
    for one in (made, late):
        assert daemon.http.get("/models", headers=bearer(one)).status_code == 200
    assert made["key"] not in daemon.log()


def test_use_is_for_ready_models_and_load_has_its_quota(daemon):
    use = keys(daemon, "create", "use", "--scope", "use")
    load = keys(daemon, "create", "load", "--scope", "load", "--vram-mb", "5000")

    def ask(made, name):
        client = openai.OpenAI(base_url=f"{daemon.url}/v1", api_key=made["key"], max_retries=0)
        said = [{"role": "user", "content": "hi"}]
        return client.chat.completions.create(model=name, messages=said, max_tokens=4)

    with pytest.raises(openai.PermissionDeniedError, match="lacks the scope `load`"):
        ask(use, "a")
    ask(load, "a")
    ask(use, "a")
    with pytest.raises(openai.PermissionDeniedError, match="may hold"):
        ask(load, "b")
    with pytest.raises(openai.AuthenticationError):
        ask({"key": "sk-1"}, "a")
    daemon.kill()
    daemon.start()
    with pytest.raises(openai.PermissionDeniedError):
        ask(load, "b")  # what it has loaded is its own after a restart too


def test_revocation_ends_streams_and_is_heard_at_once(daemon):
    made = keys(daemon, "create", "ci", "--scope", "read")
    ended, begun = threading.Event(), threading.Event()

    def listen():
        headers = {**bearer(made), "Accept": "text/event-stream"}
        with httpx.stream("GET", f"{daemon.url}/events", headers=headers, trust_env=False) as said:
            for _ in said.iter_lines():
                begun.set()
        ended.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert begun.wait(PATIENCE_S)
    keys(daemon, "revoke", made["id"])
    until_s = time.monotonic() + HEARD_S * crowd()
    while daemon.http.get("/models", headers=bearer(made)).status_code == 200:
        assert time.monotonic() < until_s
    assert ended.wait(PATIENCE_S)
    listener.join()


def test_expiry_ends_streams_that_are_open(daemon):
    made = keys(daemon, "create", "ci", "--scope", "read", "--expires", "5s")
    headers = {**bearer(made), "Accept": "text/event-stream"}
    began_s = time.monotonic()
    with httpx.stream(
        "GET", f"{daemon.url}/events", headers=headers, timeout=PATIENCE_S, trust_env=False
    ) as said:
        for _ in said.iter_lines():
            assert time.monotonic() < began_s + PATIENCE_S * crowd()
    answer = daemon.http.get("/models", headers=bearer(made))
    assert (answer.status_code, answer.json()["code"]) == (401, "key_expired")


def test_rotation_without_grace_ends_what_the_old_secret_and_its_login_have_under_way(daemon):
    """Whoever rotates a key that has leaked wants nobody to listen on."""
    boss = bearer(keys(daemon, "create", "boss", "--scope", "admin"))
    daemon.http.post("/models/load", json={"model": "a"}, headers=boss)
    made = keys(daemon, "create", "ci", "--scope", "load")
    answer = daemon.http.post("/session", json={"key": made["key"]})
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    daemon.http.cookies.clear()
    long = {"model": "a", **chat(600), "stream": True}

    def listen(begun, method, path, **said):
        client = httpx.Client(base_url=daemon.url, timeout=PATIENCE_S, trust_env=False)
        with client, client.stream(method, path, **said) as answer:
            until_s = time.monotonic() + PATIENCE_S * crowd()
            for _ in answer.iter_raw():
                begun.set()
                assert time.monotonic() < until_s, f"{path} goes on"
            return answer.status_code

    with ThreadPoolExecutor(4) as pool:
        listening = []
        for proof in (bearer(made), cookie):
            for way in (("GET", "/events"), ("POST", CHAT)):
                said = {"json": long} if way[0] == "POST" else {}
                headers = {**proof, "Accept": "text/event-stream"}
                listening.append((begun := threading.Event(), way, proof))
                listening[-1] += (pool.submit(listen, begun, *way, headers=headers, **said),)
        for begun, *_ in listening:
            assert begun.wait(PATIENCE_S)
        new = keys(daemon, "rotate", made["id"])
        for _, way, proof, done in listening:
            assert done.result() == 200, (way, proof)
    assert daemon.http.get("/models", headers=bearer(made)).status_code == 401
    assert daemon.http.get("/models", headers=cookie).status_code == 401
    assert daemon.http.get("/models", headers=bearer(new)).status_code == 200


def test_revoked_key_gets_nothing_that_it_has_waited_for(daemons):
    """Neither a load nor a lease: whoever holds the room has it, and others come first."""
    daemon = daemons({"a": model(20000), "b": model(20000)})
    boss = bearer(keys(daemon, "create", "boss", "--scope", "admin"))
    held = {"model": "a", "owner": "boss", "lease_seconds": 600}
    assert daemon.http.post("/models/load", json=held, headers=boss).status_code == 200
    made = keys(daemon, "create", "ci", "--scope", "load", "--scope", "lease")
    mine = bearer(made)
    room = {"vram_mb": 20000, "owner": "me", "ttl_seconds": 60}
    orders = [("/models/load", {"model": "b"}), ("/vram/leases", room)]
    later = daemon.http.post("/models/load", json={"model": "b", "wait": 0}, headers=mine).json()

    def queue():
        return daemon.http.get("/models/status", headers=boss).json()["queue"]

    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(daemon.http.post, path, json=order, headers=mine) for path, order in orders
        ]
        until_s = time.monotonic() + PATIENCE_S
        while len(queue()) < 2:
            assert time.monotonic() < until_s, queue()
        keys(daemon, "revoke", made["id"])
        answers = [done.result(PATIENCE_S) for done in waiting]
    assert [answer.status_code for answer in answers] == [401, 401], answers
    assert queue() == []
    told = daemon.http.get(later["status_url"], headers=boss).json()
    assert (told["status"], "revoked" in str(told)) == ("failed", True), told


def test_admin_of_one_model_does_not_touch_what_others_have_of_another(daemon):
    boss = bearer(keys(daemon, "create", "boss", "--scope", "admin"))
    narrow = bearer(keys(daemon, "create", "narrow", "--scope", "admin", "--model", "a"))
    order = {"model": "b", "owner": "boss", "lease_seconds": 600}
    assert daemon.http.post("/models/load", json=order, headers=boss).status_code == 200
    room = {"vram_mb": 100, "owner": "boss", "ttl_seconds": 600}
    assert daemon.http.post("/vram/leases", json=room, headers=boss).status_code == 201
    assert daemon.http.post(CHAT, json=chat() | {"model": "b"}, headers=boss).status_code == 200

    def held():
        paths = ("/leases", "/vram/leases")
        told = [daemon.http.get(path, headers=boss).json()["leases"] for path in paths]
        return sorted({lease["lease_id"] for leases in told for lease in leases})

    before = held()
    assert len(before) == 2
    for lease in before:
        for path in ("/leases", "/vram/leases"):
            daemon.http.delete(f"{path}/{lease}", headers=narrow)
            more = {"ttl_seconds": 1}
            answer = daemon.http.put(f"{path}/{lease}", json=more, headers=narrow)
            assert answer.status_code == 404, answer.text
    assert held() == before
    assert daemon.http.get("/requests", headers=narrow).json()["ended"] == []
    (run,) = daemon.http.get("/requests", headers=boss).json()["ended"]
    assert daemon.http.get(f"/requests/{run['id']}", headers=narrow).status_code == 404
    order = {"model": "a"}
    assert daemon.http.post("/models/load", json=order, headers=boss).status_code == 200
    answer = daemon.http.post("/models/unload", json=order, headers=narrow)
    assert answer.status_code == 200, "of its own model it is an admin"


def test_forwarded_for_of_strangers_is_ignored(daemon):
    """Only the socket of our own edge says whom a request is of (web/behind_edge.py)."""
    boss = keys(daemon, "create", "boss", "--scope", "admin")
    made = keys(daemon, "create", "ci", "--scope", "read", "--network", "192.0.2.0/24")
    names = ("X-Forwarded-For", "X-Real-IP", "X-Edge-Client", "True-Client-IP")
    said = {**dict.fromkeys(names, "192.0.2.1"), "Forwarded": "for=192.0.2.1;proto=https"}
    answer = daemon.http.get("/models", headers={**bearer(made), **said})
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_network")
    daemon.http.put("/models/a/pin", headers={**bearer(boss), **said})
    told = daemon.http.get("/audit", headers=bearer(boss)).json()["lines"]
    assert {line["actor"]["ip"] for line in told} <= {"127.0.0.1", None}
    assert [line["target"] for line in told if line["code"] == "wrong_network"] == ["/models"]


def test_commands_of_the_guides(daemon, tmp_path):
    """As a reader types them on the daemon's machine, who has put the first key into its file."""
    here = "tests/scenarios/test_keys.py::test_commands_of_the_guides"
    program = tmp_path / "orchestrator"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    program.chmod(0o755)
    kept = tmp_path / ".config" / "orchestrator-key"
    kept.parent.mkdir()
    environment = os.environ | {  # noqa: TID251 - commands run as from a shell
        "PATH": f"{tmp_path}:{os.environ['PATH']}",  # noqa: TID251 - likewise
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "ORCHESTRATOR_URL": daemon.url,
        "ORCHESTRATOR_API_KEY_FILE": str(kept),
    }
    ids = []
    for page in ("keys.md", "n8n.md"):
        for block in blocks(DOCS / "guides" / page):
            if block.argument != here or "serve" in block.text:  # it runs already
                continue
            text = block.text.replace("orchestrator.yaml", str(daemon.file))
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text.replace("k3v9x2mq", ids[1] if ids else "")],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
            if not kept.exists():
                ids = re.findall(r"vo_([a-z0-9]+)_", done.stdout)
                kept.write_text(re.findall(r"vo_\S+", done.stdout)[0])
                kept.chmod(0o600)
    told = {one["id"]: one["status"] for one in keys(daemon, "list")["keys"]}
    assert [told[id_] for id_ in ids] == ["valid", "revoked", "valid"]


def test_requests_of_one_key_that_wait_are_bounded_at_models_too(daemons):
    """For a load and for a place; those that need not wait go on, and others wait as they may."""
    daemon = daemons({"slow": model(1000, fake={"load_s": 30}), "a": model(1000)})
    bounds = ("--scope", "load", "--max-waiting", "2", "--max-in-flight", "20")
    mine, other = (bearer(keys(daemon, "create", "one", *bounds)) for _ in range(2))
    said = chat() | {"max_tokens": 2}

    def ask(name, headers, wait_s=60):
        deadline = {"X-Deadline-Seconds": str(wait_s)}
        return daemon.http.post(CHAT, json=said | {"model": name}, headers=headers | deadline)

    assert ask("a", mine).status_code == 200
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask, "slow", mine, 5) for _ in range(5)]
        refused = [done for done in as_completed(waiting) if done.result().status_code == 429]
        assert len(refused) == 3
        assert {done.result().json()["code"] for done in refused} == {"rate_limited"}
        late = [done.result() for done in waiting if done not in refused]
        assert [answer.status_code for answer in late] == [503, 503], "they have waited"
    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(ask, "slow", one, 5) for one in (mine, mine, other)]
        assert ask("a", mine).status_code == 200, "it does not wait"
        assert [done.result().status_code for done in held] == [503] * 3
