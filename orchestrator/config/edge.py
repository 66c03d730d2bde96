"""Where the edge keeps its things, and what does not go with that."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from orchestrator.config.edge_section import EdgeSettings
from orchestrator.config.sections import Document
from orchestrator.config.yaml_lines import Mistake

FOLDER = "edge"
DAEMON_SOCKET = "daemon.sock"  # the daemon listens, the edge asks
CONTROL_SOCKET = "control.sock"  # the edge listens, the daemon says and asks
SOCKET_BYTES_MAX = 107  # the kernel's limit of a socket's path


def placed_edge(edge: EdgeSettings, state_dir: str, absolute: Callable[[str], str]) -> EdgeSettings:
    """With its folder, which is absolute."""
    return replace(edge, dir=absolute(f"{state_dir}/{FOLDER}" if edge.dir is None else edge.dir))


def edge_mistakes(document: Document) -> Iterator[Mistake]:
    """Of a document whose paths are absolute."""
    edge = document.edge
    if edge is None or edge.dir is None:
        return
    longest = f"{edge.dir}/{max(DAEMON_SOCKET, CONTROL_SOCKET, key=len)}"
    if len(longest.encode()) > SOCKET_BYTES_MAX:
        sentence = f"{longest} is longer than the {SOCKET_BYTES_MAX} bytes of a socket's path"
        yield Mistake(("edge", "dir"), f"{sentence}: choose a folder with a shorter one")
    server = document.server
    if edge.port == server.port and edge.host == server.host:
        sentence = f"is the daemon's own (server.port, {server.port})"
        yield Mistake(("edge", "port"), f"{sentence}: choose another for one of them")
