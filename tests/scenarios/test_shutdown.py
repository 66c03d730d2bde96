"""The end of the daemon: everybody who waits hears of it at once, and nothing is said in anger."""

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.pace import crowd
from tests.scenarios.daemon import model

BIG = 20000
HEARD_S = 1.0
DOWN_S = 1.0

WAITING = {
    "load": ("POST", "/models/load", {"model": "b"}),
    "unload": ("POST", "/models/unload", {"model": "a", "wait": 60}),
    "unload as llama-swap": ("POST", "/api/models/unload/a", {}),
    "unload all as llama-swap": ("POST", "/api/models/unload", {}),
    "lease": ("POST", "/vram/leases", {"vram_mb": 25000, "owner": "me", "ttl_seconds": 60}),
}


@contextmanager
def callers(daemon):
    """Threads that ask. Whatever fails meanwhile, the daemon ends, and with it their waiting."""
    with ThreadPoolExecutor(10) as pool:
        try:
            yield pool
        finally:
            if daemon.process.poll() is None:
                daemon.kill()


def asked(daemon, method, path, body):
    with httpx.Client(base_url=daemon.url, timeout=60, trust_env=False) as caller:
        answer = caller.request(method, path, json=body)
        return time.monotonic(), answer.status_code, answer.json()


def half_sent(daemon):
    """A caller whose body does not come."""
    head = "POST /models/load HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    line = socket.create_connection(("127.0.0.1", daemon.port), timeout=20)
    line.sendall(f"{head}Content-Length: 15\r\n\r\n".encode())
    return line


def events(daemon, path):
    headers = {"Accept": "text/event-stream"}
    with httpx.stream("GET", daemon.url + path, headers=headers, timeout=60) as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
        return time.monotonic(), [json.loads(line[6:]) for line in lines]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_waits_hears_of_the_end_at_once(daemons, number):
    daemon = daemons({"a": model(BIG), "b": model(BIG)})
    daemon.load("a", owner="somebody")
    with half_sent(daemon) as body, callers(daemon) as pool:
        answers = {
            name: pool.submit(asked, daemon, *asks)
            for name, asks in WAITING.items()
            if name != "lease"
        }
        ours = pool.submit(events, daemon, "/events")
        routers = pool.submit(events, daemon, "/models/sse")
        daemon.until(lambda _: daemon.loaded() == {"a": "draining"}, "all of them wait")
        daemon.until(lambda s: s["queue"], "b waits")
        answers["lease"] = pool.submit(asked, daemon, *WAITING["lease"])
        daemon.until(lambda s: len(s["queue"]) == 2, "the lease waits")
        began_s = time.monotonic()
        daemon.signal(number)
        assert daemon.process.wait(timeout=30) == 0
        took_s = time.monotonic() - began_s
        for name, answer in answers.items():
            heard_s, status, said = answer.result()
            assert (status, said["code"]) == (503, "shutting_down"), name
            assert said["retry_after_seconds"] >= 1
            assert heard_s - began_s < HEARD_S * crowd(), name
        heard_s, heard = ours.result()
        assert (heard[-1]["type"], heard[-1]["code"]) == ("end", "shutting_down")
        assert heard_s - began_s < HEARD_S * crowd()
        assert routers.result()[1][-1]["event"] == "model_status"
        assert b'"code":"shutting_down"' in b"".join(iter(lambda: body.recv(65536), b""))
    assert took_s < DOWN_S * crowd(), f"down after {took_s:.1f} s"
    assert "Traceback" not in daemon.log()
    assert "ERROR" not in daemon.log()
    assert len(daemon.servers("a")) == 1


def test_a_client_that_takes_no_answer_does_not_hold_up_the_end(daemons):
    daemon = daemons({"a": model(1000)})
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        line.connect(("127.0.0.1", daemon.port))
        asks = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        line.sendall(200 * asks)
        time.sleep(0.3)
        began_s = time.monotonic()
        assert daemon.end() == 0
        assert time.monotonic() - began_s < DOWN_S * crowd()
    assert "Traceback" not in daemon.log()
