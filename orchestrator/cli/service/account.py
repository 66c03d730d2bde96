"""Who the service of the system runs as: found, made where it is ours to make, and tried.

What this user may read is not guessed from modes: `doctor` is run as them.
"""

import grp
import json
import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.cli.service.unit import CACHE, NAME, STATE, USER

MAKE_S = 30.0
TRIAL_S = 60.0  # it starts llama-server once, and asks a driver and an engine that may hang
NOLOGIN = "/usr/sbin/nologin"
DOCKER = "docker"
HOME_MODE = 0o700


class NotPrepared(Exception):
    """Why the service cannot run so; the remedy says what would help."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    name: str
    uid: int
    gid: int
    home: Path

    @classmethod
    def named(cls, name: str) -> Self | None:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            return None
        return cls(found.pw_name, found.pw_uid, found.pw_gid, Path(found.pw_dir))

    @property
    def hub(self) -> Path:
        """Where models of a hub lie: for the service's own user, where it may write."""
        return CACHE if self.name == USER else self.home / ".cache" / "huggingface"

    def owns(self, folder: Path) -> None:
        """Make the folder, for this account alone. Raise OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, self.uid, self.gid)
        folder.chmod(HOME_MODE)


def account(name: str) -> ServiceAccount:
    """Made if it is the service's own and not there yet. Raise NotPrepared."""
    found = ServiceAccount.named(name)
    if found is None and name == USER:
        _make()
        found = ServiceAccount.named(name)
    if found is None:
        raise NotPrepared(f"There is no user {name}.", f"Leave out --as: {USER} is made then.")
    return found


def _make() -> None:
    words = ("--system", "--user-group", "--home-dir", str(STATE), "--shell", NOLOGIN)
    try:
        done = subprocess.run(
            ["useradd", *words, "--no-create-home", "--comment", "VRAM Orchestrator", NAME],
            check=False,
            capture_output=True,
            text=True,
            timeout=MAKE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotPrepared(f"useradd: {error}.", "Name a user that there is: --as USER.") from error
    if done.returncode != 0:
        raise NotPrepared(f"useradd: {done.stderr.strip()}", "Name a user: --as USER.")


def groups_for(*, docker: bool) -> list[str]:
    """Those of the machine that the service has to be in beside its user's own."""
    if not docker:
        return []
    try:
        return [grp.getgrnam(DOCKER).gr_name]
    except KeyError:
        return []


def problems(
    who: ServiceAccount, groups: Sequence[str], home: Path, command: Sequence[str]
) -> list[Mapping[str, str]]:
    """What `doctor`, by this command, finds wrong as this user. Raise NotPrepared if it cannot."""
    done = _run_as(who, groups, home, command)
    try:
        findings = json.loads(done.stdout)["findings"]
    except (ValueError, LookupError):
        raise _cannot_run(who, done.stderr.strip() or f"exit code {done.returncode}") from None
    return [found for found in findings if found["verdict"] == "problem"]


def require_readable(who: ServiceAccount, groups: Sequence[str], folder: Path) -> None:
    """Raise NotPrepared if this user may not list the folder and go into it."""
    asked = ("test", "-r", str(folder), "-a", "-x", str(folder))
    if _run_as(who, groups, Path("/"), asked).returncode != 0:
        raise NotPrepared(
            f"{who.name} may not read {folder}.",
            "Let that user read it and pass through the folders above it, or name who may: "
            "--as USER.",
        )


def _run_as(
    who: ServiceAccount, groups: Sequence[str], home: Path, command: Sequence[str]
) -> "subprocess.CompletedProcess[str]":
    """Raise NotPrepared if it does not start, or does not end in time."""
    path = os.environ.get("PATH", "")  # noqa: TID251 - where programs are looked for
    homes = {"HOME": str(who.home), "XDG_STATE_HOME": str(home.parent)}
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            cwd=home,
            env={"PATH": path, "USER": who.name, **homes},
            user=who.uid,
            group=who.gid,
            extra_groups=[grp.getgrnam(name).gr_gid for name in groups],
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=TRIAL_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _cannot_run(who, str(error)) from error


def _cannot_run(who: ServiceAccount, why: str) -> NotPrepared:
    return NotPrepared(
        f"{who.name} cannot run it: {why}",
        "Install the program and the configuration where that user may read them (a venv in "
        f"/opt/{NAME}, a file in /etc/{NAME}), or name who can: --as USER.",
    )
