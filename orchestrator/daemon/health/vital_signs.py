"""Whether the daemon lives: what its event loop says of itself, and what its silence means.

The loop writes and the thread that answers for it reads, one attribute at a time: no lock, so
neither waits for the other.

Silence is counted by looks, and no look adds more than `STEP_S_MAX`: of a process that stood still
(SIGSTOP, a machine that slept) the thread stood still too, and the loop has its bound anew.
"""

import time
from collections.abc import Callable
from enum import StrEnum

BEAT_S = 1.0  # between two signs of life of the loop
LOOK_S = 1.0  # between two looks for them, at most
STEP_S_MAX = 2 * LOOK_S  # beyond it the thread itself stood still
HUNG_S = 10.0  # ten signs that did not come: no turn of the loop takes a tenth of it


class Stage(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    ENDING = "ending"


class VitalSigns:
    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.stage = Stage.STARTING
        self.able = False  # to do its work, when the loop last said so
        self._works: Callable[[], bool] = lambda: False
        self._beats = 0
        self._now = now
        self._seen = 0
        self._looked_s = now()
        self._silent_s = 0.0

    # --- the loop's ------------------------------------------------------------------------------

    def serves(self, works: Callable[[], bool]) -> None:
        """The start is over; `works` is asked with every beat. An end that has begun goes on."""
        self._works = works
        if self.stage is Stage.STARTING:
            self.stage = Stage.SERVING
        self.beat()

    def ends(self) -> None:
        self.stage = Stage.ENDING

    def beat(self) -> None:
        self._beats += 1
        self.able = self._works()

    # --- the thread's ----------------------------------------------------------------------------

    def look(self) -> None:
        """Called at least every `LOOK_S`, while this process runs at all."""
        now_s = self._now()
        passed_s = min(now_s - self._looked_s, STEP_S_MAX)
        self._looked_s = now_s
        beats = self._beats
        self._silent_s = 0.0 if beats != self._seen else self._silent_s + passed_s
        self._seen = beats

    @property
    def hung_s(self) -> float | None:
        """For so long the loop has not turned, as of the last look; None: it turns."""
        return self._silent_s if self._silent_s >= HUNG_S else None
