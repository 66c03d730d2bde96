"""The word `doctor`: what this machine has, what is missing, and what to do about it."""
# ruff: noqa: PLC0415 - what is slow to import is imported by the word that needs it

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.client import Answer
from orchestrator.cli.commands import DONE, FAILED, MISUSED, show
from orchestrator.cli.render import findings_lines
from orchestrator.cli.screen import complain

if TYPE_CHECKING:
    from orchestrator.cli.client import Json


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="else ORCHESTRATOR_CONFIG, else the embedded one",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE",
        help="write what helps into a .tar.gz, without secrets",
    )


def run(words: argparse.Namespace) -> int:
    from orchestrator.catalogue.predictions import Predictions
    from orchestrator.cli.bundle import bundled
    from orchestrator.cli.doctor import examine, needs_help
    from orchestrator.config.embedded import chosen
    from orchestrator.config.loading import load_config
    from orchestrator.errors import ConfigInvalid
    from orchestrator.gguf.headers import Headers

    try:
        # One model that cannot be loaded is a finding, and no reason to look at nothing.
        checked = load_config(
            chosen(words.config),
            estimate=Predictions(Headers()).footprint,
            lenient=True,
        )
    except ConfigInvalid as error:
        complain(*error.mistakes)
        return MISUSED
    environ = os.environ  # noqa: TID251 - where programs are looked for, and the daemon
    findings = examine(checked, environ.get("PATH", ""), environ.get("ORCHESTRATOR_URL"))
    told: Json = {"findings": [asdict(found) for found in findings]}
    answer = Answer(told, json.dumps(told, indent=2))
    show(answer, lambda _: findings_lines(findings), as_json=words.json)
    if words.bundle is not None:
        complain(bundled(words.bundle, checked, answer.text, environ))
    return FAILED if needs_help(findings) else DONE
