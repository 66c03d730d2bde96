import pytest

from orchestrator.client import NotAnswered, NotChosen, Refused
from tests.unit.client.shells import CHAT, events


def test_pieces_come_and_the_whole_is_there_afterwards(server, client):
    server.answers[CHAT] = events("Hi", ".")
    stream = client.generate_stream("hello")
    assert server.asked == [], "it is asked for with the first piece"
    with pytest.raises(NotChosen, match="not ended"):
        _ = stream.generation
    assert list(stream) == ["Hi", "."]
    assert stream.generation.text == "Hi."


def test_a_stream_that_breaks_off_is_an_error(server, client):
    server.answers[CHAT] = events("Hi", end=False)
    with pytest.raises(NotAnswered, match="broke off"):
        list(client.generate_stream("hello"))


def test_an_error_in_the_middle_is_raised_after_what_came(server, client):
    error = {"message": "It died.", "code": "server_died"}
    server.answers[CHAT] = events("Hi", error=error)
    heard = []
    with pytest.raises(Refused) as raised:
        heard.extend(client.generate_stream("hello"))
    assert raised.value.code == "server_died"


def test_what_is_refused_at_once_is_raised_with_the_first_piece(server, client):
    server.answers[CHAT] = (404, {"code": "unknown_model", "detail": "There is no x."})
    with pytest.raises(Refused, match="no x"):
        next(client.generate_stream("hello"))


def test_a_stream_may_be_left(server, client):
    server.answers[CHAT] = events("a", "b", "c")
    with client.generate_stream("hello") as stream:
        assert next(stream) == "a"
    assert list(stream) == []
    assert client.health(), "its connection was given back"
