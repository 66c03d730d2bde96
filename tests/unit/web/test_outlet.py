"""A head goes out with what follows it, and never later than in the next turn of the loop."""

import asyncio
from types import SimpleNamespace

import pytest

from orchestrator.web.outlet import Outlet, written
from tests.asynchronous import run

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Transport:
    def __init__(self):
        self.written = []
        self.closed = False

    def write(self, data):
        assert not self.closed
        self.written.append(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed


def played(act):
    """What is written at once, and what by the next turn."""
    transport = Transport()

    async def play():
        act(Outlet(transport, asyncio.get_running_loop()))
        at_once = list(transport.written)
        await asyncio.sleep(0)
        return at_once

    return run(play()), transport


def test_a_head_and_its_body_are_written_together():
    def act(outlet):
        outlet.write(HEAD)
        outlet.write(b"body")
        outlet.write(b"more")

    at_once, transport = played(act)
    assert at_once == transport.written == [HEAD + b"body", b"more"]


def test_a_head_alone_is_written_in_the_next_turn():
    at_once, transport = played(lambda outlet: outlet.write(HEAD))
    assert (at_once, transport.written) == ([], [HEAD])


def test_a_head_is_written_before_the_end():
    def act(outlet):
        outlet.write(HEAD)
        outlet.close()

    _, transport = played(act)
    assert transport.written == [HEAD]
    assert transport.closed


def test_a_head_whose_client_has_gone_is_dropped():
    transport = Transport()

    async def play():
        outlet = Outlet(transport, asyncio.get_running_loop())
        outlet.write(HEAD)
        transport.close()
        outlet.flush()

    run(play())
    assert transport.written == []


def test_what_is_flushed_is_written_once():
    def act(outlet):
        outlet.write(HEAD)
        outlet.flush()
        outlet.write(HEAD)
        assert not outlet.is_closing()

    at_once, transport = played(act)
    assert at_once == [HEAD]
    assert transport.written == [HEAD, HEAD]


def answering(**more):
    """A stream that is under way, as uvicorn has it."""
    said = {
        "chunked_encoding": True,
        "disconnected": False,
        "response_complete": False,
        "flow": SimpleNamespace(write_paused=False),
        "scope": {"method": "POST"},
        "transport": Transport(),
    }
    return SimpleNamespace(**said | more)


def test_a_piece_of_a_stream_is_written_at_once():
    cycle = answering()
    assert written(cycle, b"hello")
    assert cycle.transport.written == [b"5\r\nhello\r\n"]


@pytest.mark.parametrize(
    "odd",
    [
        {"chunked_encoding": False},  # its length was said
        {"chunked_encoding": None},
        {"disconnected": True},
        {"response_complete": True},
        {"flow": SimpleNamespace(write_paused=True)},
        {"scope": {"method": "HEAD"}},
    ],
)
def test_what_is_no_plain_stream_is_sent_in_the_usual_way(odd):
    cycle = answering(**odd)
    assert not written(cycle, b"hello")
    assert cycle.transport.written == []
