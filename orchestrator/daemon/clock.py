"""The clock that the daemon decides by, over restarts.

Ends of leases and times of use are written down as it shows them. So it goes on where it was: in
one boot of the machine by the machine's own clock, whatever became of the wall clock meanwhile, and
after a reboot by the wall clock, but never before what was written down.
"""

import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.ports import Clock
from orchestrator.records import Memory
from orchestrator.wall import WALL, WallClock

NAME = "clock"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CHARS_MAX = 1000  # of the file

log = logging.getLogger("orchestrator")


@dataclass(frozen=True, slots=True)
class _Kept:
    boot: str
    offset_s: float  # of the steady clock, in that boot
    ahead_s: float  # the wall clock was, of the steady one


class SteadyClock:
    """Begins when it is made; `keep` writes down what a reboot has to know."""

    def __init__(
        self,
        state_dir: Path,
        memory: Memory,
        *,
        wall: WallClock = WALL,
        boot_id: Path = BOOT_ID,
    ) -> None:
        """Reads and writes a file. Never raises: without it, as with a first start."""
        self._path, self._wall, self._boot = state_dir / NAME, wall, _text(boot_id)
        self._kept = before = _read(self._path)
        offset_s = wall.offset_s
        if before is not None and before.boot == self._boot != "":
            offset_s = before.offset_s
        elif before is not None:
            offset_s -= before.ahead_s
        wall.begin(offset_s)
        self._offset_s = offset_s + max(0.0, _reached_s(memory) - wall.steady())
        wall.begin(self._offset_s)
        self.keep()

    @property
    def clock(self) -> Clock:
        return self._wall.steady

    def keep(self) -> None:
        """Write it down, where it is not yet, or the wall clock was set. Waits for the disk."""
        now = _Kept(self._boot, self._offset_s, self._wall.ahead_s)
        if self._kept == now:
            return
        try:
            draft = self._path.with_suffix(".tmp")
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(asdict(now)))
            draft.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror or error)
        else:
            self._kept = now


def _reached_s(memory: Memory) -> float:
    """The latest instant that was written down: the clock had come so far."""
    leased = (lease.granted_s for lease in memory.leases)
    lives = [record.resident for record in memory.residents]
    seen = (at_s for life in lives for at_s in (life.state_since_s, life.last_used_s))
    return max(*leased, *seen, 0.0, 0.0)


def _read(path: Path) -> _Kept | None:
    """None: there is none, or it does not say what it should."""
    try:
        said = json.loads(_text(path))
        kept = _Kept(str(said["boot"]), float(said["offset_s"]), float(said["ahead_s"]))
    except (ValueError, TypeError, LookupError):
        return None
    return kept if math.isfinite(kept.offset_s) and math.isfinite(kept.ahead_s) else None


def _text(path: Path) -> str:
    """Empty where it cannot be read."""
    try:
        with path.open() as file:
            return file.read(CHARS_MAX).strip()
    except (OSError, ValueError):
        return ""
