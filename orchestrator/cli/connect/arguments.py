"""What `connect` is told. The rest of it is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

URL = "ORCHESTRATOR_URL"
API_KEY, API_KEY_FILE = "ORCHESTRATOR_API_KEY", "ORCHESTRATOR_API_KEY_FILE"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", nargs="?", metavar="CLIENT", help="without it, all are listed")
    parser.add_argument("--write", action="store_true", help="put them where the client reads them")
    parser.add_argument("--file", type=Path, metavar="FILE", help="with --write: there instead")
    parser.add_argument("--url", help=f"of the daemon, as the client reaches it; else {URL}")
    parser.add_argument("--model", metavar="NAME", help="else one of the daemon's")
    key = f"with the key for the daemon; else {API_KEY}, or the file that {API_KEY_FILE} names"
    parser.add_argument("--key-file", metavar="FILE", help=key)


def run(words: argparse.Namespace) -> int:
    from orchestrator.cli.connect.command import connect  # noqa: PLC0415 - see above

    return connect(words)
