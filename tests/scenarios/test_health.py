"""Health on a listener of its own, of a real daemon that is busy, hung, stopped or pestered."""

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.pace import crowd
from tests.scenarios.daemon import Daemon, config, free_port, model
from tests.scenarios.world import stopped

PATHS = ("/health", "/healthz", "/health/ready", "/readyz")
ANSWER_S = 1.0  # the most that an answer takes, on a machine of its own
PATIENCE_S = 40.0


@contextmanager
def running(directory, program="orchestrator", **sections):
    port = free_port()
    server = {"health_port": port} | sections.pop("server", {})
    models = sections.pop("models", {"a": model(1000)})
    daemon = Daemon(directory, config(models, server=server, **sections))
    daemon.health = f"http://127.0.0.1:{port}"
    daemon.executed, daemon.program = program != "orchestrator", program
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.clean_up()


@pytest.fixture
def daemon(tmp_path):
    with running(tmp_path) as started:
        yield started


def ask(daemon, path="/health"):
    began = time.monotonic()
    answer = httpx.get(daemon.health + path, timeout=20)
    assert time.monotonic() - began < ANSWER_S * crowd()
    return answer


def until(daemon, holds, path="/health"):
    deadline = time.monotonic() + PATIENCE_S
    while not holds(answer := ask(daemon, path)):
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return answer


def connected(daemon, text=b""):
    line = socket.create_connection(
        ("127.0.0.1", int(daemon.health.rpartition(":")[2])), timeout=20
    )
    line.sendall(text)
    return line


def test_it_says_what_the_daemon_itself_says(daemon):
    assert ask(daemon).json() == daemon.http.get("/health").json()
    until(daemon, lambda answer: answer.status_code == 200, "/health/ready")
    for path in PATHS:
        assert ask(daemon, path).status_code == 200
    assert ask(daemon, "/models/status").json()["code"] == "not_found"
    assert f"health is told at {daemon.health}/health" in daemon.log()


def test_a_daemon_that_cannot_do_its_work_is_alive_and_not_ready(daemon):
    daemon.device(fault="unreadable")
    told = until(daemon, lambda answer: answer.status_code == 503, "/health/ready").json()
    assert told["code"] == "not_ready"
    assert "reasons" not in told, "it is told to everybody"
    assert daemon.http.get("/health/ready").json()["reasons"]
    assert ask(daemon).status_code == 200
    daemon.device(fault=None)
    until(daemon, lambda answer: answer.status_code == 200, "/health/ready")


def test_a_loop_that_hangs_is_said_while_it_hangs(tmp_path):
    with running(tmp_path, "tests.scenarios.daemon_that_hangs") as daemon:
        daemon.load("a")
        daemon.signal(signal.SIGUSR1)
        told = until(daemon, lambda answer: answer.status_code == 503)
        assert told.json()["code"] == "loop_hangs"
        assert told.headers["Retry-After"]
        assert ask(daemon, "/readyz").json()["code"] == "loop_hangs"
        with pytest.raises(httpx.TimeoutException):
            httpx.get(daemon.url + "/health", timeout=0.5)
        daemon.signal(signal.SIGUSR2)
        until(daemon, lambda answer: answer.status_code == 200)
        assert daemon.loaded() == {"a": "loaded"}
        assert daemon.end() == 0


def test_a_daemon_that_was_stopped_and_goes_on_is_well_at_once(tmp_path):
    """What waited meanwhile is answered by a thread that stood still as long as the loop did."""
    with running(tmp_path, "tests.scenarios.daemon_that_hangs") as daemon:
        with stopped(daemon), ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(httpx.get, daemon.health + "/health", timeout=60)
            time.sleep(5)  # more than twice what counts as a hang here
            assert not waiting.done()
            daemon.signal(signal.SIGCONT)
            assert waiting.result().status_code == 200
        for _ in range(20):
            assert ask(daemon).status_code == 200


def test_who_says_nothing_drips_or_talks_nonsense_keeps_nobody_out(daemon):
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(daemon)) for _ in range(200)]
        assert ask(daemon).status_code == 200
        for line in silent:
            line.close()
        dripping = [stack.enter_context(connected(daemon, b"G")) for _ in range(10)]
        began, over = time.monotonic(), set()
        for byte in b"ET /health HTTP/1.1\r\n":
            for line in set(dripping) - over:
                try:
                    line.sendall(bytes([byte]))
                except OSError:
                    over.add(line)
            assert ask(daemon).status_code == 200
            if len(over) == len(dripping):
                break
            time.sleep(1)
        assert len(over) == len(dripping), "they are hung up on"
        assert time.monotonic() - began < 15 * crowd()
        for nonsense in (
            b"\0" * 70_000,
            b"\x16\x03\x01\x02\0",
            b"A" * 100,
            b"GET / HTTP/1.1\r\n" * 3000,
        ):
            line = stack.enter_context(connected(daemon))
            try:
                line.sendall(nonsense)
            except OSError:
                continue  # it was answered before all of it was sent
            assert ask(daemon).status_code == 200
    assert daemon.http.get("/health").status_code == 200
    assert "Traceback" not in daemon.log()


def test_it_is_told_from_the_start_to_the_end_which_it_does_not_delay(tmp_path):
    slow = model(1000, fake={"ignore_sigterm": True})
    sections = {"scheduling": {"stop_grace_s": 3}, "on_shutdown": "stop"}
    with running(tmp_path, models={"a": slow}, **sections) as daemon:
        daemon.load("a")
        daemon.process.terminate()
        ending = until(daemon, lambda answer: answer.status_code == 503, "/health/ready")
        assert "ending" in ending.json()["detail"]
        assert ask(daemon).status_code == 200, "it lives until it has ended"
        assert daemon.process.wait(timeout=60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(daemon.health + "/health", timeout=5)
    with running(tmp_path) as daemon, connected(daemon):
        began = time.monotonic()
        assert daemon.end() == 0
        assert time.monotonic() - began < 3 * crowd()


def test_another_port_needs_a_restart(daemon):
    server = daemon.settings["server"] | {"health_port": free_port()}
    daemon.configure(daemon.settings | {"server": server})
    assert daemon.post("/admin/reload").json()["restart_needed"] == ["server"]
    assert ask(daemon).status_code == 200


def test_a_port_that_is_taken_ends_the_start_in_words_where_it_was_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(AssertionError, match=rf"{port} cannot be listened on.*health_port"),
            running(tmp_path, server={"health_port": port}),
        ):
            """It does not come to this."""


def test_two_daemons_that_name_none_live_side_by_side(tmp_path):
    with ExitStack() as stack:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            daemon = Daemon(tmp_path / name, config({"a": model(1000)}))
            stack.callback(daemon.clean_up)
            daemon.start()
            assert "health is told" not in daemon.log()
