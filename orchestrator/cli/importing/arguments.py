"""What `import` and `init` are told. The rest of them is imported when they run."""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def import_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="llama-swap|ollama")
    swap = kinds.add_parser("llama-swap", help="its config.yaml")
    swap.add_argument("file", type=Path, metavar="FILE", help="such as config.yaml")
    ollama = kinds.add_parser("ollama", help="the models in its store")
    ollama.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="else OLLAMA_MODELS")


def import_run(words: argparse.Namespace) -> int:
    from orchestrator.cli.importing.command import import_configuration

    return import_configuration(words)


def init_arguments(parser: argparse.ArgumentParser) -> None:
    there = Path("orchestrator.yaml")
    parser.add_argument(
        "file", nargs="?", type=Path, default=there, metavar="FILE", help="what is written"
    )
    parser.add_argument("--force", action="store_true", help="overwrite it")
    parser.add_argument(
        "--models", action="append", type=Path, metavar="DIR", help="look for models there too"
    )


def init_run(words: argparse.Namespace) -> int:
    from orchestrator.cli.importing.command import init

    return init(words)


INIT = ("init", "write a first configuration for this machine", init_arguments, init_run)
IMPORT = (
    "import",
    "write the configuration of another program as ours",
    import_arguments,
    import_run,
)
