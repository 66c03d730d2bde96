"""What the disk has not taken yet: the newest write of each key, kept and tried again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.errors import RegistryFailed

# How long a caller waits for one write: thrice the slowest fsync we have seen. A disk that hangs
# must not stop a house.
WRITE_PATIENCE_S = 5.0
# A tenth of what the registry lets wait, so that new writes find room beside the old ones.
RETRY_TOGETHER_MAX = 1_000

V = TypeVar("V")
Key = tuple[str | int, ...]
Act = Callable[[], Awaitable[object]]


@dataclass(slots=True, eq=False)
class _Write(Generic[V]):
    value: V
    act: Act
    refusal: str | None = None  # why it is not on the disk; None: it has not been refused
    task: asyncio.Task[None] | None = None

    @property
    def waits(self) -> bool:
        """It was refused, and nobody tries it now."""
        return self.refusal is not None and (self.task is None or self.task.done())


class Unwritten(Generic[V]):
    """Up to `length_max` writes, oldest first; beyond that the oldest is given up and counted."""

    def __init__(self, length_max: int, patience_s: float) -> None:
        self._length_max = length_max
        self._patience_s = patience_s
        self._writes: dict[Key, _Write[V]] = {}
        self.given_up = 0

    @property
    def refusals(self) -> list[str]:
        return [write.refusal for write in self._writes.values() if write.refusal is not None]

    def values(self) -> dict[Key, V]:
        """What is not known to be on the disk, with what is on its way there."""
        return {key: write.value for key, write in self._writes.items()}

    def forget(self, key: Key) -> None:
        self._writes.pop(key, None)

    async def put(self, key: Key, value: V, act: Act) -> None:
        """Return when `act` has succeeded, was refused, or has taken longer than the patience.

        It is performed to its end even if the caller is cancelled. Only RegistryFailed is a
        refusal: anything else is a mistake, and raised.
        """
        write = _Write(value, act)
        self._writes[key] = write
        await self._try({key: write})

    async def retry(self) -> None:
        """Try again what was refused. With nothing to do it costs nothing; calls may overlap."""
        waiting = [(key, write) for key, write in self._writes.items() if write.waits]
        for start in range(0, len(waiting), RETRY_TOGETHER_MAX):
            together = dict(waiting[start : start + RETRY_TOGETHER_MAX])
            await self._try(together)
            if all(write.refusal is not None for write in together.values()):
                return  # the disk has not recovered: the rest would hear the same

    async def _try(self, writes: dict[Key, _Write[V]]) -> None:
        tasks = [self._start(key, write) for key, write in writes.items()]
        done, late = await asyncio.wait(tasks, timeout=self._patience_s)
        for write in writes.values():
            if write.task in late and write.refusal is None:
                write.refusal = f"The disk has not answered for {self._patience_s:g} s."
        self._trim()
        for task in done:
            task.result()

    def _start(self, key: Key, write: _Write[V]) -> asyncio.Task[None]:
        name = "registry write " + "/".join(str(part) for part in key)
        write.task = asyncio.create_task(self._perform(key, write), name=name)
        return write.task

    async def _perform(self, key: Key, write: _Write[V]) -> None:
        try:
            await write.act()
        except RegistryFailed as refused:
            write.refusal = str(refused)
            return
        write.refusal = None
        if self._writes.get(key) is write:  # otherwise there is something newer to say
            del self._writes[key]

    def _trim(self) -> None:
        """Only what was refused counts: what is on its way will be gone by itself."""
        surplus = len(self.refusals) - self._length_max
        if surplus <= 0:
            return
        refused = [key for key, write in self._writes.items() if write.refusal is not None]
        for key in refused[:surplus]:
            del self._writes[key]
        self.given_up += surplus
