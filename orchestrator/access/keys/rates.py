"""How much one caller asks: requests a minute, and how many of its at once. In memory only."""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

from orchestrator.access.keys.decision import AccessCode, NotAllowed
from orchestrator.access.keys.record import ApiKey

MINUTE_S = 60.0
SECOND_S = 1.0
RETRY_S = 1.0  # where a place is free when a request ends, which is not known before
CARRIED_MAX = 60_000  # of a time: no key has more in a minute
KEYS_MAX = 10_000  # whose figures are kept: those of keys that asked least lately go first


class _Figures:
    __slots__ = ("asked", "carried", "in_flight", "under_way", "waiting")

    def __init__(self) -> None:
        self.asked: deque[float] = deque()  # instants within the last minute
        self.carried: deque[float] = deque()  # by nginx, as it is told here
        self.in_flight = 0
        self.under_way = 0  # at nginx
        self.waiting = 0

    @property
    def idle(self) -> bool:
        return not self.in_flight + self.under_way + self.waiting

    def forget_before(self, instant_s: float) -> None:
        for asked in (self.asked, self.carried):
            while asked and asked[0] <= instant_s:
                asked.popleft()

    def oldest(self) -> float:
        return min(asked[0] for asked in (self.asked, self.carried) if asked)

    def newest(self, count: int) -> list[float]:
        """So many at most, the oldest first."""
        late = (*islice(reversed(self.asked), count), *islice(reversed(self.carried), count))
        return sorted(late)[-count:]


class Rates:
    """Exact: no minute, wherever it begins, has more requests than a key may have."""

    def __init__(self) -> None:
        self._figures: dict[str, _Figures] = {}

    def ask(self, key: ApiKey, now_s: float, *makers: ApiKey) -> NotAllowed | None:
        """Count a request, unless it is one too many: those that are refused do not count. It
        counts for `makers` too, the keys that it was made with: making keys makes no more room.
        """
        counted = (key, *makers)
        for one in counted:
            if (refused := self._full(one, now_s)) is not None:
                return refused
        for one in counted:
            self._of(one.id).asked.append(now_s)
        return None

    def _full(self, key: ApiKey, now_s: float) -> NotAllowed | None:
        figures = self._of(key.id)
        figures.forget_before(now_s - MINUTE_S)
        count = len(figures.asked) + len(figures.carried)
        if count >= key.requests_per_minute:
            free_s = figures.oldest() + MINUTE_S
            return _too_many(key, f"{key.requests_per_minute} requests a minute", free_s - now_s)
        if key.burst is not None and count >= key.burst:
            free_s = figures.newest(key.burst)[0] + SECOND_S
            if free_s > now_s:
                return _too_many(key, f"{key.burst} requests within a second", free_s - now_s)
        return None

    def begin(self, key: ApiKey) -> NotAllowed | None:
        """Count a request to a model as under way; its end is told by `end`."""
        figures = self._of(key.id)
        if figures.in_flight + figures.under_way >= key.max_in_flight:
            return _too_many(key, f"{key.max_in_flight} requests at the same time", RETRY_S)
        figures.in_flight += 1
        return None

    def end(self, key: ApiKey) -> None:
        self._figures[key.id].in_flight -= 1

    @contextmanager
    def waits(self, key: ApiKey) -> Iterator[NotAllowed | None]:
        """Counted as one that waits for a model, for the length of the block, unless refused."""
        figures = self._of(key.id)
        if figures.waiting >= key.max_waiting:
            yield _too_many(key, f"{key.max_waiting} requests that wait", RETRY_S)
            return
        figures.waiting += 1
        try:
            yield None
        finally:
            figures.waiting -= 1

    def carried(self, id_: str, count: int, under_way: int, now_s: float) -> None:
        """So many more were let in by nginx, and so many are under way there."""
        figures = self._of(id_)
        figures.forget_before(now_s - MINUTE_S)
        figures.carried.extend([now_s] * min(count, CARRIED_MAX))
        figures.under_way = under_way

    def spent(self, now_s: float) -> Mapping[str, tuple[int, int]]:
        """By key, what was let in here: requests within the last minute, and those under way."""
        spent = {}
        for id_, figures in self._figures.items():
            figures.forget_before(now_s - MINUTE_S)
            if figures.asked or figures.in_flight:
                spent[id_] = len(figures.asked), figures.in_flight
        return spent

    def _of(self, id_: str) -> _Figures:
        figures = self._figures.get(id_)
        if figures is None:
            self._make_place()
            figures = self._figures[id_] = _Figures()
        return figures

    def _make_place(self) -> None:
        if len(self._figures) < KEYS_MAX:
            return
        idle = [one for one, kept in self._figures.items() if kept.idle]
        for one in idle[: max(1, len(idle) // 2)]:
            del self._figures[one]


def _too_many(key: ApiKey, limit: str, free_in_s: float) -> NotAllowed:
    return NotAllowed(
        code=AccessCode.RATE_LIMITED,
        detail=f"The key {key.id} ({key.name}) may have {limit}.",
        remedy="Retry later; an admin can make a key with other limits.",
        retry_after_s=max(1.0, math.ceil(free_in_s)),
    )
