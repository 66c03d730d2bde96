"""Connections to model servers, over real sockets."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from orchestrator.gateway import server_connections
from orchestrator.gateway.server_connections import Lost, OutOfReach, ServerConnections
from tests.asynchronous import eventually, run
from tests.scenarios.daemon import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
JSON = [(b"content-type", b"application/json")]
MUCH = 4 << 20


class Server:
    """Says what a test wants, once a whole head has come, and notes what it has heard."""

    def __init__(self):
        self.says = OK
        self.heard = b""
        self.connections = 0
        self.left = 0
        self.reads = asyncio.Event()
        self.reads.set()
        self.writers = []

    async def __call__(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                self.heard += await reader.readuntil(b"\r\n\r\n")
                await self.reads.wait()
                writer.write(self.says)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left += 1
        finally:
            writer.close()


@asynccontextmanager
async def serving():
    server = Server()
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    pool = ServerConnections()
    try:
        yield server, pool, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        pool.close()
        listening.close()
        for writer in server.writers:
            writer.close()


async def whole(connection):
    pieces = []
    try:
        while piece := await connection.read():
            pieces.append(piece)
    finally:
        connection.close()
    return b"".join(pieces)


def test_a_question_says_what_it_has_to_and_nothing_else():
    async def play():
        async with serving() as (server, pool, url):
            connection = await pool.ask(url + "/v1/", "GET", "/a?b=\xe4", [(b"x-a", b"\xff")], b"")
            assert await whole(connection) == b"{}"
            host = url.removeprefix("http://").encode()
            head = b"GET /v1/a?b=\xe4 HTTP/1.1\r\nhost: " + host
            assert server.heard == head + b"\r\nx-a: \xff\r\n\r\n"

    run(play())


@pytest.mark.parametrize("size", [0, 2, MUCH])
def test_a_body_has_its_length(size):
    async def play():
        async with serving() as (server, pool, url):
            server.says = OK
            body = b"x" * max(0, size - 4) + b"\r\n\r\n" * bool(size)
            connection = await pool.ask(url, "POST", "/", JSON, body)
            assert connection.status == 200
            connection.close()
            assert b"content-length: %d\r\n" % len(body) in server.heard

    run(play())


def test_a_body_that_comes_in_pieces_is_sent_in_chunks():
    async def pieces():
        yield b"one"
        yield b""
        yield b"two"

    async def play():
        async with serving() as (server, pool, url):
            server.reads.clear()
            asking = asyncio.ensure_future(pool.ask(url, "PUT", "/", [], pieces()))
            await eventually(lambda: server.heard)
            server.reads.set()
            await whole(await asking)
            await eventually(lambda: b"3\r\none\r\n3\r\ntwo\r\n0\r\n" in server.heard)

    run(play())


def test_what_is_wrong_with_a_body_is_heard_by_who_reads_the_answer():
    async def pieces():
        yield b"one"
        raise ValueError("too long")

    async def play():
        async with serving() as (server, pool, url):
            server.reads.clear()
            with pytest.raises(ValueError, match="too long"):
                await pool.ask(url, "PUT", "/", [], pieces())
            server.reads.set()
            await eventually(lambda: server.left == 1)

    run(play())


def test_a_connection_carries_one_question_after_the_other():
    async def play():
        async with serving() as (server, pool, url):
            for _ in range(5):
                assert await whole(await pool.ask(url, "POST", "/", JSON, b"{}")) == b"{}"
            assert server.connections == 1
            both = [await pool.ask(url, "POST", "/", JSON, b"{}") for _ in range(2)]
            for connection in both:
                await whole(connection)
            assert server.connections == 2

    run(play())


@pytest.mark.parametrize(
    "says",
    [
        OK + b"more",
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx",
    ],
)
def test_one_that_is_not_at_its_end_carries_no_other(says):
    async def play():
        async with serving() as (server, pool, url):
            server.says = says
            connection = await pool.ask(url, "POST", "/", JSON, b"{}")
            await connection.read()
            connection.close()
            await eventually(lambda: server.left == 1)
            (await pool.ask(url, "POST", "/", JSON, b"{}")).close()
            assert server.connections == 2

    run(play())


def test_an_idle_one_is_closed_in_time(monkeypatch):
    monkeypatch.setattr(server_connections, "IDLE_S", 0.05)

    async def play():
        async with serving() as (server, pool, url):
            await whole(await pool.ask(url, "POST", "/", JSON, b"{}"))
            await eventually(lambda: server.left == 1)
            await whole(await pool.ask(url, "POST", "/", JSON, b"{}"))
            assert server.connections == 2

    run(play())


def test_one_that_its_server_has_closed_is_not_used_again():
    async def play():
        async with serving() as (server, pool, url):
            await whole(await pool.ask(url, "POST", "/", JSON, b"{}"))
            server.writers[0].close()
            await server.writers[0].wait_closed()
            await asyncio.sleep(0.05)
            assert await whole(await pool.ask(url, "POST", "/", JSON, b"{}")) == b"{}"

    run(play())


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\n", b"nothing of that kind\r\n\r\n"])
def test_a_server_that_hangs_up_is_lost(says):
    async def play():
        async with serving() as (server, pool, url):
            server.says = says
            asking = asyncio.ensure_future(pool.ask(url, "POST", "/", JSON, b"{}"))
            await eventually(lambda: server.heard)
            await asyncio.sleep(0)
            server.writers[0].close()
            with pytest.raises(Lost):
                await asking

    run(play())


def test_what_it_said_before_it_hung_up_is_heard():
    async def play():
        async with serving() as (server, pool, url):
            server.says = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx"
            connection = await pool.ask(url, "POST", "/", JSON, b"{}")
            server.writers[0].close()
            assert await connection.read() == b"x"
            with pytest.raises(Lost):
                await connection.read()
            connection.close()

    run(play())


def test_a_server_that_is_not_there_has_heard_nothing():
    async def play():
        pool = ServerConnections()
        for url in (f"http://127.0.0.1:{free_port()}", "http://127.0.0.1:99999", "http://a..b"):
            with pytest.raises(OutOfReach):
                await pool.ask(url, "POST", "/", JSON, b"{}")

    run(play())


def test_who_asks_no_more_is_seen_to_go():
    async def play():
        async with serving() as (server, pool, url):
            server.reads.clear()
            asking = asyncio.ensure_future(pool.ask(url, "POST", "/", JSON, b"{}"))
            await eventually(lambda: server.heard)
            asking.cancel()
            server.reads.set()
            await eventually(lambda: server.left == 1)

    run(play())


def test_an_answer_that_nobody_takes_waits_at_its_server():
    async def play():
        async with serving() as (server, pool, url):
            server.says = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MUCH + b"x" * MUCH
            connection = await pool.ask(url, "POST", "/", JSON, b"{}")
            await asyncio.sleep(0.1)
            first = await connection.read()
            assert len(first) < MUCH
            assert len(await whole(connection)) == MUCH - len(first)

    run(play())


STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text):
    return b"%x\r\n%b\r\n" % (len(text), text)


async def poured(server, pool, url, taken, says, *, takes=lambda piece: True, abort=False):
    """What is poured and what is left to be read, of a stream that begins with one piece."""
    server.says = STREAM + chunk(b"0")
    connection = await pool.ask(url, "GET", "/", [], b"")
    assert await connection.read() == b"0"

    def into(piece):
        fits = takes(piece)
        if fits:
            taken.append(piece)
        return fits

    pouring = asyncio.create_task(connection.pour(into))
    for piece in says:
        server.writers[0].write(piece)
        await asyncio.sleep(0.02)
    if abort:
        server.writers[0].transport.abort()
    await asyncio.wait_for(pouring, 10)
    return connection


def test_pieces_are_poured_until_the_last_one():
    async def play():
        async with serving() as (server, pool, url):
            taken = []
            says = [chunk(b"1"), chunk(b"2"), chunk(b"3") + chunk(b"")]
            connection = await poured(server, pool, url, taken, says)
            assert taken == [b"1", b"2"]
            assert connection.complete
            assert await whole(connection) == b"3"

    run(play())


def test_a_piece_that_is_not_taken_is_still_to_be_read():
    async def play():
        async with serving() as (server, pool, url):
            taken = []
            connection = await poured(
                server, pool, url, taken, [chunk(b"1"), chunk(b"2")], takes=lambda p: p != b"2"
            )
            assert taken == [b"1"]
            assert await connection.read() == b"2"
            connection.close()

    run(play())


def test_a_server_that_goes_while_it_is_poured_is_lost():
    async def play():
        async with serving() as (server, pool, url):
            taken = []
            connection = await poured(server, pool, url, taken, [chunk(b"1")], abort=True)
            assert taken == [b"1"]
            with pytest.raises(Lost):
                await connection.read()
            await connection.pour(lambda piece: True)  # nothing comes any more
            connection.close()

    run(play())


def test_no_line_can_be_put_into_a_path():
    async def play():
        async with serving() as (server, pool, url):
            with pytest.raises(Lost):
                await pool.ask(url, "GET", "/a HTTP/1.1\r\nx: y", [], b"")
            assert not server.heard

    run(play())


@asynccontextmanager
async def hurried(*, goes=False, first=OK):
    """A server that answers `first` on a connection and hangs up when it has read more; `goes`: it
    listens no more then.
    """
    heard, writers = [], []

    async def serve(reader, writer):
        writers.append(writer)
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(first)
        with suppress(asyncio.IncompleteReadError):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            if goes:
                listening.close()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    pool = ServerConnections()
    try:
        yield pool, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", heard
    finally:
        pool.close()
        listening.close()
        for writer in writers:
            writer.close()


def test_a_kept_connection_that_ends_without_a_word_is_followed_by_a_new_one():
    async def play():
        async with hurried() as (pool, url, heard):
            for _ in range(3):
                assert await whole(await pool.ask(url, "POST", "/x", JSON, b"{}")) == b"{}"
            assert len(heard) == 5, "the first, and twice one that was lost and one that was not"

    run(play())


def test_a_server_that_has_gone_with_its_kept_connection_has_heard_the_question():
    async def play():
        async with hurried(goes=True) as (pool, url, heard):
            await whole(await pool.ask(url, "POST", "/x", JSON, b"{}"))
            with pytest.raises(Lost):
                await pool.ask(url, "POST", "/x", JSON, b"{}")
            assert len(heard) == 2

    run(play())


def test_a_body_that_comes_in_pieces_is_not_sent_twice():
    async def pieces():
        yield b"{}"

    async def play():
        async with hurried() as (pool, url, heard):
            await whole(await pool.ask(url, "POST", "/x", JSON, b"{}"))
            with pytest.raises(Lost):
                await pool.ask(url, "POST", "/x", JSON, pieces())
            assert len(heard) == 2

    run(play())
