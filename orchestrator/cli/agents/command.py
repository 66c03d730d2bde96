"""The word `mcp`: serves the tools on standard input and output, or over HTTP at /mcp."""

from __future__ import annotations

from argparse import ArgumentTypeError
from importlib.metadata import version
from typing import TYPE_CHECKING

from orchestrator.cli.agents.tools import ToolRefused, Tools
from orchestrator.cli.commands import DONE, FAILED
from orchestrator.cli.screen import complain

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from typing import Any

    from mcp.server import MCPServer

    from orchestrator.cli.client import Remote

ABOUT = (
    "Models share the VRAM of this machine's GPUs. `status` and `plan` change nothing; `load` may "
    "make idle models leave. A refusal says what is in the way and what helps."
)
READS = frozenset({"status", "plan", "why"})
WORDS = ("status", "plan", "load", "unload", "lease", "release", "why")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--http",
        type=_address,
        metavar="[HOST:]PORT",
        help="serve streamable HTTP at /mcp there, instead of standard input and output",
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ArgumentTypeError(f"{text} is not a port, nor HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def run(remote: Remote, words: Namespace) -> int:
    try:
        server = made(remote)
    except ImportError:
        complain("The package mcp is not installed.", "pip install 'vram-orchestrator[mcp]'")
        return FAILED
    if words.http is None:
        server.run("stdio")
    else:
        host, port = words.http
        complain(f"Tools are served at http://{_in_url(host)}:{port}/mcp")
        _serve(server, host, port)
    return DONE


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _serve(server: MCPServer, host: str, port: int) -> None:
    """Until Ctrl-C. The package guards loopback alone, so its guard is off and ours on."""
    import uvicorn  # noqa: PLC0415 - all of this is slow to import, and seldom needed
    from mcp.server.transport_security import TransportSecuritySettings  # noqa: PLC0415 - an extra

    from orchestrator.cli.agents.own_names import OwnNames  # noqa: PLC0415

    unguarded = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = server.streamable_http_app(host=host, transport_security=unguarded)
    uvicorn.run(OwnNames(app, host), host=host, port=port, log_level="warning")


def made(remote: Remote) -> MCPServer:
    """The server with its tools. Raise ImportError without the package."""
    from mcp.server import MCPServer  # noqa: PLC0415 - an extra, and slow to import
    from mcp.types import ToolAnnotations  # noqa: PLC0415

    server = MCPServer(
        "vram-orchestrator",
        instructions=ABOUT,
        version=version("vram-orchestrator"),
        log_level="WARNING",
    )
    tools = Tools(remote)
    for word in WORDS:
        hints = ToolAnnotations(read_only_hint=word in READS, open_world_hint=False)
        server.tool(annotations=hints)(_said(getattr(tools, word)))
    return server


def _said(tool: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A refusal is an answer of the tool, which its agent reads."""
    from functools import wraps  # noqa: PLC0415 - with what needs it

    from mcp.server.mcpserver.exceptions import ToolError  # noqa: PLC0415 - an extra

    @wraps(tool)
    def answering(*given: Any, **named: Any) -> dict[str, Any]:
        try:
            return tool(*given, **named)
        except ToolRefused as refused:
            raise ToolError(str(refused)) from refused

    return answering
