"""Callers: those who join, leave, retry, hold and talk past us."""

import json
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import httpx
import pytest

from tests.pace import crowd
from tests.scenarios.daemon import Daemon, chat, config, model

BIG = 20000


def test_joiners_all_wait(planes):
    daemon = planes({"a": model(BIG, fake={"load_s": 1.5})})
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: (time.sleep(n / 10), daemon.load("a"))[1], range(10)))
    assert {each["status"] for each in answers} == {"loaded"}
    assert len({each["endpoint"] for each in answers}) == 1


def leave_after(daemon, seconds, body, path="/models/load"):
    """A caller that hangs up."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(daemon.url + path, json=body, timeout=httpx.Timeout(5, read=seconds))


def test_first_waiter_leaves_load_continues(planes):
    daemon = planes({"a": model(BIG, fake={"load_s": 1.5})})
    leave_after(daemon, 0.3, {"model": "a"})
    assert daemon.load("a")["status"] == "loaded"
    assert len(daemon.decisions("load")) == 1


def test_last_waiter_leaves_load_policy(planes):
    """A plain load goes on without its caller. Room that only its caller wanted is given up."""
    daemon = planes({"a": model(BIG, fake={"load_s": 1.0})})
    leave_after(daemon, 0.3, {"model": "a"})
    daemon.until_loaded(a="loaded")
    daemon.load("a", owner="somebody")
    room = {"vram_mb": 30000, "owner": "me", "ttl_seconds": 60}
    leave_after(daemon, 0.3, room, "/vram/leases")
    daemon.until(lambda status: not status["queue"], "nobody waits for the room")
    assert daemon.loaded() == {"a": "loaded"}


@pytest.mark.parametrize("path", ["/models/unload", "/api/models/unload/a", "/api/models/unload"])
def test_a_caller_that_leaves_its_unload_is_noticed(daemons, path):
    """The model that drained for it serves on."""
    daemon = daemons({"a": model(BIG)})
    daemon.load("a", owner="somebody")
    leave_after(daemon, 0.3, {"model": "a"} if path == "/models/unload" else {}, path)
    assert len(daemon.decisions("drain")) == 1
    daemon.until_loaded(a="loaded")


def test_unused_load_respects_ttl(planes):
    daemon = planes({"a": model(BIG, fake={"load_s": 0.8})})
    leave_after(daemon, 0.2, {"model": "a", "ttl_seconds": 1})
    daemon.until_loaded(a="loaded")
    daemon.until_loaded()
    assert "ttl" in daemon.decisions("evict")[0]["why"]


LEASE_S = 30  # longer than a busy machine takes for a round
CROSSINGS_MAX = 2  # of all callers that hang up: the moment is short
ROUND_THE_GRANT = (0.6, 0.8, 0.9, 1.0, 1.1, 1.3)  # of the seconds that an answer takes here


def hang_up_after(daemon, seconds, path, body):
    """Ask, and say no more after so long. Return the answer, if it was under way by then.

    A grant that has been answered is its caller's: nobody can tell whether it still reads.
    """
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as line:
        line.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        time.sleep(seconds)
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    return json.loads(answer.partition(b"\r\n\r\n")[2]) if answer else None


def seconds_of(act, *arguments):
    began = time.monotonic()
    act(*arguments)
    return time.monotonic() - began


def test_granted_then_cancelled_leaks_no_lease(planes):
    """Callers that hang up at any moment round the grant: no lease is left."""
    daemon = planes({"a": model(BIG, fake={"load_s": 0.3})})
    answered_s = seconds_of(daemon.load, "a")
    daemon.unload("a")
    for part in ROUND_THE_GRANT:
        wish = {"model": "a", "lease_seconds": LEASE_S}
        granted = hang_up_after(daemon, answered_s * part, "/models/load", wish)
        daemon.until_loaded(a="loaded")
        check_leases(daemon, "/leases", granted)
        daemon.unload("a", force=True)


def check_leases(daemon, path, granted):
    """Only what was answered is held. An answer may cross the end of its caller: then it expires."""

    def holds(status):
        leases = [each["lease_id"] for each in daemon.http.get(path).json()["leases"]]
        return not status["queue"] and leases == ([granted["lease_id"]] if granted else [])

    daemon.until(holds, f"nobody holds but {granted}")
    expired = [each for each in daemon.decisions("expire") if "expired" in each["text"]]
    assert len(expired) <= CROSSINGS_MAX


def test_room_granted_then_cancelled_leaks_no_lease(daemons):
    daemon = daemons({"a": model(BIG, fake={"stop_s": 0.2})})
    wish = {"vram_mb": 30000, "owner": "me", "ttl_seconds": LEASE_S}
    daemon.load("a")
    began = time.monotonic()
    granted = daemon.post("/vram/leases", wish).json()
    answered_s = time.monotonic() - began
    for part in ROUND_THE_GRANT:
        if granted:
            daemon.http.delete(f"/vram/leases/{granted['lease_id']}")
        daemon.load("a")
        granted = hang_up_after(daemon, answered_s * part, "/vram/leases", wish)
        check_leases(daemon, "/vram/leases", granted)


RESETS = 200
AT_ONCE = 8


def reset_after(daemon, seconds, path, body, *, hard):
    """Ask, and close the connection after so long without having read."""
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as line:
        line.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        time.sleep(seconds)
        if hard:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def patient(tmp_path):
    """A daemon that callers have longer to hang up on than any of them takes."""
    models = {name: model(3000, fake={"load_s": 0.3}) for name in "abcd"}
    daemon = Daemon(tmp_path, config(models))
    daemon.executed, daemon.program = True, "tests.scenarios.daemon_that_hears_late"
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.clean_up()


def test_two_hundred_resets_leave_no_lease(patient):
    """Before, at and after the answer, of cold and warm models and of plain VRAM."""
    daemon = patient
    draw = random.Random(7)

    def leave(number):
        seconds = draw.choice([0, draw.uniform(0, 0.02), 0.05, draw.uniform(0, 0.6)])
        hard = draw.random() < 0.5
        if number % 3 == 0:
            room = {"vram_mb": 10, "owner": f"owner-{number}", "ttl_seconds": 3600}
            reset_after(daemon, seconds, "/vram/leases", room, hard=hard)
        else:
            owner = draw.choice([f"owner-{number}", "the same"])
            wish = {"model": draw.choice("abcd"), "owner": owner, "pin": number % 5 == 0}
            reset_after(daemon, seconds, "/models/load", wish, hard=hard)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(leave, range(RESETS)))
    daemon.until_loaded(a="loaded", b="loaded", c="loaded", d="loaded")
    # Connections that their callers have left may wait for the daemon yet.
    daemon.until(lambda status: not (status["queue"] or anything_held(daemon, status)), "all end")
    assert not [each for each in daemon.decisions("expire") if "expired" in each["text"]]
    assert "Traceback" not in daemon.log()


def anything_held(daemon, status):
    """Room, leases and pins."""
    leases = daemon.http.get("/leases").json()["leases"]
    pinned = [name for name in "abcd" if daemon.http.get(f"/models/{name}").json()["pinned"]]
    return [*status["leases"], *leases, *pinned]


def test_two_owners_who_left_block_nobody(daemons):
    """On a card with two places, before their loads were done."""
    daemon = daemons({name: model(15000, fake={"load_s": 0.5}) for name in "abc"})
    for name in "ab":
        reset_after(daemon, 0.05, "/models/load", {"model": name, "owner": "gone"}, hard=False)
    daemon.until_loaded(a="loaded", b="loaded")
    assert len(daemon.load("c", wait=5)["evicted"]) == 1


def test_a_lease_that_was_renewed_survives_the_end_of_the_connection_it_came_on(daemons):
    daemon = daemons({"a": model(BIG)})
    body = json.dumps({"model": "a", "owner": "me"}).encode()
    head = "POST /models/load HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as line:
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = HTTPResponse(line)
        answer.begin()
        lease = json.loads(answer.read())["lease_id"]
        renewed = daemon.http.put(f"/leases/{lease}", json={"lease_seconds": 60})
        assert renewed.status_code == 200
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.3)
    assert [each["lease_id"] for each in daemon.http.get("/leases").json()["leases"]] == [lease]


def test_an_unload_whose_caller_has_left_is_given_up(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a", owner="me")
    reset_after(daemon, 0.2, "/models/unload", {"model": "a", "wait": 60}, hard=False)
    daemon.until_loaded(a="loaded")


def test_long_generation_outlives_idle_timeout(planes):
    daemon = planes({"a": model(BIG, ttl_seconds=2)})
    daemon.load("a")
    answer = daemon.talk("a", seconds=6)
    assert answer.status_code == 200
    assert daemon.loaded() == {"a": "loaded"}, "a request longer than the ttl is not cut"
    daemon.until_loaded()


def test_direct_traffic_keeps_the_model(planes):
    daemon = planes(
        {"a": model(10000), "b": model(10000), "c": model(20000)},
        devices={"sample_interval_s": 0.2},
    )
    daemon.load("a")
    daemon.load("b")
    for _ in range(3):
        daemon.talk("a", seconds=0.1)
        time.sleep(1)

    def used_last(status) -> str:
        models = status["loaded_models"]
        return max(models, key=lambda name: models[name]["last_used_at"])

    daemon.until(lambda status: used_last(status) == "a", "a was seen to be used")
    assert daemon.load("c")["evicted"] == ["b"], "a was used last, though not through us"


def test_direct_request_younger_than_a_look_is_not_cut(daemons):
    """A model leaves for another on four cards at once, each while it answers."""
    ages_s = (0.01, 0.05, 0.3, 1.2)
    cards = [{"name": "Fake 32 GB", "total_mb": 32768, "release_lag_s": 0.1} for _ in ages_s]
    daemon = daemons(
        {
            f"{name}{card}": model(BIG, devices=[f"fake-{card}"])
            for card in range(len(cards))
            for name in "ab"
        },
        devices={"fake": cards},
    )

    def swap(card: int, age_s: float) -> None:
        daemon.load(f"a{card}")
        server = urlsplit(daemon.endpoint(f"a{card}"))
        assert server.hostname is not None
        direct = HTTPConnection(server.hostname, server.port, timeout=60)
        stream = bool(card % 2)
        body = json.dumps(chat(age_s + 0.5, stream=stream))
        direct.request("POST", "/v1/chat/completions", body)  # returns when it is sent
        time.sleep(age_s)
        assert daemon.load(f"b{card}")["evicted"] == [f"a{card}"]
        text = direct.getresponse().read().decode()
        direct.close()
        assert "[DONE]" in text if stream else "choices" in text, "not a word was lost"

    with ThreadPoolExecutor() as pool:
        list(pool.map(swap, range(len(cards)), ages_s))


def test_our_own_looks_are_no_use(daemons):
    daemon = daemons({"a": model(10000, ttl_seconds=3)})
    daemon.load("a")
    began = time.monotonic()
    daemon.until_loaded()
    assert time.monotonic() - began < 8 * crowd(), "probing it did not keep it"


def test_workflow_unload_leaves_the_others_lease(planes):
    daemon = planes({"a": model(BIG)})
    daemon.load("a", owner="workflow-1")
    daemon.load("a", owner="workflow-2")
    first = daemon.unload("a", owner="workflow-1")
    assert (first["status"], first["remaining_leases"]) == ("released", 1)
    assert daemon.loaded() == {"a": "loaded"}
    assert daemon.unload("a", owner="workflow-2")["status"] == "unloaded"


def test_retry_joins_running_load(planes):
    daemon = planes({"a": model(BIG, fake={"load_s": 2})})
    late = daemon.post("/models/load", {"model": "a", "wait": 0.5})
    assert (late.status_code, late.json()["code"]) == (503, "load_deadline")
    assert daemon.load("a")["status"] == "loaded"
    assert len(daemon.decisions("load")) == 1


def test_load_deadline_is_503_with_operation(planes):
    daemon = planes({"a": model(BIG, fake={"load_s": 1.5})})
    late = daemon.post("/models/load", {"model": "a", "wait": "0.3"})
    assert late.status_code == 503
    assert int(late.headers["retry-after"]) >= 1
    operation = f"/operations/{late.json()['operation_id']}"
    assert daemon.http.get(operation).json()["status"] in ("loading", "queued")
    daemon.until_loaded(a="loaded")
    assert daemon.http.get(operation).json()["status"] == "succeeded"


def test_load_deadline_says_what_it_waits_for(daemons):
    """Room: who has it, and how long that may last. Nothing is loading yet."""
    daemon = daemons({"a": model(BIG), "b": model(BIG)})
    daemon.load("a", owner="somebody", lease_seconds=600)
    late = daemon.post("/models/load", {"model": "b", "wait": 0.3}).json()
    assert late["code"] == "load_deadline"
    assert "a" in late["waits_for"].split()
    assert late["waits_for"].rstrip(".") in late["detail"]
    daemon.unload("a", owner="somebody")
    daemon.until_loaded(b="loaded")


def test_asynchronous_load(daemons):
    daemon = daemons({"a": model(BIG, fake={"load_s": 0.5})})
    queued = daemon.post("/models/load", {"model": "a", "wait": False})
    assert queued.status_code == 202
    assert queued.json()["status_url"] == f"/operations/{queued.json()['operation_id']}"
    preferred = daemon.http.post(
        "/models/load", json={"model": "a"}, headers={"Prefer": "respond-async"}
    )
    assert preferred.status_code == 202
    daemon.until_loaded(a="loaded")


def test_the_stand_in_talks_like_the_server_it_stands_for(daemons):
    daemon = daemons({"a": model(BIG)})
    daemon.load("a")
    answer = daemon.talk("a", seconds=0.1).json()
    assert "hello" in answer["choices"][0]["message"]["content"]
    with httpx.stream(
        "POST", daemon.endpoint("a") + "/v1/chat/completions", json=chat(0.1, stream=True)
    ) as stream:
        lines = [line for line in stream.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_no_2xx_body_has_error_key(daemons):
    daemon = daemons({"a": model(BIG)})
    answers = [
        daemon.post("/models/load", {"model": "a"}),
        daemon.post("/models/plan", {"model": "a"}),
    ]
    answers += [
        daemon.http.get(path)
        for path in (
            "/models/status",
            "/models",
            "/v1/models",
            "/devices",
            "/events",
            "/health",
            "/vram/leases",
            "/models/a",
            "/models/a/logs",
            "/health/ready",
        )
    ]
    answers.append(daemon.post("/models/unload", {"model": "a"}))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert "error" not in answer.json()


def test_empty_body_gets_a_hint(daemons):
    daemon = daemons({"a": model(BIG)})
    answer = daemon.http.post("/models/load", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert '"model"' in answer.json()["remedy"] + answer.json()["detail"]
