"""Runs a coroutine in a plain test, and waits for conditions without hoping."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tests.pace import crowd

T = TypeVar("T")

TEST_TIMEOUT_S = 60.0  # a test that hangs says where it hung instead of blocking the others
POLL_S = 0.01


def run(coroutine: Coroutine[Any, Any, T], timeout_s: float = TEST_TIMEOUT_S) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(timeout_s * crowd()):
            return await coroutine

    return asyncio.run(bounded())


async def eventually(
    condition: Callable[[], Awaitable[bool] | bool], timeout_s: float = 10.0
) -> None:
    """Return as soon as the condition holds. Raise TimeoutError if it does not in that time, which
    is that of an idle machine.
    """
    async with asyncio.timeout(timeout_s * crowd()):
        while True:
            holds = condition()
            if isinstance(holds, Awaitable):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(POLL_S)
