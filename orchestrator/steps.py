"""How long the steps of a load and of a stop take, in the log at debug.

`serve --verbose` shows them, and `bench/bench_swap.py` says by them where the time of a swap goes.
Steps that overlap are said all the same: the time between two lines is nobody's.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("orchestrator.steps")


@contextmanager
def step(name: str, model: str) -> Iterator[None]:
    """Say how long the block took, also where it breaks off."""
    began_s = time.perf_counter()
    try:
        yield
    finally:
        log.debug("%s of %s: %.1f ms", name, model, 1e3 * (time.perf_counter() - began_s))
