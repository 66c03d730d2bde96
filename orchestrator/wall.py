"""The wall clock, beside the steady one that the daemon decides by.

Inside, an instant is a second of a clock that is never set, so that no lease, wait or time-out
changes when the wall clock is: by NTP, by hand, or after a sleep. Where an instant is told, or kept
with a date, it is one of the wall clock as it is set then (`told`, `moment`); what comes from
outside with such a one is `heard`. A process has one wall clock: `WALL`.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

SET_S = 0.5  # by so much it was set; less is drift, and would move what is told back and forth


class WallClock:
    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """The steady clock begins with the time of day."""
        self._wall, self._monotonic = wall, monotonic
        self._ahead_s = 0.0
        self._offset_s = self.offset_s

    @property
    def offset_s(self) -> float:
        """What the steady clock's would be if it showed the time of day."""
        return self._wall() - self._monotonic()

    def begin(self, offset_s: float) -> None:
        """Have the steady clock show that much more than the machine's own."""
        self._offset_s, self._ahead_s = offset_s, 0.0

    def steady(self) -> float:
        """Now, by the clock that never steps back. From any thread."""
        return self._offset_s + self._monotonic()

    @property
    def ahead_s(self) -> float:
        """Of the steady clock. Changes only where the wall clock was set."""
        ahead_s = self.offset_s - self._offset_s
        if abs(ahead_s - self._ahead_s) > SET_S:
            self._ahead_s = ahead_s if abs(ahead_s) > SET_S else 0.0
        return self._ahead_s

    def told(self, at_s: float) -> float:
        return at_s + self.ahead_s

    def heard(self, wall_s: float) -> float:
        return wall_s - self.ahead_s

    def moment(self, at_s: float) -> datetime:
        return datetime.fromtimestamp(self.told(at_s), UTC)


WALL = WallClock()
