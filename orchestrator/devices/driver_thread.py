"""One thread for calls that may never come back.

A driver call that hangs cannot be interrupted, only abandoned. Executors of the
standard library are joined when the interpreter exits, so a hung call would keep the daemon from
ending; this thread is a daemon thread and is not. There is never a second one.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class DriverThread:
    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._call: Future[Any] | None = None  # the last one given to the thread
        self._overdue: Future[Any] | None = None
        Thread(target=self._run, name=name, daemon=True).start()

    async def ask(self, function: Callable[[], T], deadline_s: float) -> T:
        """What the function returns or raises, called in the thread. TimeoutError at the deadline.

        A call that was given up keeps the thread; until it comes back every other call is refused
        at once, so that nothing piles up behind it.
        """
        until_s = asyncio.get_running_loop().time() + deadline_s
        while self._call is not None and not self._call.done():
            await self._wait(self._call, until_s)
        call = self._submit(function)
        await self._wait(call, until_s)
        return call.result()

    def end(self) -> None:
        """No more calls. The thread ends when its current call returns, if it ever does."""
        self._calls.put(None)

    def _submit(self, function: Callable[[], T]) -> Future[T]:
        outcome: Future[T] = Future()

        def call() -> None:
            try:
                outcome.set_result(function())
            except BaseException as error:  # noqa: BLE001 - handed to the caller, not swallowed
                outcome.set_exception(error)

        self._call = outcome
        self._calls.put(call)
        return outcome

    async def _wait(self, call: Future[Any], until_s: float) -> None:
        """Return when the call is done. Neither the deadline nor a cancelled caller ends it."""
        if call is self._overdue:
            raise TimeoutError
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell(_: Future[Any]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        call.add_done_callback(tell)
        try:
            async with asyncio.timeout_at(until_s):
                await done.wait()
        except TimeoutError:
            self._overdue = call
            raise

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
