"""Long work in a thread: what it says is told on the loop, and it ends when nobody wants it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
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


def in_thread(work: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Work in a thread of its own: the end of the daemon does not wait for it.

    It may raise Unwanted, which nobody hears.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        with suppress(Unwanted, RuntimeError):  # RuntimeError: the loop is gone, and we with it
            try:
                found = work()
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                loop.call_soon_threadsafe(_fail, answer, error)
            else:
                loop.call_soon_threadsafe(_settle, answer, found)

    threading.Thread(target=run, name=name, daemon=True).start()
    return answer


def _settle(answer: "asyncio.Future[T]", found: T) -> None:
    if not answer.done():
        answer.set_result(found)


def _fail(answer: "asyncio.Future[T]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
