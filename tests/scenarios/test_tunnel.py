"""WebSockets to a model's server, through the gateway: the server is a real one."""

import os
import threading
import time
from http import HTTPStatus

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve


def answer_or_upgrade(connection, request):
    """What llama-server answers to us, on the same port."""
    if request.path == "/health":
        return connection.respond(HTTPStatus.OK, '{"status": "ok"}')
    if not request.path.startswith("/talk"):
        return connection.respond(HTTPStatus.OK, "[]")
    return None


def echo(connection):
    for message in connection:
        connection.send(f"{connection.request.path}: {message}" if message == "who" else message)


@pytest.fixture
def backend():
    with serve(echo, "127.0.0.1", 0, process_request=answer_or_upgrade) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def daemon(daemons, backend):
    elsewhere = {"engine": "llama_cpp", "runtime": "external", "url": f"http://127.0.0.1:{backend}"}
    return daemons(
        {"voice": {"service": "elsewhere", "vram_mb": 10}}, services={"elsewhere": elsewhere}
    )


def at(daemon, path):
    return f"ws://127.0.0.1:{daemon.port}{path}"


def wait_for_end(daemon):
    """The figures of the newest request, once none is under way."""
    while (requests := daemon.http.get("/requests").json())["running"]:
        time.sleep(0.02)
    return requests["ended"][0]


def test_a_websocket_loads_its_model_and_passes_both_ways(daemon):
    blob = os.urandom(300_000)
    with connect(at(daemon, "/upstream/voice/talk?x=1"), proxy=None) as socket:
        for message in ("hello", blob, "x" * 100_000):
            socket.send(message)
            assert socket.recv(timeout=20) == message
        socket.send("who")
        assert socket.recv(timeout=20) == "/talk?x=1: who"
        (running,) = daemon.http.get("/requests").json()["running"]
        assert running["model"] == "voice"
    assert wait_for_end(daemon)["status"] == 101


def test_a_page_elsewhere_opens_no_websocket(daemon):
    with pytest.raises(InvalidStatus, match="403"):
        connect(at(daemon, "/upstream/voice/talk"), origin="http://evil.example", proxy=None)
    assert not daemon.http.get("/requests").json()["ended"]


def test_a_websocket_keeps_its_model(daemon):
    with connect(at(daemon, "/upstream/voice/talk"), proxy=None) as socket:
        answer = daemon.post("/models/unload", {"model": "voice", "wait": 0.1})
        assert answer.status_code == 409
        socket.send("still here")
        assert socket.recv(timeout=20) == "still here"


def test_an_end_of_the_daemon_ends_a_websocket(daemon):
    with connect(at(daemon, "/upstream/voice/talk"), proxy=None) as socket:
        assert daemon.end() == 0
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
    assert "Traceback" not in daemon.log()
