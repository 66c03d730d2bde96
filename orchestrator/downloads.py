"""What is being brought here, in figures: the files of models, the images of services."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from orchestrator.hub import Phase, Progress
from orchestrator.wall import WALL

RATE_S = 2.0  # between two measurements of the rate: what arrives comes in bursts
HEARD_S_MAX = 10.0  # a rate of longer ago is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One of them at one instant. Sizes are those of all that belongs to it together."""

    source: str  # the reference on a hub, or the image
    file: str  # of several the first; the source until it is known
    phase: Phase
    started_s: float
    done_bytes: int = 0
    total_bytes: int | None = None  # not known before the other side has answered
    rate: float | None = None  # bytes a second, lately; None: nothing arrives, or too early to say
    detail: str = ""  # why it pauses


class Arriving:
    """Belongs to the thread that brings it; `now` may be read by others."""

    def __init__(self, source: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mark: tuple[float, int] | None = None  # from where the rate is measured
        self._heard_s = began_s = clock()
        self._said = Download(source=source, file=source, phase=Phase.ASKING, started_s=began_s)

    def hear(self, progress: Progress) -> None:
        before, self._heard_s = self._said, self._clock()
        named = before.file != before.source
        self._said = Download(
            source=before.source,
            file=before.file if named else progress.file or before.file,
            phase=progress.phase,
            started_s=before.started_s,
            done_bytes=progress.done_bytes,
            total_bytes=progress.total_bytes or None,
            rate=self._rate(progress),
            detail=progress.detail,
        )

    def _rate(self, progress: Progress) -> float | None:
        """What was here before is counted at once, and would pass for a very fast line."""
        if progress.phase is not Phase.DOWNLOADING:
            self._mark = None
            return None
        if self._mark is None:
            self._mark = self._heard_s, progress.done_bytes
            return None
        since_s, before = self._mark
        if (passed_s := self._heard_s - since_s) < RATE_S:
            return self._said.rate
        self._mark = self._heard_s, progress.done_bytes
        return max(0, progress.done_bytes - before) / passed_s

    @property
    def now(self) -> Download:
        silent = self._clock() - self._heard_s > HEARD_S_MAX
        return replace(self._said, rate=None) if silent else self._said


class Downloads:
    """Those that are under way, whoever began them. For the loop."""

    def __init__(self, clock: Callable[[], float] = WALL.steady) -> None:
        self._clock = clock
        self._arriving: dict[int, Arriving] = {}
        self._begun = 0

    @contextmanager
    def one(self, source: str) -> Iterator[Arriving]:
        """It is under way for the length of the block."""
        self._begun += 1
        key, arriving = self._begun, Arriving(source, self._clock)
        self._arriving[key] = arriving
        try:
            yield arriving
        finally:
            del self._arriving[key]

    def all(self) -> tuple[Download, ...]:
        """Oldest first."""
        return tuple(arriving.now for arriving in self._arriving.values())
