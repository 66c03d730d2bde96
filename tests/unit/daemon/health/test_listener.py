"""A thread that answers, whoever else connects and whatever has run out."""

import os
import resource
import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orchestrator.daemon.health import listener as module
from orchestrator.daemon.health.listener import CALLERS_MAX, SPARE, HealthListener
from tests.asynchronous import eventually, run
from tests.pace import crowd

DESCRIPTORS = Path("/proc/self/fd")
ASKED, SAID = b"ask\n", b"well"
SOON_S = 1.0  # the most that a poller waits here


def answer(head):
    return SAID if head.endswith(ASKED) else None


@contextmanager
def listening(answer=answer, look=lambda: None):
    health = HealthListener(socket.create_server(("127.0.0.1", 0), backlog=1024), answer, look)
    health.start()
    try:
        yield health
    finally:
        health.end()
        assert not health._thread.is_alive()


@pytest.fixture
def health():
    with listening() as started:
        yield started


def connected(health, text=b""):
    line = socket.create_connection(health._listener.getsockname(), timeout=20)
    line.sendall(text)
    return line


def asked(health):
    """What a new caller hears, and how long that took."""
    began = time.monotonic()
    with connected(health, ASKED) as line:
        said = b"".join(iter(lambda: line.recv(100), b""))
    return said, time.monotonic() - began


def well(health):
    said, took_s = asked(health)
    return said == SAID and took_s < SOON_S * crowd()


def test_each_caller_is_answered_and_hung_up_on(health):
    for _ in range(3 * CALLERS_MAX):
        assert asked(health)[0] == SAID


def test_a_request_may_come_in_pieces(health):
    with connected(health) as line:
        for byte in ASKED:
            line.sendall(bytes([byte]))
            time.sleep(0.01)
        assert line.recv(100) == SAID


def test_silent_callers_keep_nobody_out(health):
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(health)) for _ in range(200)]
        for _ in range(10):
            assert well(health)
        closed = [line for line in silent if hung_up(line)]
        assert len(closed) >= 200 - CALLERS_MAX, "no more are kept than it has places"


def hung_up(line):
    line.settimeout(0.05)
    try:
        return line.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_a_request_that_takes_too_long_is_told_so_and_silence_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(module, "REQUEST_S", 0.3)
    with listening() as health, connected(health, b"as") as slow, connected(health) as silent:
        assert b"HTTP/1.1 408" in slow.recv(1000)
        assert silent.recv(1000) == b""
        assert health._callers == {}


def test_who_drips_is_hung_up_on_in_the_same_time(monkeypatch):
    monkeypatch.setattr(module, "REQUEST_S", 0.3)
    with listening() as health, connected(health) as line:
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            drip(line)
        assert time.monotonic() - began < 2 * crowd()


def drip(line):
    while True:
        line.sendall(b"a")
        time.sleep(0.02)


def test_who_is_answered_and_stays_is_hung_up_on(health):
    with connected(health, ASKED) as line:
        assert line.recv(100) == SAID
        run(eventually(lambda: not health._callers))


def test_it_looks_for_signs_of_life_without_being_asked():
    looks = []
    with listening(look=lambda: looks.append(time.monotonic())):
        run(eventually(lambda: len(looks) >= 3))


def test_it_ends_at_once_whoever_is_there():
    with ExitStack() as stack:
        with listening() as health:
            for _ in range(CALLERS_MAX):
                stack.enter_context(connected(health, b"a"))
            began = time.monotonic()
        assert time.monotonic() - began < SOON_S * crowd()


def test_it_gives_back_every_descriptor():
    before = set(map(str, DESCRIPTORS.iterdir()))
    with listening() as health:
        for _ in range(2 * CALLERS_MAX):
            asked(health)
    assert set(map(str, DESCRIPTORS.iterdir())) == before


def test_a_defect_in_it_closes_the_door(caplog):
    def broken(_):
        raise RuntimeError("a mistake")

    with listening(answer=broken) as health:
        where = health._listener.getsockname()
        with connected(health, ASKED) as line, pytest.raises((ConnectionError, AssertionError)):
            assert line.recv(100), "hung up on"
        run(eventually(lambda: not health._thread.is_alive()))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where, timeout=5)
    assert "health is not told any more" in caplog.text


@contextmanager
def none_left():
    """Every descriptor that this process may have is taken, but those of `callers`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        highest = max(int(path.name) for path in DESCRIPTORS.iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, highest + 20), hard))
        with pytest.raises(OSError, match="Too many open files"):
            taken.extend(iter(lambda: os.open(os.devnull, os.O_RDONLY), None))
        yield taken
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def test_without_a_descriptor_left_it_answers_all_along(health):
    """The test's own connections need one each: as many as it frees before."""
    assert well(health)
    run(eventually(lambda: not health._callers))  # it had no spare descriptor
    with none_left() as taken:
        for _ in range(20):
            os.close(taken.pop())
            assert well(health)
            taken.append(os.open(os.devnull, os.O_RDONLY))
            with pytest.raises(OSError, match="Too many open files"):
                os.open(os.devnull, os.O_RDONLY)


def test_without_a_descriptor_left_silent_callers_keep_nobody_out(health):
    with ExitStack() as stack:
        lines = [socket.socket() for _ in range(3 * SPARE)]
        asking = socket.socket()
        for line in (*lines, asking):
            stack.enter_context(line)
            line.settimeout(20)
        with none_left():
            for line in lines:
                line.connect(health._listener.getsockname())
            asking.connect(health._listener.getsockname())
            asking.sendall(ASKED)
            began = time.monotonic()
            assert asking.recv(100) == SAID
            assert time.monotonic() - began < SOON_S * crowd()
