"""Open files: how many this process may have, and how many of them are for callers.

Callers cost memory too: a small container has connections for fewer of them.

A daemon without descriptors can neither accept, read a device, start nor stop anything. So the
limit is raised as far as the system allows, and callers get what is left beside the daemon's own.
"""

import resource
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.cgroups import allowed_bytes

# The daemon's own: the registry, the loop, looks at servers (100) and at Docker (16), one for each
# server that runs, files that are being read.
RESERVED = 256
RESERVED_PART = 2  # where there are few: half of them
MEMORY_PART = 4  # of what the process may have, for connections
CONNECTION_BYTES = 64 << 10  # the largest head of a request; one that is idle takes a tenth of it
WAITING_PART = 0.75  # of connections; the others are for those who are answered at once


@dataclass(frozen=True, slots=True)
class Budget:
    connections: int  # of callers at once; one more is refused, and closed
    waiting: int  # callers that wait or listen at once


def raise_limit() -> int:
    """Raise the limit to what the system allows. Return what it was: what servers are given.

    A server that uses select() breaks on descriptors beyond 1024: it gets the limit that it would
    have had without us.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # the kernel's own maximum was lowered: as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def budget() -> Budget:
    """Of the limits as they are now."""
    return budget_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0], allowed_bytes())


def budget_of(limit: int, memory_bytes: int) -> Budget:
    connections = max(1, limit - min(RESERVED, limit // RESERVED_PART))
    connections = min(connections, max(1, memory_bytes // MEMORY_PART // CONNECTION_BYTES))
    return Budget(connections, max(1, int(connections * WAITING_PART)))
