"""How much one caller asks: requests a minute, and how many of its at once. In memory only."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.access.keys.decision import AccessCode, NotAllowed
from orchestrator.access.keys.record import ApiKey

MINUTE_S = 60.0
SECOND_S = 1.0
RETRY_S = 1.0  # where a place is free when a request ends, which is not known before
KEYS_MAX = 10_000  # whose figures are kept: those of keys that asked least lately go first


class _Figures:
    __slots__ = ("asked", "in_flight", "waiting")

    def __init__(self) -> None:
        self.asked: deque[float] = deque()  # instants within the last minute
        self.in_flight = 0
        self.waiting = 0


class Rates:
    """Exact: no minute, wherever it begins, has more requests than a key may have."""

    def __init__(self) -> None:
        self._figures: dict[str, _Figures] = {}

    def ask(self, key: ApiKey, now_s: float) -> NotAllowed | None:
        """Count a request, unless it is one too many: those that are refused do not count."""
        asked = self._of(key).asked
        while asked and asked[0] <= now_s - MINUTE_S:
            asked.popleft()
        if len(asked) >= key.requests_per_minute:
            free_s = asked[0] + MINUTE_S if asked else now_s + MINUTE_S
            return _too_many(key, f"{key.requests_per_minute} requests a minute", free_s - now_s)
        if key.burst is not None and len(asked) >= key.burst:
            free_s = asked[-key.burst] + SECOND_S
            if free_s > now_s:
                return _too_many(key, f"{key.burst} requests within a second", free_s - now_s)
        asked.append(now_s)
        return None

    def begin(self, key: ApiKey) -> NotAllowed | None:
        """Count a request to a model as under way; its end is told by `end`."""
        figures = self._of(key)
        if figures.in_flight >= key.max_in_flight:
            return _too_many(key, f"{key.max_in_flight} requests at the same time", RETRY_S)
        figures.in_flight += 1
        return None

    def end(self, key: ApiKey) -> None:
        self._figures[key.id].in_flight -= 1

    @contextmanager
    def waits(self, key: ApiKey) -> Iterator[NotAllowed | None]:
        """Counted as one that waits for a model, for the length of the block, unless refused."""
        figures = self._of(key)
        if figures.waiting >= key.max_waiting:
            yield _too_many(key, f"{key.max_waiting} requests that wait", RETRY_S)
            return
        figures.waiting += 1
        try:
            yield None
        finally:
            figures.waiting -= 1

    def _of(self, key: ApiKey) -> _Figures:
        figures = self._figures.get(key.id)
        if figures is None:
            self._make_place()
            figures = self._figures[key.id] = _Figures()
        return figures

    def _make_place(self) -> None:
        if len(self._figures) < KEYS_MAX:
            return
        idle = [one for one, kept in self._figures.items() if not kept.in_flight + kept.waiting]
        for one in idle[: max(1, len(idle) // 2)]:
            del self._figures[one]


def _too_many(key: ApiKey, limit: str, free_in_s: float) -> NotAllowed:
    return NotAllowed(
        code=AccessCode.RATE_LIMITED,
        detail=f"The key {key.id} ({key.name}) may have {limit}.",
        remedy="Retry later; an admin can make a key with other limits.",
        retry_after_s=max(1.0, math.ceil(free_in_s)),
    )
