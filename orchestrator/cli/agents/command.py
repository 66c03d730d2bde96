"""The word `mcp`: serves the tools on standard input and output, or over HTTP at /mcp.

On standard input and output there is one caller, who started this process: the key is the
process's own. Over HTTP each message is carried out with the key that its caller sends; ours would
be lent to whoever reaches the address.
"""

from __future__ import annotations

import inspect
from argparse import ArgumentTypeError
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from orchestrator.cli.agents.tools import ToolRefused, Tools
from orchestrator.cli.commands import DONE, FAILED
from orchestrator.cli.screen import complain

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Mapping
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
        server = made(remote, over_http=words.http is not None)
    except ImportError:
        complain("The package mcp is not installed.", "pip install 'vram-orchestrator[mcp]'")
        return FAILED
    if words.http is None:
        server.run("stdio")
    else:
        host, port = words.http
        complain(f"Tools are served at http://{_in_url(host)}:{port}/mcp")
        if remote.api_key is not None:
            complain("Callers send keys of their own: the one of this process is not used.")
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


def made(remote: Remote, *, over_http: bool = False) -> MCPServer:
    """The server with its tools. Raise ImportError without the package."""
    from mcp.server import MCPServer  # noqa: PLC0415 - an extra, and slow to import
    from mcp.types import ToolAnnotations  # noqa: PLC0415

    server = MCPServer(
        "vram-orchestrator",
        instructions=ABOUT,
        version=version("vram-orchestrator"),
        log_level="WARNING",
    )

    def remote_of(headers: Mapping[str, str] | None) -> Remote:
        return replace(remote, api_key=key_in(headers or {})) if over_http else remote

    for word in WORDS:
        hints = ToolAnnotations(read_only_hint=word in READS, open_world_hint=False)
        server.tool(annotations=hints)(_said(word, remote_of))
    return server


def key_in(headers: Mapping[str, str]) -> str | None:
    """The caller's. Whether it is one, the daemon says."""
    kind, _, key = headers.get("authorization", "").partition(" ")
    return (key.strip() or None) if kind.lower() == "bearer" else None


def _said(
    word: str, remote_of: Callable[[Mapping[str, str] | None], Remote]
) -> Callable[..., dict[str, Any]]:
    """The tool of that name. A refusal is an answer of it, which its agent reads."""
    from functools import wraps  # noqa: PLC0415 - with what needs it

    from mcp.server.mcpserver import Context  # noqa: PLC0415 - an extra
    from mcp.server.mcpserver.exceptions import ToolError  # noqa: PLC0415

    tool = getattr(Tools, word)

    @wraps(tool)
    def answering(*given: Any, context: Context[Any, Any], **named: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = tool(Tools(remote_of(context.headers)), *given, **named)
        except ToolRefused as refused:
            raise ToolError(str(refused)) from refused
        return answer

    # The package gives the context to whatever names it, and shows agents the other parameters.
    signature = inspect.signature(tool, eval_str=True)
    _, *shown = signature.parameters.values()
    asked = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=Context)
    told = signature.replace(parameters=[*shown, asked])
    answering.__signature__ = told  # type: ignore[attr-defined]
    answering.__annotations__ = {**tool.__annotations__, "context": Context}
    return answering
