"""What `service` is told. The rest of it is imported when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    OfServe = Callable[[argparse.ArgumentParser], None]


def arguments(of_serve: OfServe) -> OfServe:
    """`install` takes all that `serve` takes: the service runs it."""

    def added(parser: argparse.ArgumentParser) -> None:
        kinds = parser.add_subparsers(dest="kind", required=True, metavar="install|status|remove")
        install = kinds.add_parser("install", help="have systemd run the daemon from now on")
        of_serve(install)
        install.add_argument("--as", dest="user", metavar="USER", help="of the system's: who it is")
        install.add_argument(
            "--print", action="store_true", help="show the unit and do nothing else"
        )
        status = kinds.add_parser("status", help="whether it runs; exit code 1 if not")
        remove = kinds.add_parser("remove", help="end it, and the models that it started")
        remove.add_argument("--keep-models", action="store_true", help="let them run on")
        for kind in (install, status, remove):
            scope = kind.add_mutually_exclusive_group()
            scope.add_argument(
                "--system", action="store_true", help="of the system; root's default"
            )
            scope.add_argument("--user", dest="own", action="store_true", help="of this user alone")

    return added


def run(words: argparse.Namespace) -> int:
    from orchestrator.cli.service.command import service  # noqa: PLC0415 - see above

    return service(words)
