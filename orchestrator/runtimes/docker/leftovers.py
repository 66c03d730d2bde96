"""Removes the containers of starts that failed, also those that a hanging Docker makes late."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.core.values.residents import InstanceId
from orchestrator.errors import Failed
from orchestrator.runtimes.docker.create import LABEL_INSTANCE
from orchestrator.runtimes.docker.engine import DockerEngine

REMOVE_RETRY_S = 1.0  # between looks for containers that a hanging Docker makes late
REMOVE_S_MAX = 3600.0  # then it is left to the next `discover`


class Leftovers:
    def __init__(
        self, engine: DockerEngine, ours: Mapping[str, str], forget: Callable[[str], None]
    ) -> None:
        """`ours` are the labels without which nothing is removed; `forget` hears what was."""
        self._engine = engine
        self._forget = forget
        self._ours = ours
        self._background: set[asyncio.Task[None]] = set()
        self.removing: set[InstanceId] = set()  # may still appear, and must not be reported

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in the background, until `close`."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def discard(self, instance: InstanceId) -> None:
        """Remove what a start left, in the background if it cannot be removed now."""
        try:
            await self._remove(instance)
        except Failed:
            self.remove_later(instance)

    def remove_later(self, instance: InstanceId) -> None:
        """Docker may still carry out a call that it has not answered."""
        self.later(self.remove_until_quiet(instance))

    async def remove_until_quiet(self, instance: InstanceId) -> None:
        """Remove what unanswered calls still make, until two looks in a row find nothing."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + REMOVE_S_MAX
        quiet = 0
        self.removing.add(instance)
        try:
            while quiet < 2 and loop.time() < ends_s:  # a late call may follow the first look
                with suppress(Failed):
                    quiet = 0 if await self._remove(instance) else quiet + 1
                await asyncio.sleep(REMOVE_RETRY_S)
        finally:
            self.removing.discard(instance)

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _remove(self, instance: InstanceId) -> int:
        containers = await self._engine.list_ids({**self._ours, LABEL_INSTANCE: instance})
        for container in containers:
            await self._engine.remove(container, force=True)
            self._forget(container)
        return len(containers)
