"""Where the daemon listens."""

import socket

from orchestrator.daemon.http_server import BACKLOG


def listener_at(host: str, port: int, remedy: str) -> socket.socket:
    """A caller that connects before the daemon serves waits, and is not refused.

    Raise OSError with the remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        cannot = f"{host}:{port} cannot be listened on: {error.strerror or error}"
        raise OSError(f"{cannot}. {remedy}") from error
