"""WebSockets to a model's server, through the gateway: the server is a real one."""

import os
import socket
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


def speak_for_others(connection, request, response):
    response.headers["Set-Cookie"] = "vo_session=x; Path=/"
    return response


def echo(connection):
    for message in connection:
        connection.send(f"{connection.request.path}: {message}" if message == "who" else message)


@pytest.fixture
def backend():
    with serve(
        echo,
        "127.0.0.1",
        0,
        process_request=answer_or_upgrade,
        process_response=speak_for_others,
    ) as server:
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
    with connect(at(daemon, "/upstream/voice/talk?x=1"), proxy=None) as talk:
        for message in ("hello", blob, "x" * 100_000):
            talk.send(message)
            assert talk.recv(timeout=20) == message
        talk.send("who")
        assert talk.recv(timeout=20) == "/talk?x=1: who"
        assert "Set-Cookie" not in talk.response.headers
        (running,) = daemon.http.get("/requests").json()["running"]
        assert running["model"] == "voice"
    assert wait_for_end(daemon)["status"] == 101


def test_a_page_elsewhere_opens_no_websocket(daemon):
    with pytest.raises(InvalidStatus, match="403"):
        connect(at(daemon, "/upstream/voice/talk"), origin="http://evil.example", proxy=None)
    assert not daemon.http.get("/requests").json()["ended"]


def test_a_websocket_keeps_its_model(daemon):
    with connect(at(daemon, "/upstream/voice/talk"), proxy=None) as talk:
        answer = daemon.post("/models/unload", {"model": "voice", "wait": 0.1})
        assert answer.status_code == 409
        talk.send("still here")
        assert talk.recv(timeout=20) == "still here"


def test_an_end_of_the_daemon_ends_a_websocket(daemon):
    with connect(at(daemon, "/upstream/voice/talk"), proxy=None) as talk:
        assert daemon.end() == 0
        with pytest.raises(ConnectionClosed):
            talk.recv(timeout=20)
    assert "Traceback" not in daemon.log()


def test_nothing_follows_a_change_that_its_server_declines(daemons, there):
    """Other requests would: of whatever key, for whatever model, and counted by nobody."""
    services = {"elsewhere": there.service()}
    daemon = daemons({"ext": {"service": "elsewhere", "vram_mb": 10}}, services=services)
    daemon.load("ext")
    head = b"GET /upstream/ext/talk HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: x\r\n"
    other = b"POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as client:
        client.sendall(head + b"\r\n" + other)
        heard = b""
        while b'{"ok": true}' not in heard:
            heard += client.recv(65536)
        try:
            client.sendall(other * 10)
            while client.recv(65536):
                pass
        except ConnectionError:
            pass
    assert [path for _, path, *_ in there.heard] == ["/talk"]
