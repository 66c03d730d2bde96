"""Asks systemd, of the system or of this user, and waits for what it says."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli.service.unit import UNIT, Scope

RUNNING = Path("/run/systemd/system")  # there where systemd is the init
ORDER_S = 240.0  # a start waits for READY, an end for models where they are stopped
LOG_LINES = 20
SHOWN = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "StatusText",
    "MainPID",
    "NRestarts",
    "ActiveEnterTimestamp",
)


Shown = Mapping[str, str]  # properties of the unit, by systemd's names


class SystemdRefused(Exception):
    """What systemctl said, in a sentence or more."""


@dataclass(frozen=True, slots=True)
class Systemd:
    scope: Scope

    def order(self, *words: str) -> str:
        """Raise SystemdRefused."""
        done = self._asked("systemctl", *words)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
            raise SystemdRefused(f"systemctl {' '.join(words)}: {said}")
        return done.stdout

    def shown(self, unit: str = UNIT) -> Shown:
        """What systemd knows of a unit, also where there is none. Raise SystemdRefused."""
        lines = self.order("show", unit, "--property", ",".join(SHOWN)).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def linger(self) -> None:
        """Have this user's services live without a session. Raise SystemdRefused."""
        done = _run("loginctl", "enable-linger")
        if done.returncode != 0:
            raise SystemdRefused(done.stderr.strip() or f"exit code {done.returncode}")

    def log(self, unit: str = UNIT) -> list[str]:
        """The last lines; none where the journal is not ours to read."""
        done = self._asked(
            "journalctl", "--unit", unit, "--lines", str(LOG_LINES), "--no-pager", "--output", "cat"
        )
        return done.stdout.splitlines() if done.returncode == 0 else []

    def _asked(self, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
        return _run(program, *(("--user",) if self.scope is Scope.USER else ()), *words)


def _run(program: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Raise SystemdRefused if it is not there or does not end."""
    try:
        return subprocess.run(
            [program, *words],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=ORDER_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemdRefused(f"{program}: {error}") from error
