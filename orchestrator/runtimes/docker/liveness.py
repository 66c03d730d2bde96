"""Since when Docker owes us an answer. Questions are asked in threads; the loop looks here.

Only what takes milliseconds counts as a question: a stop may take as long as its grace period.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.core.values.failures import Silence

SLOW_S = 3.0  # a machine under load takes a hundred times longer than usual, and is not silent


class Liveness:
    def __init__(self, who: str, now: Callable[[], float] = time.monotonic) -> None:
        self._who = who
        self._now = now
        self._heard_s = float("-inf")
        self._asked: dict[object, float] = {}  # questions under way, and when they were asked
        self._lost: tuple[float, str] | None = None  # since when it cannot be reached, and why

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """While the block runs, an answer is owed."""
        question = object()
        self._asked[question] = self._now()
        try:
            yield
        finally:
            del self._asked[question]

    def came(self) -> None:
        """It has answered, if only with a refusal."""
        self._heard_s, self._lost = self._now(), None

    def lost(self, problem: str) -> None:
        """It cannot be reached."""
        since_s = self._lost[0] if self._lost is not None else self._now()
        self._lost = since_s, problem

    def silence(self) -> Silence | None:
        """None if it answers, as far as is known."""
        now_s = self._now()
        lost = self._lost
        owed = [asked_s for asked_s in list(self._asked.values()) if asked_s > self._heard_s]
        since_s = min(owed, default=now_s)
        if lost is not None:
            return Silence(
                who=self._who,
                for_s=now_s - min(since_s, lost[0]),
                problem=f"{lost[1].rstrip('.')}.",
            )
        if now_s - since_s < SLOW_S:
            return None
        return Silence(
            who=self._who,
            for_s=now_s - since_s,
            problem=f"{self._who} has not answered for {now_s - since_s:.0f} s. "
            "Look at `docker info` and at the engine's log.",
        )
