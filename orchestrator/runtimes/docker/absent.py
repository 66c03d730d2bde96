"""Containers that others define, and that were not there when they were last asked for.

They are asked for again once something was started, or after a while: a stream of events may hang.
"""

import time
from collections.abc import Callable

from orchestrator.runtimes.docker.events import EventListener


class Absent:
    def __init__(self, events: EventListener, now_s: Callable[[], float] = time.monotonic) -> None:
        """`events` hears of their starts."""
        self._events = events
        self._now_s = now_s
        self._seen: dict[str, tuple[int, float]] = {}  # name → starts heard of, when it was asked

    def still(self, name: str) -> bool:
        """Whether nothing speaks for asking again."""
        if name not in self._seen:
            return False
        starts, asked_s = self._seen[name]
        return starts == self._events.starts and self._now_s() < asked_s + self._events.poll_s

    def note(self, name: str, starts: int) -> None:
        """It was not there when so many starts had been heard of."""
        self._seen[name] = starts, self._now_s()

    def forget(self, name: str) -> None:
        self._seen.pop(name, None)
