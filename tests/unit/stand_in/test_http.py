import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.stand_in.http import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    BadRequest,
    ClientGone,
    Connection,
)


@contextmanager
def talking() -> Iterator[tuple[socket.socket, Connection]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        connection = Connection(listener.accept()[0])
        try:
            yield client, connection
        finally:
            connection.close()


def test_two_requests_on_one_connection():
    with talking() as (client, connection):
        client.sendall(b"GET /slots?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.sendall(b"POST /v1 HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        first, second = connection.receive(), connection.receive()
    assert (first.method, first.path, first.keeps_connection) == ("GET", "/slots", True)
    assert (second.path, second.body, second.keeps_connection) == ("/v1", b"{}", False)


def test_a_body_in_chunks_arrives_whole():
    with talking() as (client, connection):
        client.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n")
        assert connection.receive().body == b"abcdefg"


def test_a_client_that_asks_first_is_told_to_go_on():
    with talking() as (client, connection):
        client.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
        assert connection.receive().body == b"hi"
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")


def test_what_is_asked_with_head_is_answered_without_a_body():
    with talking() as (client, connection):
        client.sendall(b"HEAD /x HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n")
        for _ in range(2):
            connection.receive()
            connection.answer(404, "gone")
        heads = client.recv(10_000).split(b"HTTP/1.1 ")[1:]
    assert [head.partition(b"\r\n\r\n")[2] for head in heads] == [b"", b"gone"]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
        b"GET /" + b"x" * HEAD_BYTES_MAX + b" HTTP/1.1\r\n",
    ],
)
def test_what_is_no_request_is_refused(data):
    with talking() as (client, connection):
        client.sendall(data)
        with pytest.raises(BadRequest):
            connection.receive()


def test_a_client_that_leaves_in_the_middle():
    for data in (b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"):
        with talking() as (client, connection):
            client.sendall(data)
            client.close()
            with pytest.raises(ClientGone):
                connection.receive()


def test_waiting_ends_when_the_client_leaves():
    with talking() as (client, connection):
        client.close()
        began_s = time.monotonic()
        with pytest.raises(ClientGone):
            connection.wait(30)
        assert time.monotonic() - began_s < 5


def test_waiting_lasts_although_the_next_request_is_there():
    with talking() as (client, connection):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        began_s = time.monotonic()
        connection.wait(0.05)
        assert time.monotonic() - began_s >= 0.05
        assert connection.receive().path == "/"


def test_answers_and_streams_are_http():
    with talking() as (client, connection):
        connection.answer(200, {"status": "ok"})
        connection.begin_stream()
        connection.send_event({"a": 1})
        connection.end_stream()
        connection.close()
        client.settimeout(5)
        with client.makefile("rb") as received:
            text = received.read().decode()
    head, _, rest = text.partition("\r\n\r\n")
    assert "Content-Length: 16" in head
    assert json.loads(rest[:16]) == {"status": "ok"}
    assert rest.endswith('\r\n\r\n10\r\ndata: {"a": 1}\n\n\r\n0\r\n\r\n')
