"""Long work in a thread: what it says is told on the loop, and it ends when nobody wants it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from orchestrator.ports import Tell

TELL_S = 1.0  # between two words: as often as a person looks

T = TypeVar("T")


class Unwanted(BaseException):
    """Nobody waits for the work any more. Not an Exception: nothing on the way may handle it."""


class Words:
    """The latest word of one piece of work; the work's thread writes it, the loop reads it."""

    def __init__(self, first: str = "") -> None:
        self.latest = first
        self.wanted = True

    def say(self, words: str) -> None:
        """Raise Unwanted when the work shall end."""
        if not self.wanted:
            raise Unwanted
        self.latest = words


async def told(work: Awaitable[T], words: Words, tell: Tell) -> T:
    """Wait for the work, and tell its latest word every second.

    If cancelled, the work ends with its next word.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            if words.latest:
                tell(words.latest)
            await asyncio.wait({task}, timeout=TELL_S)
        return task.result()
    finally:
        words.wanted = False
        task.cancel()
