"""Where the things of a service lie, what a person types, and where the daemon listens."""

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli.service import systemctl
from orchestrator.cli.service.edge_unit import EDGE_UNIT
from orchestrator.cli.service.unit import (
    NAME,
    SETTINGS,
    STATE,
    UNIT,
    Scope,
    folder_of,
)

LISTENING = "listening on "  # how the status of a daemon that serves begins


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a scope."""

    scope: Scope
    units: Path
    settings: Path
    state: Path

    @property
    def unit(self) -> Path:
        return self.units / UNIT

    @property
    def edge_unit(self) -> Path:
        return self.units / EDGE_UNIT


def layout_of(words: Namespace) -> Layout:
    environ = os.environ  # noqa: TID251 - where a user's files lie
    if words.system or (os.geteuid() == 0 and not words.own):
        return Layout(Scope.SYSTEM, folder_of(Scope.SYSTEM, Path("/")), SETTINGS, STATE)
    config = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    state = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return Layout(Scope.USER, folder_of(Scope.USER, config), config / NAME, state / NAME)


def typed(scope: Scope, verb: str, name: str = NAME) -> str:
    return f"systemctl {'--user ' if scope is Scope.USER else ''}{verb} {name}"


def address(shown: "systemctl.Shown") -> str | None:
    said = shown.get("StatusText", "")
    return said.removeprefix(LISTENING) if said.startswith(LISTENING) else None
