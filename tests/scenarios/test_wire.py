"""Bytes at the gateway: no 500, no traceback, no lease and no count that stays.

By hand for longer, and with another seed: `make bytes SECONDS=600 SEED=7`. What that has found
stands here by itself.
"""

import os
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from tests.scenarios.bent_server import PAUSE, bent_server
from tests.scenarios.wire import ELSEWHERE, MODELS, SECTIONS, Wire

SECONDS = float(os.getenv("BYTES_SECONDS", "8"))
SEED = int(os.getenv("BYTES_SEED", "1"))
CHAT = "/v1/chat/completions"
JSON = "Content-Type: application/json"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"


@pytest.fixture
def elsewhere():
    with bent_server(SEED) as server:
        yield server


@pytest.fixture
def daemon(daemons, elsewhere):
    services = {
        "elsewhere": elsewhere.service(),
        "rehearsal": {"engine": "fake", "runtime": "process"},
    }
    return daemons(MODELS, services=services, **SECTIONS)


def test_whatever_bytes_come_the_gateway_serves_on(daemon):
    wire = Wire(daemon, SEED)
    wire.drive(SECONDS)
    assert not wire.findings, "\n".join(wire.findings)
    wire.check()


# --- what it has found ---------------------------------------------------------------------------


def sent(daemon, *lines, body=b"", patience_s=1):
    """What comes back until the daemon ends the connection, or says no more for so long."""
    heard = b""
    with socket.create_connection(("127.0.0.1", daemon.port)) as caller:
        caller.sendall("\r\n".join((*lines, "", "")).encode() + body)
        caller.settimeout(patience_s)
        try:
            while piece := caller.recv(65536):
                heard += piece
        except TimeoutError:
            pass
    return heard


def undisturbed(daemon):
    """Said once it has answered again: what it does after an answer it has done by then."""
    assert daemon.http.get("/health").status_code == 200
    return "Traceback" not in daemon.log() and "never retrieved" not in daemon.log()


def test_a_caller_that_waits_for_100_and_sends_what_is_no_body_hears_one_answer(daemon):
    head = (f"POST {CHAT} HTTP/1.1", "Host: localhost", JSON, "Expect: 100-continue")
    heard = sent(daemon, *head, "Transfer-Encoding: chunked", body=b"zz\r\n")
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert heard.count(b"content-length:") == 1
    assert undisturbed(daemon)


def test_a_caller_that_goes_when_it_is_refused_is_no_mistake_of_ours(daemon):
    body = b'{"model": "huge", "messages": []}'
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for number in range(100):
        with socket.create_connection(("127.0.0.1", daemon.port)) as caller:
            caller.sendall(head.encode() + body)
            time.sleep(0.0002 * (number % 10))
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    daemon.until(lambda _: not daemon.http.get("/requests").json()["running"], "all have ended")
    assert undisturbed(daemon)


@pytest.mark.parametrize("status", [b"999 ", b"600 Beyond"])
def test_a_status_that_no_answer_can_have_is_a_failure_of_its_server(daemon, elsewhere, status):
    elsewhere.bends = 0
    elsewhere.answers = [EMPTY.replace(b"200 OK", status)]
    answer = daemon.post(CHAT, {"model": ELSEWHERE, "messages": []})
    assert (answer.status_code, answer.json()["code"]) == (502, "server_failed")
    assert undisturbed(daemon)


def test_the_length_of_what_has_not_changed_is_not_waited_for(daemon, elsewhere):
    """304 may say how long the page is that it does not send."""
    elsewhere.bends = 0
    elsewhere.answers = [b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n"]
    daemon.load(ELSEWHERE)
    answer = daemon.http.get(f"/upstream/{ELSEWHERE}/page")
    assert (answer.status_code, answer.headers["ETag"], answer.content) == (304, "x", b"")
    assert undisturbed(daemon)


def test_a_header_that_is_none_is_not_passed_on(daemon, elsewhere):
    elsewhere.bends = 0
    odd = b"X-Odd: a\x01b\r\nX-Far: caf\xe9\r\nContent-Length"
    elsewhere.answers = [EMPTY.replace(b"Content-Length", odd)]
    answer = daemon.post(CHAT, {"model": ELSEWHERE, "messages": []})
    assert answer.status_code in (200, 502), "its reader may refuse it as well"
    assert "X-Odd" not in answer.headers
    assert undisturbed(daemon)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"2\r\nabXX", b"0\r\n\x00\r\n", b"f" * 20 + b"\r\nab"])
def test_an_answer_whose_rest_is_no_http_ends(daemon, elsewhere, rest):
    elsewhere.bends = 0
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    elsewhere.answers = [head + PAUSE + rest]
    with pytest.raises(httpx.RemoteProtocolError):
        daemon.post(CHAT, {"model": ELSEWHERE, "messages": []})
    assert daemon.http.get("/requests").json()["running"] == []
    assert daemon.http.get("/requests").json()["ended"][0]["outcome"] == "server_died"
    assert undisturbed(daemon)


@pytest.mark.parametrize("upgrade", ["", "Upgrade: x\r\nConnection: Upgrade\r\n"])
def test_a_path_is_passed_on_as_it_was_sent(daemon, elsewhere, upgrade):
    """Decoded it could end its line, and add headers or requests of its own."""
    elsewhere.bends = 0
    elsewhere.answers = [EMPTY]
    path = "/a%20HTTP/1.1%0d%0aX-Evil:%201/b%2Fc%00?d=%0d%0a"
    head = f"POST /upstream/{ELSEWHERE}{path} HTTP/1.1", "Host: localhost"
    heard = sent(daemon, *head, *upgrade.split("\r\n")[:-1], "Content-Length: 0")
    assert heard.startswith(b"HTTP/1.1 200 ")
    (asked,) = elsewhere.heard
    assert asked.startswith(f"POST {path} HTTP/1.1\r\n".encode())
    assert b"x-evil:" not in asked.lower().partition(b"\r\n")[2]


def test_a_tunnel_whose_far_end_has_gone_drops_what_still_comes(daemon, elsewhere):
    elsewhere.bends = 0
    elsewhere.answers = [SWITCHED]
    head = f"GET /upstream/{ELSEWHERE}/talk HTTP/1.1", "Host: localhost", "Upgrade: x"
    begins = "\r\n".join((*head, "Connection: Upgrade", "", "")).encode()

    def talk(_):
        with socket.create_connection(("127.0.0.1", daemon.port)) as caller, suppress(OSError):
            caller.sendall(begins)
            for _ in range(200):
                caller.sendall(b"x" * 10_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(talk, range(80)))
    daemon.until(lambda _: not daemon.http.get("/requests").json()["running"], "all have ended")
    assert undisturbed(daemon)


def test_a_body_behind_an_offer_of_http_2_is_refused_with_the_way_out(daemon):
    """Java's client makes that offer unless it is told not to; the parser takes no body then."""
    offers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    for path in (CHAT, "/api/chat", "/models/load"):
        head = f"POST {path} HTTP/1.1", "Host: localhost", JSON, "Content-Length: 15"
        heard = sent(daemon, *head, *offers, body=b'{"model": "a" }')
        assert heard.startswith(b"HTTP/1.1 400 ")
        assert b"version(HTTP_1_1)" in heard
    assert daemon.loaded() == {}
    heard = sent(daemon, "GET /v1/models HTTP/1.1", "Host: localhost", *offers)
    assert heard.startswith(b"HTTP/1.1 200 ")
