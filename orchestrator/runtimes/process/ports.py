"""Ports for servers: one that nothing else is given, and who listens on it.

A server binds its port seconds after it was chosen. Meanwhile the kernel may give it to anything
else on the machine, also to another model server, which would then answer in its place.
"""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
_LISTENS = "0A"  # as /proc/net/tcp writes TCP_LISTEN
_SOCKET = "socket:["


def reserved_port(host: str) -> int:
    """A port that the kernel gives to nothing else for the next minute. Raise OSError.

    A connection of our own leaves it in TIME_WAIT: the kernel passes over such a port when it
    chooses one, and a server that names it may bind it, since servers set SO_REUSEADDR.
    """
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
        with socket.create_connection((host, port)) as caller:
            accepted, _ = listener.accept()
            accepted.close()  # the side that closes first is the one that waits
            caller.recv(1)
    return port


def listens(pids: Iterable[int], port: int) -> bool:
    """Whether one of the processes listens on the port; True where they do not let us see.

    Raise OSError if the kernel does not tell.
    """
    listeners = _listeners(port)
    return bool(listeners) and any(_holds(pid, listeners) for pid in pids)


def _listeners(port: int) -> frozenset[str]:
    """What /proc/PID/fd calls the sockets that listen on the port."""
    wanted = f":{port:04X}"
    found = set()
    for table in ("net/tcp", "net/tcp6"):
        with suppress(FileNotFoundError):  # a kernel without IPv6
            for line in (PROC / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == _LISTENS:
                    found.add(f"{_SOCKET}{fields[9]}]")
    return frozenset(found)


def _holds(pid: int, sockets: frozenset[str]) -> bool:
    folder = PROC / str(pid) / "fd"
    try:
        descriptors = os.listdir(folder)  # noqa: PTH208 - names only
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:  # a program that runs as another user
        return True
    for descriptor in descriptors:
        with suppress(OSError):  # closed meanwhile
            if os.readlink(folder / descriptor) in sockets:  # noqa: PTH115 - a name, not a path
                return True
    return False
