"""What requests hold together stays below its bound, and gives its room back."""

import json
import time
import tracemalloc

import pytest
from pydantic_core import from_json, to_json

from orchestrator.web.held_bodies import (
    MOST_BYTES,
    SLOW_BYTES,
    SLOW_MIN,
    HeldBodies,
    bytes_max,
    decoded_bytes,
    parsed_bytes,
    share_of,
)
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
        with bodies.of_request({}, 8) as share:
            first = share.counting(bringing(b"123", b"45"))
            assert (await first())["body"] == b"123"
            await first()
            with bodies.of_request({}, 8) as other:
                await other.counting(bringing(b"678"))()
                assert bodies.held_bytes == 8
            assert bodies.held_bytes == 5
            assert (await first())["type"] == "http.disconnect"

    run(play())
    assert bodies.held_bytes == 0


def test_the_piece_that_is_too_much_is_refused_and_the_others_go_on():
    bodies = HeldBodies()

    async def play():
        with bodies.of_request({}, 8) as share:
            first = share.counting(bringing(b"12345", b"678"))
            await first()
            with pytest.raises(Answered) as refused, bodies.of_request({}, 8) as other:
                await other.counting(bringing(b"1234"))()
            await first()
        return refused.value.answer

    answer = run(play())
    assert (answer.code, answer.status) == ("too_many_bytes", 503)
    assert answer.retry_after_s
    assert "bodies_limit_bytes" in answer.remedy
    assert bodies.held_bytes == 0


def test_what_can_never_be_held_is_no_matter_of_waiting():
    bodies, scope = HeldBodies(), {}
    with bodies.of_request(scope, 8) as share:
        assert share_of(scope) is share
        with pytest.raises(Answered) as refused:
            share.take(9)
    answer = refused.value.answer
    assert (answer.code, answer.status, answer.retry_after_s) == ("too_large", 413, None)
    assert "bodies_limit_bytes" in answer.remedy
    assert bodies.held_bytes == 0


def test_of_too_many_slow_clients_the_one_that_has_taken_nothing_for_the_longest_is_cut(caplog):
    bodies, cut = HeldBodies(), []

    def slow(number):
        with bodies.of_request({}, 8) as share, share.slow(lambda: cut.append(number)):
            if number < SLOW_MIN + 3:
                slow(number + 1)
            else:
                assert bodies.held_bytes == (SLOW_MIN + 4) * SLOW_BYTES, "all are still ending"

    slow(0)
    assert cut == [0, 1, 2, 3]
    assert (bodies.held_bytes, bodies.slow) == (0, {})
    assert caplog.text.count("cut off") == 1


def test_the_bound_is_a_quarter_of_what_the_process_may_have_and_512_mib_at_most():
    assert bytes_max(256 << 20) == 64 << 20
    assert bytes_max(64 << 30) == MOST_BYTES


BODIES = {
    "text": json.dumps({"text": "some words, and more of them; " * 30_000}),
    "quotes": json.dumps({"text": 'say "no" ' * 100_000}),
    "lists": "[" + "[]," * 100_000 + "[]]",
    "objects": "[" + "{}," * 100_000 + "{}]",
    "members": json.dumps([{f"k{n}": {}} for n in range(30_000)], separators=(",", ":")),
    "numbers": "[" + "12345.5," * 100_000 + "1]",
    "digits": "[" + "300," * 100_000 + "1]",
    "words": json.dumps([f"word {n}" for n in range(50_000)]),
    "one wide sign": json.dumps({"text": "\N{GRINNING FACE}" + "x" * 500_000}, ensure_ascii=False),
    "one escaped": json.dumps({"text": "\N{GRINNING FACE}" + "x" * 500_000}),
    "chinese": json.dumps({"text": "\u4e2d" * 200_000}, ensure_ascii=False),
}


@pytest.mark.parametrize("body", [text.encode() for text in BODIES.values()], ids=BODIES)
def test_no_body_takes_more_to_be_decoded_and_encoded_than_was_counted(body):
    tracemalloc.start()
    try:
        decoded = from_json(body)
        parsed = tracemalloc.get_traced_memory()[1]
        encoded = to_json(decoded)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert decoded
    assert encoded
    assert taken <= decoded_bytes(body)
    assert parsed <= parsed_bytes(body)


@pytest.mark.parametrize("text", ["a b c d ", "\N{LATIN SMALL LETTER A WITH DIAERESIS}"])
def test_it_is_told_in_a_few_looks_at_the_body(text):
    """Others wait meanwhile, and no thread would help: it keeps the interpreter's lock."""
    body = json.dumps({"text": text * 1_000_000}, ensure_ascii=False).encode()

    def once_s(act):
        began_s = time.thread_time()
        act(body)
        return time.thread_time() - began_s

    def took_s(act):
        return min(once_s(act) for _ in range(5))

    assert took_s(decoded_bytes) < 30 * took_s(lambda body: body.count(b"["))


def test_what_a_look_takes_counts_until_it_is_over():
    bodies = HeldBodies()
    with bodies.of_request({}, 8) as share:
        with share.taking(5):
            assert bodies.held_bytes == 5
            with pytest.raises(Answered), bodies.of_request({}, 8) as other, other.taking(4):
                raise AssertionError("there is no room for it")
        assert bodies.held_bytes == 0
