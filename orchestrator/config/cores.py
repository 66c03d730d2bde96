"""How many threads a model server on this machine should compute with."""

import os

import psutil


def physical_cores() -> int:
    """Cores this process may run on, hyper-threads not counted twice; at least one.

    Generation is bound by memory bandwidth: a second thread on the same core makes it slower.
    """
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))
