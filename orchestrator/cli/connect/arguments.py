"""What `connect` is told. The rest of it is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

URL, API_KEY = "ORCHESTRATOR_URL", "ORCHESTRATOR_API_KEY"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", nargs="?", metavar="CLIENT", help="without it, all are listed")
    parser.add_argument("--write", action="store_true", help="put them where the client reads them")
    parser.add_argument("--file", type=Path, metavar="FILE", help="with --write: there instead")
    parser.add_argument("--url", help=f"of the daemon, as the client reaches it; else {URL}")
    parser.add_argument("--model", metavar="NAME", help="else one of the daemon's")
    parser.add_argument("--key", help=f"for the daemon; else {API_KEY}")


def run(words: argparse.Namespace) -> int:
    from orchestrator.cli.connect.command import connect  # noqa: PLC0415 - see above

    return connect(words)
