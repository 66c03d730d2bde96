"""The word `serve`: which configuration runs, and with which folders of models."""
# ruff: noqa: PLC0415 - what is slow to import is imported by the word that needs it

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.commands import DONE, FAILED, MISUSED
from orchestrator.cli.screen import complain


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="DIR", help="every GGUF under it is a model"
    )
    parser.add_argument(
        "--models-dir", action="append", default=[], type=Path, metavar="DIR", help="the same"
    )
    file = "else ORCHESTRATOR_CONFIG, else the embedded default"
    parser.add_argument("--config", type=Path, metavar="FILE", help=file)
    parser.add_argument("--host", help="instead of server.host")
    parser.add_argument("--port", type=_port, help="instead of server.port; 0: any free one")
    parser.add_argument("--health-port", type=_port, help="instead of server.health_port")
    parser.add_argument(
        "--verbose", action="store_true", help="log how long the steps of loads and stops take"
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is 0 to 65535")
    return port


def run(words: argparse.Namespace) -> int:
    from orchestrator.config.embedded import chosen
    from orchestrator.config.loading import Overrides
    from orchestrator.daemon.serve import serve as run_daemon
    from orchestrator.errors import ConfigInvalid, OrchestratorError

    folders = (*words.folders, *words.models_dir)
    if missing := [folder for folder in folders if not folder.is_dir()]:
        complain(*(f"There is no folder {folder}." for folder in missing))
        return MISUSED
    try:
        run_daemon(
            chosen(words.config, folders),
            Overrides(
                host=words.host,
                port=words.port,
                health_port=words.health_port,
                folders=folders,
            ),
            verbose=words.verbose,
        )
    except ConfigInvalid as error:
        complain(*error.mistakes)
        return MISUSED
    except OrchestratorError as error:
        complain(str(error))
        return FAILED
    except OSError as error:
        complain(f"The daemon cannot start: {error}.", "`orchestrator doctor` says what is wrong.")
        return FAILED
    return DONE
