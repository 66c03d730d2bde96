"""The audit log of the real daemon: over kills, with hostile callers, on a disk without room."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from orchestrator.access.audit.chain import CURRENT, verify
from tests.scenarios.daemon import ROOT, chat, model, running
from tests.scenarios.world import fill, small_disk

CANARY = "canary-5b1d7f"
KEY = "vo_abcd1234_" + "S3cretS3cret" * 4


def lines(daemon):
    """Written is what was answered, within a moment."""
    text = (daemon.directory / "state" / CURRENT).read_text()
    return [json.loads(line) for line in text.splitlines()]


def actions(daemon):
    return [(line["action"], line["target"], line["outcome"]) for line in lines(daemon)]


def test_acts_are_lines_that_follow_one_another_over_a_kill(daemons):
    daemon = daemons({"a": model(1000), "b": model(1000)})
    daemon.load("a", owner="me", lease_seconds=600)
    daemon.http.put("/models/a/pin")
    daemon.kill()
    assert ("model.pin", "a", "granted") in actions(daemon), "an admin's is there before it is done"
    daemon.start()
    daemon.unload("a", force=True)
    daemon.signal(signal.SIGHUP)
    daemon.until(lambda _: "reloaded; changed" in daemon.log(), "it was read again")
    wanted = ["daemon.start", "model.load", "resident.load", "model.pin", "daemon.start"]
    wanted += ["resident.adopt", "model.unload", "config.reload"]
    daemon.until(lambda _: {*wanted} <= {line["action"] for line in lines(daemon)}, "all of it")
    load = next(line for line in lines(daemon) if line["action"] == "model.load")
    assert load["actor"] == {"ip": "127.0.0.1", "key": None, "session": None, "via": "http"}
    told = daemon.http.get("/audit", params={"target": "a", "action": "model"}).json()
    assert [line["action"] for line in told["lines"]] == ["model.unload", "model.pin", "model.load"]
    typed = ["-m", "orchestrator", "audit", "verify", "--config", str(daemon.file)]
    said = subprocess.run(
        [sys.executable, *typed, "--head", told["head"]],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "Unbroken" in said.stdout
    assert daemon.end() == 0
    assert lines(daemon)[-1]["action"] == "daemon.stop"


def expired(daemon):
    said = [line for line in lines(daemon) if line["action"] == "lease.expire"]
    return [(line["target"], line["actor"]["key"]) for line in said]


def made(daemon, *words):
    """A key, as the operator makes it."""
    typed = ["keys", "create", "n8n", *words, "--config", str(daemon.file), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *typed],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)


def test_lines_of_residents_name_the_key_that_asked(daemons):
    """Also of the one that had to leave: whose wish it was."""
    small = {"fake": [{"name": "Small", "total_mb": 4096, "release_lag_s": 0}]}
    daemon = daemons({"a": model(3000), "b": model(3000)}, devices=small)
    one, other = (made(daemon, "--scope", "load", "--scope", "lease") for _ in range(2))
    for name, key in (("a", one), ("b", other)):
        headers = {"Authorization": f"Bearer {key['key']}"}
        order = {"model": name, "owner": "me", "lease_seconds": 1}
        assert daemon.http.post("/models/load", json=order, headers=headers).status_code == 200
        ended = (name, key["id"])
        daemon.until(lambda _, ended=ended: ended in expired(daemon), "its lease has ended")
    told = [
        (line["action"], line["target"], line["actor"]["key"])
        for line in lines(daemon)
        if line["action"] in ("resident.load", "resident.evict", "lease.expire")
    ]
    assert told == [
        ("resident.load", "a", one["id"]),
        ("lease.expire", "a", one["id"]),
        ("resident.evict", "a", other["id"]),
        ("resident.load", "b", other["id"]),
        ("lease.expire", "b", other["id"]),
    ]


def test_who_was_refused_at_a_model_has_a_line_and_whose_key_it_was(daemons):
    daemon = daemons({"a": model(1000), "b": model(3000)})

    use = made(daemon, "--scope", "use")
    load = made(daemon, "--scope", "load", "--vram-mb", "2000")
    said = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}

    def ask(name, key=None):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {"model": name, **said}
        return daemon.http.post("/v1/chat/completions", json=body, headers=headers).status_code

    assert [ask("a", use["key"]) for _ in range(3)] == [403] * 3
    assert ask("b", load["key"]) == 403
    assert ask("a") == 401
    assert ask("a", load["key"]) == 200
    expected = {
        (use["id"], "forbidden", "refused"),
        (load["id"], "over_quota", "refused"),
        (None, "unauthorized", "refused"),
    }

    def told():
        chosen = [line for line in lines(daemon) if line["action"] == "auth.refuse"]
        return [(line["actor"]["key"], line["code"], line["outcome"]) for line in chosen]

    admin = made(daemon, "--scope", "admin")
    headers = {"Authorization": f"Bearer {admin['key']}"}
    daemon.http.put("/models/a/pin", headers=headers)  # on the disk, and so all before it
    assert sorted(told(), key=str) == sorted(expected, key=str)
    by = {line["action"]: line["actor"] for line in lines(daemon)}
    assert by["model.pin"]["key"] == admin["id"]
    assert by["key.create"]["via"] == "command"


def test_no_secret_stands_in_any_log(daemons):
    """In a header, a query, a body, what a model writes: none is in what is kept or shown."""
    daemon = daemons({"a": model(1000)})
    headers = {"Authorization": f"Bearer {KEY}", "X-Api-Key": CANARY, "Cookie": f"s={CANARY}"}
    for path, body in (
        ("/models/load", {"model": "a", "owner": "me", "note": CANARY}),
        ("/models/load", {"model": "a", "owner": "me"}),
        ("/models/unload", {"model": f"{KEY}"}),
        ("/vram/leases", {"vram_mb": 10**9, "owner": KEY, "ttl_seconds": 9}),
        ("/v1/chat/completions", chat(text=f"{CANARY} {KEY}") | {"model": "a"}),
    ):
        daemon.post(f"{path}?key={CANARY}", body, headers=headers)
    daemon.http.put("/models/a/pin", headers=headers, params={"token": CANARY})
    daemon.http.get("/audit", headers=headers, params={"key": CANARY})
    shown = [daemon.http.get(path).text for path in ("/metrics", "/audit", "/models/a/logs")]
    kept = [(daemon.directory / "state" / CURRENT).read_text(), daemon.log()]
    for text in (*shown, *kept):
        assert CANARY not in text
        assert "S3cret" not in text
    for server in daemon.servers():
        assert "S3cret" not in " ".join((*server.cmdline(), *server.environ().values()))
    assert daemon.process is not None
    assert CANARY not in " ".join(psutil.Process(daemon.process.pid).cmdline())


def test_audit_disk_full(tmp_path):
    """Admins are refused, serving goes on, and nothing that happened is lost."""
    settings = {
        "state_dir": "./state",
        "devices": {"source": "host", "budget_mb": 3000, "headroom_mb": 0},
        "scheduling": {"min_residency_s": 0, "stop_grace_s": 2},
        "services": {"rehearsal": {"engine": "fake", "runtime": "process"}},
        "models": {name: model(500) for name in "ab"},
    }
    directory = tmp_path / "daemon"
    with small_disk(directory / "state", 4096) as disk, running(directory, settings) as daemon:
        daemon.load("a")
        ballast = fill(disk)
        while daemon.http.get("/audit").json()["problem"] is None:
            daemon.load("a")  # until the page of the file that was there already is full
        refused = daemon.http.put("/models/a/pin")
        assert (refused.status_code, refused.json()["code"]) == (503, "audit_unavailable")
        assert daemon.http.get("/models/a").json()["pinned"] is False
        daemon.load("b")
        daemon.unload("b")
        ballast.unlink()
        daemon.until(lambda _: daemon.http.get("/audit").json()["problem"] is None, "written again")
        assert daemon.http.put("/models/a/pin").status_code == 200
        told = actions(daemon)
        assert ("model.load", "b", "granted") in told
        assert ("model.pin", "a", "refused") in told
        assert told[-1][0] == "model.pin" or told[-1][0].startswith("resident")
        verify(Path(disk))
        for server in daemon.servers():
            server.kill()
        daemon.end()


def test_a_daemon_without_one(daemons):
    daemon = daemons({"a": model(1000)}, audit={"enabled": False})
    assert daemon.http.put("/models/a/pin").status_code == 200
    assert daemon.http.get("/audit").status_code == 404
    assert not (daemon.directory / "state" / CURRENT).exists()


def keys(daemon, *words):
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "keys", *words, "--config", daemon.file, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_lines_name_the_key_that_asked_and_who_was_turned_away(daemons):
    """Keys are made beside the daemon, which goes on after their lines."""
    daemon = daemons({"a": model(1000)})
    made = keys(daemon, "create", "n8n", "--scope", "load", "--scope", "admin")
    narrow = keys(daemon, "create", "reader", "--scope", "read")
    daemon.http.headers["Authorization"] = f"Bearer {made['key']}"
    daemon.load("a")
    assert daemon.http.put("/models/a/pin").status_code == 200
    wrong = {"Authorization": f"Bearer {KEY}"}
    for _ in range(5):
        assert httpx.get(f"{daemon.url}/models", headers=wrong).status_code == 401
        assert daemon.post("/v1/chat/completions", chat(), headers=wrong).status_code == 401
    reading = {"Authorization": f"Bearer {narrow['key']}"}
    assert daemon.http.put("/models/a/pin", headers=reading).status_code == 403
    rotated = daemon.post(f"/keys/{made['id']}/rotate", {"grace": "1h"}).json()
    keys(daemon, "revoke", narrow["id"])
    said = [
        (line["action"], line["actor"]["key"], line["target"], line["outcome"])
        for line in lines(daemon)
        if line["actor"]["via"] != "daemon"
    ]
    assert said == [
        ("key.create", None, "n8n", "granted"),
        ("key.create", None, "reader", "granted"),
        ("model.load", made["id"], "a", "granted"),
        ("model.pin", made["id"], "a", "granted"),
        ("auth.refuse", None, "/models", "refused"),
        ("model.pin", narrow["id"], "/models/a/pin", "refused"),
        ("key.rotate", made["id"], made["id"], "granted"),
        ("key.revoke", None, narrow["id"], "granted"),
    ]
    text = (daemon.directory / "state" / CURRENT).read_text()
    for one in (made, narrow, rotated):
        assert one["key"][-20:] not in text
    verify(daemon.directory / "state")
