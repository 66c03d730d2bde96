"""The clock that the daemon decides by."""

import time

from orchestrator.ports import Clock


def steady_clock() -> Clock:
    """Wall time at the start, and from there on by the clock that never steps back."""
    offset_s = time.time() - time.monotonic()
    return lambda: offset_s + time.monotonic()
