"""The socket over which our own nginx asks the daemon."""

import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.config.edge import DAEMON_SOCKET
from orchestrator.config.edge_section import EdgeSettings
from orchestrator.daemon.http_server import BACKLOG

# Whoever can open it says whom a request is of: nginx of the same user, or of the group to which
# the folder was given, as in the compose stack. Then the folder alone keeps others out.
FOLDER_MODE, SOCKET_MODE = 0o700, 0o600
GROUPS_FOLDER_MODE, GROUPS_SOCKET_MODE = 0o770, 0o666


@contextmanager
def edge_socket(edge: EdgeSettings | None) -> Iterator[tuple[EdgeSettings, socket.socket] | None]:
    """None: there is no edge. Raise OSError.

    Its path stays behind: nginx then hears at once that nobody listens.
    """
    if edge is None or edge.dir is None:
        yield None
        return
    folder = Path(edge.dir)
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    is_groups = bool(mode & stat.S_IWGRP)
    heirs = mode & stat.S_ISGID  # files of the group: keys and routes are read by it
    wanted = GROUPS_FOLDER_MODE | heirs if is_groups else FOLDER_MODE
    if mode != wanted:  # who is not of that group would take the group from its files by it
        folder.chmod(wanted)
    path = folder / DAEMON_SOCKET
    path.unlink(missing_ok=True)  # of a daemon before us: the registry is ours alone
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(GROUPS_SOCKET_MODE if is_groups else SOCKET_MODE)
        listener.listen(BACKLOG)
        yield edge, listener
