"""Which version is installed: the word `version`, and `--version` as other programs have it."""
# ruff: noqa: PLC0415 - what is slow to import is imported by the word that needs it

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from orchestrator.cli.commands import DONE
from orchestrator.cli.screen import say


class SayVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        say_version()
        parser.exit(DONE)


def version(_: argparse.Namespace) -> int:
    say_version()
    return DONE


def say_version() -> None:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        installed = version_of("vram-orchestrator")
    except PackageNotFoundError:
        installed = "from a source tree, not installed"
    say(f"orchestrator {installed} (Python {sys.version.split()[0]})")
