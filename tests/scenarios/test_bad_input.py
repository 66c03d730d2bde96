"""Bad input: the right status, a sentence that helps, nothing lost, no traceback."""

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import quote

import httpx
import psutil
import pytest

from tests.pace import crowd
from tests.scenarios.daemon import config, model, running
from tests.scenarios.world import smollm_file

BIG = 20000  # two of them do not fit together
JSON = {"Content-Type": "application/json"}
ORDER_BYTES_MAX = 1 << 20

WRITES = {
    "/models/load": {"model": "a"},
    "/models/unload": {"model": "a"},
    "/models/plan": {"model": "a"},
    "/vram/leases": {"vram_mb": 1, "owner": "me", "ttl_seconds": 5},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One daemon for all that is refused at the door; in the end it is as it was."""
    directory = tmp_path_factory.mktemp("daemon")
    (directory / "models").mkdir()
    services = {
        "rehearsal": {"engine": "fake", "runtime": "process"},
        "local": {"engine": "xllamacpp", "runtime": "process", "models_dir": "./models"},
    }
    settings = config({"a": model(BIG, aliases=["first"])}, services=services)
    with running(directory, settings) as daemon:
        daemon.load("a")
        (server,) = daemon.servers()
        yield daemon
        assert daemon.loaded() == {"a": "loaded"}
        assert daemon.servers() == [server], "nothing was lost"
        assert daemon.status()["used_mb"] == BIG
        assert "Traceback" not in daemon.log()
        assert "Traceback" not in json.dumps(daemon.decisions())


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["status"] == status
    assert body["detail"]
    assert body["error"]["message"].startswith(body["detail"])
    said = body["detail"] + " " + body["remedy"]
    for word in words:
        assert word in said, said
    assert "Traceback" not in answer.text
    assert "/site-packages/" not in answer.text
    return body


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"a"', b"42", b"\xff\xfe", b"{'model': 'a'}", b"{" * 5000, b"nan"],
    ids=lambda body: body[:12],
)
def test_what_is_no_json_object(shared, path, body):
    refused(shared.http.post(path, content=body, headers=JSON), 422)


@pytest.mark.parametrize(
    ("path", "changes", "word"),
    [
        ("/models/load", {"model": 7}, "model"),
        ("/models/load", {"model": None}, "model"),
        ("/models/load", {"model": ["a"]}, "model"),
        ("/models/load", {"priority": "high"}, "priority"),
        ("/models/load", {"priority": 1e300}, "priority"),
        ("/models/load", {"priority": True}, "priority"),
        ("/models/load", {"wait": -1}, "wait"),
        ("/models/load", {"wait": "soon"}, "wait"),
        ("/models/load", {"wait": 1e9}, "wait"),
        ("/models/load", {"ttl_seconds": -5}, "ttl_seconds"),
        ("/models/load", {"lease_seconds": 0}, "lease_seconds"),
        ("/models/load", {"context_size": 0}, "context_size"),
        ("/models/load", {"context_size": 10**30}, "context_size"),
        ("/models/load", {"ttl_second": 5}, "ttl_seconds"),
        ("/models/unload", {"forse": True}, "force"),
        ("/models/unload", {"owner": "me", "lease_id": "x"}, "owner"),
        ("/models/plan", {"model": {"name": "a"}}, "model"),
        ("/vram/leases", {"vram_mb": -1}, "vram_mb"),
        ("/vram/leases", {"vram_mb": 0}, "vram_mb"),
        ("/vram/leases", {"vram_mb": 10**40}, "vram_mb"),
        ("/vram/leases", {"vram_mb": 1.5}, "vram_mb"),
        ("/vram/leases", {"ttl_seconds": 1e18}, "ttl_seconds"),
        ("/vram/leases", {"owner": ""}, "owner"),
        ("/vram/leases", {"owner": "x" * 10_000}, "owner"),
        ("/vram/leases", {"devise": "fake-0"}, "device"),
    ],
)
def test_wrong_values_and_unknown_fields(shared, path, changes, word):
    refused(shared.post(path, WRITES[path] | changes), 422, word)


def test_numbers_that_are_none(shared):
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        body = b'{"model": "a", "ttl_seconds": ' + number + b"}"
        refused(shared.http.post("/models/load", content=body, headers=JSON), 422)


NAMES = {
    "slash": "a/b",
    "climbing": "../a",
    "deep": "../../../etc/passwd",
    "nul": "a\x00b",
    "newline": "a\nb",
    "long": "x" * 10_000,
    "dash": "--model",
    "blank": " ",
    "emoji": "\N{PILE OF POO}" * 50,
    "surrogate": "\ud800",
    "sql": "a'; DROP TABLE residents; --",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_that_are_none(shared, name):
    for path in ("/models/load", "/models/unload", "/models/plan"):
        sent = json.dumps({"model": name}).encode()
        answer = shared.http.post(path, content=sent, headers=JSON)
        assert answer.status_code in (404, 422), answer.text
        refused(answer, answer.status_code)
        assert len(answer.content) < 3000, "what was sent is not sent back"
    if name != NAMES["surrogate"]:
        body = {"service": "rehearsal", "vram_mb": 10}
        answer = shared.http.put(f"/models/{quote(name, safe='')}", json=body)
        assert answer.status_code in (404, 405, 422, 431, 400), answer.text
        assert shared.http.get(f"/models/{quote(name, safe='')}").status_code in (404, 422)
    assert [each["id"] for each in shared.http.get("/models").json()["data"]] == ["a"]


def test_unknown_model_and_service(shared):
    body = refused(shared.post("/models/load", {"model": "firts"}), 404, "first")
    assert body["code"] == "unknown_model"
    body = refused(shared.post("/models/load", {"model": "a", "service": "nobody"}), 404)
    assert body["code"] == "unknown_service"
    refused(shared.post("/models/load", {"model": "a", "service": "local"}), 409)
    refused(shared.post("/models/unload", {"model": "nobody"}), 404)
    refused(shared.http.put("/models/nobody/pin", headers=JSON), 404)
    refused(shared.http.get("/models/nobody/logs"), 404)
    refused(shared.http.get("/operations/nothing"), 404)
    refused(shared.http.put("/leases/nothing", json={"lease_seconds": 5}), 404)
    refused(shared.http.put("/devices/fake-9/fake", json={"foreign_mb": 5}), 404)
    refused(shared.http.get("/nowhere"), 404)
    room = {"vram_mb": 10, "owner": "me", "ttl_seconds": 5, "device": "fake-9"}
    assert shared.post("/vram/leases", room).status_code in (404, 507)


def test_a_profile_that_is_not_there_is_told_with_those_there_are(shared):
    for path in ("/models/load", "/models/plan"):
        answer = shared.http.post(path, json={"model": "a", "profile": "turbo"})
        refused(answer, 404, "'turbo'", "balanced", "`profile`")
        assert answer.json()["code"] == "unknown_profile"


def test_sizes_that_no_machine_has(shared):
    room = {"vram_mb": 1 << 29, "owner": "me", "ttl_seconds": 5}
    began = time.monotonic()
    assert refused(shared.post("/vram/leases", room), 507)["code"] == "does_not_fit"
    assert time.monotonic() - began < 1 * crowd()
    refused(shared.http.put("/devices/fake-0/fake", json={"foreign_mb": 1 << 29}), 422)
    refused(shared.http.put("/devices/fake-0/fake", json={"foreign_mb": -1}), 422)
    for vram_mb in (-1, 0, 1 << 40, "much", None):
        body = {"service": "rehearsal", "vram_mb": vram_mb}
        refused(shared.http.put("/models/new", json=body), 422, "vram_mb")


def test_files_outside_of_the_roots(shared):
    models = shared.directory / "models"
    (models / "evil").symlink_to("/etc")
    (shared.directory / "models-evil").mkdir()
    for file in (
        "/etc/passwd",
        "../orchestrator.yaml",
        "sub/../../orchestrator.yaml",
        "evil/passwd",
        "../models-evil/model.gguf",
        f"{shared.directory}/models-evil/model.gguf",
        "package:os/../../etc/passwd.gguf",
        "package:nowhere/x.gguf",
        "a\x00b.gguf",
        "x" * 5000,
        7,
    ):
        body = {"service": "local", "file": file, "vram_mb": 10}
        refused(shared.http.put("/models/new", json=body), 422, "file")
    refused(shared.http.get("/models/new"), 404)


def test_bodies_over_the_limit(shared):
    huge = json.dumps({"model": "x" * (ORDER_BYTES_MAX + 1)}).encode()

    def piece_by_piece():
        for start in range(0, len(huge), 1 << 16):
            yield huge[start : start + (1 << 16)]

    for body in (huge, piece_by_piece()):
        try:
            answer = shared.http.post("/models/load", content=body, headers=JSON)
        except httpx.TransportError:
            continue  # it was told, but did not read the rest; and hung up before we had read
        assert answer.status_code == 413
        assert answer.json()["code"] == "too_large"
    lying = JSON | {"Content-Length": str(1 << 50)}
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    connection.request("POST", "/models/load", b"{}", lying)
    assert connection.getresponse().status == 413
    connection.close()


def test_headers_and_paths_over_the_limit(shared):
    for path, headers in (
        ("/" + "x" * 60_000, {}),
        ("/" + "x" * 1_000_000, {}),
        ("/health", {"X": "y" * 1_000_000}),
        ("/health", {f"X-{number}": "y" for number in range(90)}),
        ("/health", {"Host": ""}),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            assert connection.getresponse().status in (200, 400, 404, 414, 421, 431)
        except (ConnectionError, http.client.HTTPException):
            pass  # it hung up on us, as it may
        finally:
            connection.close()
    assert shared.http.get("/health").status_code == 200


SENT_MB = 40
GROWTH_MB_MAX = 16
WITHOUT_END = {
    "a header": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"x" * (1 << 20)),
    "requests": (b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 30_000),
}


@pytest.mark.parametrize(("first", "then"), WITHOUT_END.values(), ids=WITHOUT_END)
def test_what_is_sent_without_end_takes_no_memory_and_no_time_of_others(shared, first, then):
    """Neither the head of a request nor what is sent ahead while nothing is read."""
    daemon = psutil.Process(shared.process.pid)
    before = daemon.memory_info().rss
    slowest = 0.0
    with socket.create_connection(("127.0.0.1", shared.port)) as line:
        line.settimeout(0.1)
        with suppress(OSError):  # it waits for us, or has hung up
            line.sendall(first)
            for _ in range(SENT_MB):
                began = time.monotonic()
                assert shared.http.get("/health").status_code == 200
                slowest = max(slowest, time.monotonic() - began)
                line.sendall(then)
        assert (daemon.memory_info().rss - before) >> 20 < GROWTH_MB_MAX
    assert slowest < 0.5 * crowd()


def test_garbage_is_counted_and_said_once(shared):
    lines = shared.log().count("was refused: What was sent is no HTTP")
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", shared.port)) as line:
            line.sendall(b"\x16\x03\x01nonsense\r\n\r\n")
            answer = http.client.HTTPResponse(line)
            answer.begin()
            assert (answer.status, json.loads(answer.read())["code"]) == (400, "bad_request")
    assert shared.log().count("was refused: What was sent is no HTTP") - lines <= 1


def test_a_thousand_waiting_tickets(daemons):
    """Ten thousand are in unit/conductor/test_conductor.py: here each is a request over HTTP."""
    daemon = daemons(
        {"a": model(BIG), "b": model(BIG), "c": model(BIG)},
        scheduling={"queue_length_max": 990, "patience_s": 600},
    )
    lease = daemon.load("a", lease_seconds=600)["lease_id"]
    codes = flood(daemon, {"model": "b", "wait": False}, 1_000)
    assert codes == {202: 990, 503: 10}
    refusal = refused(daemon.post("/models/load", {"model": "c"}), 503, "queue_length_max")
    assert refusal["code"] == "queue_full"
    began = time.monotonic()
    assert daemon.status()["queue"][0]["callers"] == 990
    assert daemon.load("a")["already_loaded"], "who is there is served"
    assert time.monotonic() - began < 2 * crowd()
    daemon.http.delete(f"/leases/{lease}")
    daemon.until(lambda s: not s["queue"], "all are served")
    assert daemon.loaded() == {"b": "loaded"}
    assert len(daemon.decisions("load", "b")) == 1
    assert "Traceback" not in daemon.log()


def flood(daemon, body, count, connections=4):
    sent = json.dumps(body).encode()

    def ask(share):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
        codes = []
        for _ in range(share):
            connection.request("POST", "/models/load", sent, JSON)
            answer = connection.getresponse()
            answer.read()
            codes.append(answer.status)
        connection.close()
        return codes

    with ThreadPoolExecutor(connections) as pool:
        codes = [
            each for one in pool.map(ask, [count // connections] * connections) for each in one
        ]
    return {code: codes.count(code) for code in sorted(set(codes))}


def test_gguf_that_is_none_evicts_nobody(daemons, tmp_path):
    whole = smollm_file().read_bytes()
    broken = {
        "text": b"version https://git-lfs.github.com/spec/v1\n" * 10,
        "empty": b"",
        "header": whole[:5000],
        "short": whole[:-1000],
        "newer": whole[:4] + b"\x63\0\0\0" + whole[8:100_000],
    }
    models = {"a": model(BIG)}
    for name, content in broken.items():
        (tmp_path / f"{name}.gguf").write_bytes(content)
        models[name] = {"service": "local", "file": f"{name}.gguf", "vram_mb": BIG}
    models["missing"] = models["text"] | {"file": "missing.gguf"}
    models["folder"] = models["text"] | {"file": "folder.gguf"}
    (tmp_path / "folder.gguf").mkdir()
    local = {"engine": "xllamacpp", "runtime": "process", "models_dir": str(tmp_path)}
    daemon = daemons(
        models,
        services={"rehearsal": {"engine": "fake", "runtime": "process"}, "local": local},
    )
    daemon.load("a")
    for name in sorted(models.keys() - {"a"}):
        body = refused(daemon.post("/models/load", {"model": name}), 502, f"{name}.gguf")
        assert (body["code"], body["cause"]) == ("load_failed", "model_file")
        assert refused(daemon.post("/models/load", {"model": name}), 503)["code"] == "breaker_open"
    assert daemon.loaded() == {"a": "loaded"}
    assert not daemon.decisions("evict")
    assert "Traceback" not in daemon.log()
