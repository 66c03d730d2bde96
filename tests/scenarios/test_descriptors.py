"""More callers than there are descriptors: who is too much hears so, and nothing else happens."""

import json
import resource
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from orchestrator.cgroups import allowed_bytes
from orchestrator.daemon.descriptors import budget_of
from tests.pace import crowd
from tests.scenarios.daemon import Daemon, config, free_port, model
from tests.scenarios.daemon_of_few_files import FILES

BIG = 20000
CALLERS = 400
ROOM = budget_of(FILES, allowed_bytes())
CUT = (0, {})
HEALTH_S = 1.0  # the most that an answer of health takes, on a machine of its own


@pytest.fixture
def daemon(tmp_path):
    port = free_port()
    started = Daemon(
        tmp_path, config({"a": model(BIG), "b": model(BIG)}, server={"health_port": port})
    )
    started.health = f"http://127.0.0.1:{port}"
    started.executed, started.program = True, "tests.scenarios.daemon_of_few_files"
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


def ask(daemon, text):
    line = socket.create_connection(("127.0.0.1", daemon.port), timeout=20)
    line.sendall(text)
    return line


def order(path, **body):
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


def answered(line):
    """The answer that has come so far; None: it waits. `CUT` where the kernel's last descriptor went.

    Hundreds that connect at one instant are all accepted before the first of them is answered.
    """
    line.setblocking(False)
    try:
        said = b"".join(iter(lambda: line.recv(65536), b""))
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return CUT
    if not said:
        return CUT
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def healthy(daemon, path="/health"):
    """On a connection of its own."""
    try:
        return httpx.get(daemon.url + path, timeout=20).status_code == 200
    except httpx.TransportError:
        return False


class Poller(threading.Thread):
    """Asks for health on its own listener, over and over. A daemon that can read no device for want
    of a descriptor is not ready, and says so.
    """

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.daemon_asked = daemon
        self.bad, self.took_s, self.ended = [], [], threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            began = time.monotonic()
            try:
                for path in ("/health", "/health/ready"):
                    answer = httpx.get(self.daemon_asked.health + path, timeout=20)
                    if answer.status_code != 200 and "not_ready" not in answer.text:
                        self.bad.append(answer.text)
            except httpx.TransportError as error:
                self.bad.append(repr(error))
            self.took_s.append((time.monotonic() - began) / 2)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        assert self.bad == []
        assert len(self.took_s) > 5
        assert max(self.took_s) < HEALTH_S * crowd()


def test_one_caller_too_many_is_refused_and_nothing_else_happens(daemon):
    daemon.load("a", owner="me")
    before = {server.pid for server in daemon.servers()}
    with Poller(daemon), ExitStack() as stack:
        wish = order("/models/load", model="b", wait=120)
        waiting = [stack.enter_context(ask(daemon, wish)) for _ in range(CALLERS)]
        daemon.until(lambda s: s["queue"][0]["callers"] == ROOM.waiting, "as many wait as may")
        listens = b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        waiting.append(stack.enter_context(ask(daemon, listens)))
        silent = [stack.enter_context(ask(daemon, b"")) for _ in range(ROOM.connections)]
        time.sleep(1)
        for line in silent:
            line.close()
        began_s = time.monotonic()
        while not healthy(daemon):
            assert time.monotonic() - began_s < 2 * crowd()
        refused = []

        def all_are_told(_):
            for line in waiting[:]:
                if (answer := answered(line)) is not None:
                    refused.append(answer)
                    waiting.remove(line)
            return len(waiting) == ROOM.waiting

        daemon.until(all_are_told, "who does not wait is refused")
        told = [answer for answer in refused if answer is not CUT]
        assert len(told) > CALLERS / 4
        assert {(status, said["code"]) for status, said in told} == {(503, "too_many_callers")}
        assert all(said["remedy"] and said["retry_after_seconds"] for _, said in told)
        assert {server.pid for server in daemon.servers()} == before
        daemon.unload("a", force=True)  # it is what they wait for
        daemon.until_loaded(b="loaded")
    asks = {"model": "b"}
    daemon.until(lambda _: daemon.post("/models/load", asks).status_code == 200, "it is as before")
    assert daemon.process.poll() is None
    assert "Traceback" not in daemon.log()


def test_health_is_told_when_not_one_descriptor_is_left(daemon):
    process = psutil.Process(daemon.process.pid)
    highest = max(int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir())
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (highest + 1, FILES))
    try:
        with ExitStack() as stack:
            for _ in range(highest):
                stack.enter_context(ask(daemon, b""))
            full = eventually(lambda: process.num_fds() > highest)
            assert full, "callers have taken what there was"
            with Poller(daemon):
                for _ in range(100):
                    stack.enter_context(ask(daemon, b""))
                    time.sleep(0.02)
                assert process.num_fds() >= highest
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    assert eventually(lambda: healthy(daemon, "/health/ready")), "it recovers"
    assert daemon.load("a")["status"] == "loaded"
    assert "Traceback" not in daemon.log()


def eventually(holds):
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_the_limit_is_raised_for_the_daemon_and_not_for_its_servers(daemon):
    daemon.load("a")
    (server,) = daemon.servers("a")
    assert soft(daemon.process.pid) == FILES
    assert soft(server.pid) == FILES // 2


def soft(pid):
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
