"""The word `audit`: whether the lines of the log follow one another."""
# ruff: noqa: PLC0415 - what is slow to import is imported by the word that needs it

from __future__ import annotations

import argparse
import json
from pathlib import Path

from orchestrator.cli.commands import DONE, FAILED, MISUSED
from orchestrator.cli.screen import complain, plain, say, say_exactly


def arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="verify")
    verify = kinds.add_parser("verify", help="name the first line that was changed; exit code 1")
    verify.add_argument("--head", metavar="SEQ:HASH", help="a last line that was noted elsewhere")
    file = "whose state_dir; else ORCHESTRATOR_CONFIG, else the embedded default"
    verify.add_argument("--config", type=Path, metavar="FILE", help=file)
    verify.add_argument("--json", action="store_true", help="print the result as JSON")


def run(words: argparse.Namespace) -> int:
    from orchestrator.access.audit.chain import BrokenChain, files_of, read_head, verify
    from orchestrator.catalogue.predictions import Predictions
    from orchestrator.config.embedded import chosen
    from orchestrator.config.loading import load_config
    from orchestrator.errors import ConfigInvalid
    from orchestrator.gguf.headers import Headers

    try:
        noted = None if words.head is None else read_head(words.head)
        estimate = Predictions(Headers()).footprint
        config = load_config(chosen(words.config), estimate=estimate, lenient=True)
        folder = config.state_dir
    except ValueError as error:
        complain(f"--head {plain(words.head)}: {error}.")
        return MISUSED
    except ConfigInvalid as error:
        complain(*error.mistakes)
        return MISUSED
    try:
        if not files_of(folder):
            complain(f"There is no audit log in {folder}.", "Is it another --config, or user?")
            return FAILED
        followed = verify(folder, noted)
    except BrokenChain as broken:
        if words.json:
            told = {"file": str(broken.file), "line": broken.line, "reason": broken.reason}
            say_exactly(json.dumps({"unbroken": False, **told}))
        complain(plain(f"{broken}."))
        return FAILED
    except OSError as error:
        complain(f"The audit log cannot be read: {error}.")
        return FAILED
    head = followed.head
    if words.json:
        told = {"head": str(head), "first": followed.first, "files": followed.files}
        say_exactly(json.dumps({"unbroken": True, **told, "torn_bytes": followed.torn_bytes}))
        return DONE
    say(f"Unbroken: lines {followed.first} to {head.seq}, in {followed.files} file(s).")
    if followed.torn_bytes:
        say("Its last line was cut off by a kill; the daemon's next start repairs and says that.")
    if noted is not None and noted.seq < followed.first:
        say(f"Line {noted.seq} was noted and is no longer kept.")
    say(f"Head {head}")
    return DONE
