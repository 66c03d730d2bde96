import pytest

from orchestrator.client import AsyncClient, NotAnswered, NotChosen, Refused
from tests.asynchronous import run
from tests.unit.client.shells import CHAT, events


def heard(server, body):
    async def walk():
        server.answers[CHAT] = body
        async with AsyncClient(server.url) as client:
            stream = client.generate_stream("hello")
            with pytest.raises(NotChosen):
                _ = stream.generation
            pieces = [piece async for piece in stream]
            return pieces, stream.generation

    return run(walk())


def test_pieces_come_and_the_whole_is_there_afterwards(server):
    pieces, generation = heard(server, events("Hi", "."))
    assert pieces == ["Hi", "."]
    assert generation.text == "Hi."


def test_a_stream_that_breaks_off_is_an_error(server):
    with pytest.raises(NotAnswered, match="broke off"):
        heard(server, events("Hi", end=False))


def test_an_error_in_the_middle_is_raised(server):
    with pytest.raises(Refused, match="died"):
        heard(server, events("Hi", error={"message": "It died.", "code": "server_died"}))


def test_a_stream_may_be_left(server):
    async def walk():
        server.answers[CHAT] = events("a", "b", "c")
        async with AsyncClient(server.url) as client:
            async with client.generate_stream("hello") as stream:
                assert await anext(stream) == "a"
            assert [piece async for piece in stream] == []
            assert await client.health()

    run(walk())
