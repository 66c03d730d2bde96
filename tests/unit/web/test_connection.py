"""What a connection may send and how long it may take, over real sockets; and who hears an answer."""

import asyncio
import json
import logging
import socket
import struct
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn

from orchestrator.web import connection
from orchestrator.web.connection import (
    CALLER,
    HEAD_BYTES_MAX,
    TARGET_BYTES_MAX,
    TurnedAway,
    connection_class,
)
from tests.asynchronous import eventually, run

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
RESET = struct.pack("ii", 1, 0)


class App:
    """Answers with the path it was asked for, when it may, and notes what was not heard."""

    def __init__(self):
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = []
        self.unheard = []
        self.left = []
        self.under_way = []
        self.reads = True  # what it is sent, before it answers

    async def __call__(self, scope, receive, send):
        self.asked.append(scope["path"])
        self.under_way.append(scope["path"])
        try:
            await self._answer(scope, receive, send)
        finally:
            self.under_way.remove(scope["path"])

    async def _answer(self, scope, receive, send):
        message = {"type": ""}
        while self.reads and (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            self.left.append(scope["path"])
            return
        caller = scope["extensions"][CALLER]["connection"]
        await self.may_answer.wait()
        caller.unless_heard(lambda: self.unheard.append(scope["path"]))
        body = scope["path"].encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving():
    app = App()
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=connection_class(), log_config=None, lifespan="off", ws="none", access_log=False
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    await eventually(lambda: server.started)
    try:
        yield app, listening.getsockname()[1], server
    finally:
        app.may_answer.set()
        server.should_exit = True
        await running


def play(scene):
    async def played():
        async with serving() as (app, port, server):
            await scene(app, port, server)

    run(played())


async def opened(port):
    return await asyncio.open_connection("127.0.0.1", port)


async def answer_of(reader):
    """The status and the body; None where the connection ended without a word."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), (await reader.readexactly(length)).decode()


async def refusal_of(reader):
    status, body = await answer_of(reader)
    error = json.loads(body)
    assert (error["status"], error["error"]["code"]) == (status, error["code"])
    assert error["remedy"]
    assert await reader.read() == b"", "and the connection is closed"
    return status, error["code"]


# --- bounds in bytes -----------------------------------------------------------------------------

MEGABYTE = b"x" * (1 << 20)
UNREADABLE = {
    "one long header": (b"GET / HTTP/1.1\r\nX: " + MEGABYTE, 431, "head_too_large"),
    "a long name": (b"GET / HTTP/1.1\r\n" + MEGABYTE, 431, "head_too_large"),
    "many headers": (
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * HEAD_BYTES_MAX + b"\r\n",
        431,
        "head_too_large",
    ),
    "many trailers": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        + b"X: y\r\n" * HEAD_BYTES_MAX,
        431,
        "head_too_large",
    ),
    "a long chunk extension": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + MEGABYTE,
        431,
        "head_too_large",
    ),
    "a long path": (b"GET /" + MEGABYTE, 414, "target_too_long"),
    "a long query": (
        b"GET /?" + b"x" * TARGET_BYTES_MAX + b" HTTP/1.1\r\n",
        414,
        "target_too_long",
    ),
    "no HTTP": (b"nonsense\r\n\r\n", 400, "bad_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
    "a bad chunk": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
        "bad_request",
    ),
}


@pytest.mark.parametrize(("sent", "status", "code"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_gets_the_one_error_body(sent, status, code):
    async def scene(app, port, server):
        reader, writer = await opened(port)
        writer.write(sent)
        assert await refusal_of(reader) == (status, code)
        writer.close()
        await eventually(lambda: not server.server_state.tasks)

    play(scene)


def test_a_head_within_its_bound_is_read():
    async def scene(app, port, server):
        reader, writer = await opened(port)
        writer.write(b"GET /ok HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES_MAX - 1000) + b"\r\n\r\n")
        assert await answer_of(reader) == (200, "/ok")
        writer.close()

    play(scene)


def test_what_was_asked_before_is_answered_before_the_refusal():
    async def scene(app, port, server):
        app.may_answer.clear()
        reader, writer = await opened(port)
        writer.write(GET % 1 + GET % 2 + b"nonsense\r\n\r\n")
        await eventually(lambda: app.asked == ["/1"])
        app.may_answer.set()
        assert [await answer_of(reader) for _ in "12"] == [(200, "/1"), (200, "/2")]
        assert await refusal_of(reader) == (400, "bad_request")
        writer.close()

    play(scene)


def test_what_is_sent_ahead_waits_outside_and_is_answered_in_order():
    count = 3_000

    async def scene(app, port, server):
        app.may_answer.clear()
        reader, writer = await opened(port)
        writer.write(b"".join(GET % number for number in range(count)))
        await eventually(lambda: app.asked == ["/0"])
        (there,) = server.server_state.connections
        await asyncio.sleep(0.05)
        assert len(there.pipeline) < 200, "of what was sent, only so much became requests"
        assert len(there._unread) < 1 << 20
        app.may_answer.set()
        for number in range(count):
            assert (await answer_of(reader))[1] == f"/{number}"
        writer.close()

    play(scene)


def test_of_what_is_sent_ahead_one_at_a_time_is_under_way():
    """Also where they are answered unread, as refusals are: else answers would be mixed up."""
    count = 300
    most = 0

    async def scene(app, port, server):
        nonlocal most
        app.reads = False
        reader, writer = await opened(port)
        writer.write(b"".join(GET % number for number in range(count)))
        for number in range(count):
            app.may_answer.clear()
            await eventually(lambda number=number: f"/{number}" in app.asked)
            await asyncio.sleep(0)
            most = max(most, len(app.under_way))
            app.may_answer.set()
            assert (await answer_of(reader))[1] == f"/{number}"
        writer.close()

    play(scene)
    assert most == 1


def test_a_caller_who_leaves_with_requests_sent_ahead_is_noticed(caplog):
    async def scene(app, port, server):
        app.may_answer.clear()
        _, writer = await opened(port)
        writer.write(GET % 1 + GET % 2)
        await eventually(lambda: app.asked == ["/1"])
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, RESET
        )
        writer.close()
        await asyncio.sleep(0.05)
        app.may_answer.set()
        await eventually(lambda: not server.server_state.connections)
        assert app.unheard == ["/1"]
        assert app.asked == ["/1"]

    play(scene)
    assert not [each for each in caplog.records if each.exc_info]


# --- bounds in time ------------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch):
    for name in ("SILENCE_S", "HEAD_S", "REQUEST_S"):
        monkeypatch.setattr(connection, name, 0.2)


SLOW = {
    "half a line": b"GET / HT",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    "half a second request": GET % 1 + b"GET / HTTP/1.1\r\n",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_a_request_that_does_not_arrive_is_ended_and_told_so(hurried, sent):
    async def scene(app, port, server):
        reader, writer = await opened(port)
        writer.write(sent)
        if sent.startswith(GET % 1):
            assert await answer_of(reader) == (200, "/1")
        assert await refusal_of(reader) == (408, "too_slow")
        writer.close()
        await eventually(lambda: not server.server_state.tasks)

    play(scene)


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_connection_on_which_nothing_is_asked_is_closed(hurried, sent):
    async def scene(app, port, server):
        reader, writer = await opened(port)
        for _ in range(3):
            writer.write(sent)
            await asyncio.sleep(0.05)
        with suppress(ConnectionResetError):  # by what was sent after it was closed
            assert await reader.read() == b""
        writer.close()

    play(scene)


def test_whoever_waits_for_us_is_not_late(hurried):
    async def scene(app, port, server):
        app.may_answer.clear()
        reader, writer = await opened(port)
        writer.write(GET % 1 + b"GET /2 HTTP/1.1\r\n")
        await asyncio.sleep(0.5)
        app.may_answer.set()
        assert await answer_of(reader) == (200, "/1")
        writer.write(b"Host: x\r\n\r\n")
        assert await answer_of(reader) == (200, "/2")
        writer.close()

    play(scene)


# --- what is said --------------------------------------------------------------------------------


def test_what_is_turned_away_is_said_once_and_counted(caplog, monkeypatch):
    monkeypatch.setattr(connection, "SAID_EVERY_S", 0.05)

    async def scene():
        away = TurnedAway()
        for _ in range(2):
            for _ in range(100):
                away.note(connection._not_http(), "10.0.0.7", asyncio.get_running_loop())
            await asyncio.sleep(0.1)

    with caplog.at_level(logging.WARNING, logger="orchestrator"):
        run(scene())
    said = [each.getMessage() for each in caplog.records]
    assert len(said) == 4
    assert "10.0.0.7" in said[0]
    assert said[1].startswith("99 more requests were refused")


def test_two_servers_count_for_themselves():
    assert connection_class().turned_away is not connection_class().turned_away


def test_another_protocol_is_not_spoken_and_the_request_is_answered(caplog):
    async def scene(app, port, server):
        reader, writer = await opened(port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x01"
        )
        assert await answer_of(reader) == (200, "/ws")
        assert await reader.read() == b""
        writer.close()

    play(scene)
    assert not caplog.records


# --- whether it is heard -------------------------------------------------------------------------


async def asked(app, port):
    """A caller whose answer waits."""
    app.may_answer.clear()
    line = socket.create_connection(("127.0.0.1", port))
    line.sendall(GET % 1)
    await eventually(lambda: app.asked == ["/1"])
    return line


def arrived(line):
    with suppress(BlockingIOError):
        return line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)


@pytest.mark.parametrize("hard", [True, False])
def test_a_caller_who_left_before_its_answer_has_not_heard_it(hard):
    async def scene(app, port, server):
        line = await asked(app, port)
        if hard:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        line.close()
        app.may_answer.set()  # the loop has not seen its end yet
        await eventually(lambda: app.unheard == ["/1"])

    play(scene)


def test_a_caller_who_is_gone_already_is_told_of_as_well():
    """Its end may come with its request, and so before its request is begun."""

    async def scene(app, port, server):
        app.may_answer.clear()
        _, writer = await opened(port)
        writer.write(GET % 1)
        await eventually(lambda: app.asked == ["/1"])
        (there,) = server.server_state.connections
        writer.close()
        await eventually(lambda: not server.server_state.connections)
        gone = []
        there.when_gone(lambda: gone.append(1))
        await eventually(lambda: gone == [1])

    play(scene)


def test_a_caller_who_leaves_with_its_answer_unread_has_not_heard_it():
    async def scene(app, port, server):
        line = await asked(app, port)
        app.may_answer.set()
        await eventually(lambda: arrived(line))
        line.close()
        await eventually(lambda: app.unheard == ["/1"])

    play(scene)


@pytest.mark.parametrize("ends", ["close", "shutdown", "another request", "later"])
def test_a_caller_who_has_read_its_answer_has_heard_it(monkeypatch, ends):
    monkeypatch.setattr(connection, "HEARD_AFTER_S", 0.05 if ends == "later" else 10.0)

    async def scene(app, port, server):
        line = await asked(app, port)
        app.may_answer.set()
        await eventually(lambda: arrived(line))
        line.recv(65536)
        if ends == "another request":
            line.sendall(GET % 2)
            await eventually(lambda: arrived(line))
        if ends == "shutdown":
            line.shutdown(socket.SHUT_WR)
        if ends == "later":
            await asyncio.sleep(0.1)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        line.close()
        await eventually(lambda: not server.server_state.connections)
        await asyncio.sleep(0)
        assert "/1" not in app.unheard

    play(scene)
