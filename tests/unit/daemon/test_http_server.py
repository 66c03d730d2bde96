"""The server's end: answers leave, who waits hears of it, who takes nothing is cut."""

import asyncio
import socket
from contextlib import asynccontextmanager

import httpx
from starlette.responses import PlainTextResponse

from orchestrator.daemon.http_server import ANSWER_S, GOODBYE_S, HttpServer
from orchestrator.web.ending import Ending
from tests.asynchronous import run
from tests.pace import crowd

LONG = "x" * (16 << 20)  # more than the sockets of both sides take


async def app(scope, receive, send):
    waits_s = {"/soon": ANSWER_S / 4, "/late": 60}.get(scope["path"], 0)
    await asyncio.sleep(waits_s)
    await PlainTextResponse(LONG if scope["path"] == "/long" else "done")(scope, receive, send)


@asynccontextmanager
async def served(**limits):
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(Ending(app), **limits)
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield server, listener.getsockname()
    finally:
        server.should_exit = True
        await serving


def ended(*paths):
    """The answers of requests that are under way when the server ends, and how long that takes."""

    async def scene():
        loop = asyncio.get_running_loop()
        async with httpx.AsyncClient(timeout=20) as client:
            async with served() as (server, (host, port)):
                asking = [
                    asyncio.create_task(client.get(f"http://{host}:{port}{path}")) for path in paths
                ]
                while len(server.server_state.tasks) < len(paths):
                    await asyncio.sleep(0.001)
                began_s = loop.time()
            took_s = loop.time() - began_s
            return [await answer for answer in asking], took_s

    return run(scene())


def test_what_is_being_answered_is_answered():
    (answer,), _ = ended("/soon")
    assert (answer.status_code, answer.text) == (200, "done")


def test_who_would_wait_longer_hears_that_it_ends():
    (soon, late), took_s = ended("/soon", "/late")
    assert (soon.status_code, late.status_code) == (200, 503)
    assert late.json()["code"] == "shutting_down"
    assert took_s < (ANSWER_S + GOODBYE_S) * crowd()


def test_who_takes_no_answer_is_cut():
    async def scene():
        loop = asyncio.get_running_loop()
        async with served() as (server, address):
            line = socket.create_connection(address)
            line.sendall(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not server.server_state.total_requests:
                await asyncio.sleep(0.001)
            began_s = loop.time()
        line.close()
        assert not server.server_state.connections
        return loop.time() - began_s

    assert run(scene()) < 2 * (ANSWER_S + 2 * GOODBYE_S) * crowd()


def test_one_connection_too_many_hears_so_and_the_next_is_served_when_one_leaves():
    refusal = b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    async def scene():
        async with served(connections_max=2, refusal=refusal) as (server, (host, port)):
            ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
            streams = [await asyncio.open_connection(host, port) for _ in range(8)]
            for reader, writer in streams[:2]:
                writer.write(ask)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            for reader, writer in streams[2:]:
                writer.write(ask)
                assert await reader.read() == refusal
                writer.close()
            assert len(server.server_state.connections) == 2
            streams[0][1].close()
            while len(server.server_state.connections) == 2:
                await asyncio.sleep(0.001)
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(ask)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            streams[1][1].close()

    run(scene())
