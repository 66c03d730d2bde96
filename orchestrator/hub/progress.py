"""How far a pull is, and how patient it may be."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

CONNECT_S_MAX = 10.0  # a hub that cannot be reached in ten seconds is not reachable
READ_S_MAX = 30.0  # a connection that is silent this long is broken; what arrived is kept
ATTEMPTS_MAX = 5  # in a row without one new byte: with the pauses between them half a minute
PAUSE_S_MAX = 16.0  # between attempts; more would look like a hang
RETRY_AFTER_S_MAX = 120.0  # what a busy hub may ask for; hubs count in windows of minutes
LOCK_IDLE_S_MAX = 120.0  # another pull that writes nothing for so long hangs
_MIB = 1 << 20
TICK_S = 1.0  # while nothing arrives: how soon a cancellation is noticed


class Phase(StrEnum):
    ASKING = "asking"  # the hub, what there is
    CHECKING = "checking"  # what an earlier pull left
    DOWNLOADING = "downloading"
    PAUSED = "paused"  # the hub or the network is not well
    WAITING = "waiting"  # another process downloads the same file
    OFFLINE = "offline"  # the hub does not answer; what is here is used
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Counts the bytes of all files of the model together; 0 of 0 before the hub has answered."""

    phase: Phase
    file: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    detail: str = ""  # why it pauses

    @property
    def percent(self) -> int:
        return 100 * self.done_bytes // self.total_bytes if self.total_bytes else 0

    def in_words(self) -> str:
        words = f"{self.phase} {self.file}".strip()
        if self.total_bytes:
            done, total = self.done_bytes // _MIB, self.total_bytes // _MIB
            words += f": {self.percent} %, {done} of {total} MiB"
        return f"{words} ({self.detail})" if self.detail else words


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Every bound of a pull, and the sleep that a test replaces."""

    connect_s: float = CONNECT_S_MAX
    read_s: float = READ_S_MAX
    attempts: int = ATTEMPTS_MAX
    pause_s: float = PAUSE_S_MAX
    retry_after_s: float = RETRY_AFTER_S_MAX
    lock_idle_s: float = LOCK_IDLE_S_MAX
    sleep: Callable[[float], None] = time.sleep


class Meter:
    """Keeps the count of one pull and reports it. The report may raise to end the pull."""

    def __init__(self, report: Report, patience: Patience) -> None:
        self._report = report
        self._patience = patience
        self._now = Progress(phase=Phase.ASKING)

    def say(self, phase: Phase, *, file: str | None = None, detail: str = "") -> None:
        name = self._now.file if file is None else file
        self._now = replace(self._now, phase=phase, file=name, detail=detail)
        self._report(self._now)

    def expect(self, total_bytes: int) -> None:
        self._now = replace(self._now, total_bytes=total_bytes)

    def count(self, more: int) -> None:
        """Add bytes; negative when what was counted turned out to be useless."""
        self._now = replace(self._now, done_bytes=self._now.done_bytes + more)

    def pause(self, seconds: float, detail: str) -> None:
        """Wait, and keep asking whether the wait is still wanted."""
        left = seconds
        while left > 0:
            self.say(Phase.PAUSED, detail=detail)
            self._patience.sleep(min(left, TICK_S))
            left -= TICK_S
