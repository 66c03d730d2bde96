"""What long work says is told every second, and it ends when nobody wants it."""

import asyncio
import threading

import pytest

from orchestrator.progress import TELL_S, Unwanted, Words, in_thread, told
from tests.simulation.virtual_time import run


def test_the_latest_word_is_told_every_second_and_the_outcome_returned():
    async def scene():
        heard, words = [], Words("begins")

        async def work():
            for number in range(4):
                await asyncio.sleep(TELL_S)
                words.say(f"{number} of 4")
                words.say(f"{number} of 4, really")
            return "done"

        assert await told(work(), words, heard.append) == "done"
        assert heard[0] == "begins"
        assert "2 of 4, really" in heard
        assert "2 of 4" not in heard

    run(scene())


def test_what_says_nothing_is_not_quoted():
    async def scene():
        heard = []
        assert await told(asyncio.sleep(5, "done"), Words(), heard.append) == "done"
        assert heard == []

    run(scene())


def test_a_failure_is_raised():
    async def scene():
        async def work():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await told(work(), Words("begins"), lambda _: None)

    run(scene())


def test_work_that_nobody_wants_any_more_ends_with_its_next_word():
    async def scene():
        words = Words("begins")
        waiting = asyncio.create_task(told(asyncio.sleep(1000), words, lambda _: None))
        await asyncio.sleep(1.5 * TELL_S)
        words.say("still wanted")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(Unwanted):
            words.say("not any more")

    run(scene())


def test_work_in_a_thread_is_waited_for_or_fails_here():
    async def scene():
        assert await in_thread(lambda: 7, "work") == 7
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0, "work")

    asyncio.run(scene())


def test_work_in_a_thread_may_end_unheard():
    async def scene():
        ended = threading.Event()
        words = Words()
        words.wanted = False

        def work():
            try:
                words.say("anything")
            finally:
                ended.set()

        answer = in_thread(work, "work")
        assert await asyncio.to_thread(ended.wait, 10)
        await asyncio.sleep(0)
        assert not answer.done()
        answer.cancel()

    asyncio.run(scene())
