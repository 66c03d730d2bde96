"""Bodies that are held together stay below their bound, and give their room back."""

import pytest

from orchestrator.web.held_bodies import HeldBodies
from orchestrator.web.wire.error_answers import Answered
from tests.asynchronous import run


def bringing(*pieces):
    """What a client sends, in so many messages."""
    messages = iter(pieces)

    async def receive():
        piece = next(messages, None)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    return receive


def test_bodies_count_until_their_requests_end():
    bodies = HeldBodies()

    async def play():
        with bodies.of_request(bringing(b"123", b"45"), 8) as first:
            assert (await first())["body"] == b"123"
            await first()
            with bodies.of_request(bringing(b"678"), 8) as second:
                await second()
                assert bodies.held_bytes == 8
            assert bodies.held_bytes == 5
            assert (await first())["type"] == "http.disconnect"

    run(play())
    assert bodies.held_bytes == 0


def test_the_piece_that_is_too_much_is_refused_and_the_others_go_on():
    bodies = HeldBodies()

    async def play():
        with bodies.of_request(bringing(b"12345", b"678"), 8) as first:
            await first()
            with (
                pytest.raises(Answered) as refused,
                bodies.of_request(bringing(b"1234"), 8) as second,
            ):
                await second()
            await first()
        return refused.value.answer

    answer = run(play())
    assert (answer.code, answer.status) == ("too_many_bytes", 503)
    assert answer.retry_after_s
    assert "bodies_limit_bytes" in answer.remedy
    assert bodies.held_bytes == 0
