"""How much more to promise what has run out of memory."""

import pytest

from orchestrator.core.learning.shortfall import LACKED_BYTES_MIN, OOM_GROWTH_BYTES_MIN, Shortfall
from orchestrator.core.values.vram import GiB, MiB


def lacked(promised_gib=8.0, **known):
    sizes = {key: None if gib is None else int(gib * GiB) for key, gib in known.items()}
    return Shortfall(promised_bytes=int(promised_gib * GiB), **sizes).lacked_bytes


@pytest.mark.parametrize(
    ("known", "grows_by"),
    [
        ({}, 2 * GiB),
        ({"promised_gib": 0.5}, OOM_GROWTH_BYTES_MIN),
        ({"asked_bytes": 1}, 2 * GiB),  # whose bytes there are is not told
        ({"held_bytes": 8}, 2 * GiB),  # what failed is not told
    ],
)
def test_what_nobody_can_tell_is_guessed(known, grows_by):
    assert lacked(**known) == grows_by


def test_what_failed_is_part_of_what_was_promised():
    assert lacked(held_bytes=6, asked_bytes=3, spare_bytes=0) == GiB
    assert lacked(held_bytes=5, asked_bytes=2, spare_bytes=0) == LACKED_BYTES_MIN


def test_it_is_not_tried_again_with_what_the_device_had_anyway():
    """Looked at half a second before, it held less than when it failed."""
    assert lacked(held_bytes=4, asked_bytes=3, spare_bytes=2) == 2 * GiB + LACKED_BYTES_MIN
    assert lacked(asked_bytes=3, spare_bytes=2.5) == int(2.5 * GiB) + LACKED_BYTES_MIN


def test_without_what_failed_it_had_enough():
    assert lacked(held_bytes=4, asked_bytes=3, spare_bytes=16) == 3 * GiB


def test_guesses_on_guesses_come_to_an_end():
    promised_bytes, raised_bytes, steps = 2 * GiB, 0, 0
    while more_bytes := Shortfall(
        promised_bytes=promised_bytes, raised_bytes=raised_bytes, asked_bytes=100 * MiB
    ).lacked_bytes:
        promised_bytes, raised_bytes = promised_bytes + more_bytes, raised_bytes + more_bytes
        steps += 1
    assert promised_bytes == 4 * GiB
    assert steps < 10


def test_what_is_shown_goes_beyond_any_guess():
    assert lacked(promised_gib=1, held_bytes=1, asked_bytes=5) == 5 * GiB


@pytest.mark.parametrize(("spare_gib", "kept"), [(None, True), (0, True), (-0.1, False)])
def test_a_device_keeps_its_promise_or_does_not(spare_gib, kept):
    spare_bytes = None if spare_gib is None else int(spare_gib * GiB)
    assert Shortfall(promised_bytes=GiB, spare_bytes=spare_bytes).promise_kept is kept
