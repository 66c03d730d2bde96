"""The unit that systemd runs the daemon by: its text, and where it lies. Looks at nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

NAME = "vram-orchestrator"
UNIT = f"{NAME}.service"
USER = NAME  # whom the service runs as, unless told otherwise
STATE = Path("/var/lib", NAME)
CACHE = Path("/var/cache", NAME)
SETTINGS = Path("/etc", NAME)
CONFIG_FILE = "orchestrator.yaml"
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - looked for, not written
WATCHDOG_S = 60  # an event loop that hangs for so long is started again; models run on
STOP_S = 30  # most ends take milliseconds; one that stops models says how long it takes

HEAD = """\
# Written by `orchestrator service install`, which writes it anew. Changes of your own belong into a
# drop-in: systemctl edit {name}
"""
LIFE = """\
Restart=on-failure
RestartSec=2
# A configuration with mistakes does not get better by being read again.
RestartPreventExitStatus=2
WatchdogSec={watchdog_s}
TimeoutStopSec={stop_s}
# Models outlive the daemon and are adopted at its next start. systemd's defaults would end them
# with it, and would end it, and all of them, when the kernel kills one for memory.
KillMode=process
OOMPolicy=continue
LimitNOFILE=65536
"""
# No device is hidden: the driver's appear when it is loaded, and their own modes say who may use
# them; ProtectClock would hide them too. Memory may be executable: CUDA and Lua are compiled at
# run time.
RESTRICTED = """\
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""
EVERYWHERE = f"""\
# The model servers inherit what follows. What a program of `engine: command` needs beside it, a
# drop-in gives back.
{RESTRICTED}"""
OF_THE_SYSTEM = """\
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
KeyringMode=private
"""


class Scope(StrEnum):
    SYSTEM = "system"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    scope: Scope
    command: Sequence[str]  # program and words
    home: Path  # the working directory, which the daemon may write
    user: str = USER
    groups: Sequence[str] = ()
    writes: Sequence[Path] = ()  # beside its home and its cache
    hub: Path = CACHE  # where models are downloaded to
    private_tmp: bool = True  # False where models lie there

    def text(self) -> str:
        return f"{HEAD.format(name=NAME)}\n" + sections(self.scope, self._unit(), self._service())

    def _unit(self) -> Iterator[str]:
        yield "Description=VRAM Orchestrator\n"
        if self.scope is Scope.SYSTEM:
            yield "Wants=network-online.target\n"
            yield "After=network-online.target nvidia-persistenced.service docker.service\n"
        yield "StartLimitIntervalSec=60\nStartLimitBurst=5\n"

    def _service(self) -> Iterator[str]:
        system = self.scope is Scope.SYSTEM
        yield "Type=notify\nNotifyAccess=main\n"
        if system:
            yield f"User={self.user}\n"
        if self.groups:
            yield "# Docker's group is as good as root.\n"
            yield f"SupplementaryGroups={' '.join(self.groups)}\n"
        yield f"ExecStart={' '.join(map(quoted, self.command))}\n"
        yield "ExecReload=/bin/kill -HUP $MAINPID\n"
        yield f"WorkingDirectory={path_word(self.home)}\n"
        if system:
            yield f"StateDirectory={NAME}\nStateDirectoryMode=0700\nCacheDirectory={NAME}\n"
            # The embedded configuration keeps its state below the one, and pulls go into the other.
            yield f"Environment=XDG_STATE_HOME={STATE.parent} {quoted(f'HF_HOME={self.hub}')}\n"
            yield f"Environment=CUDA_CACHE_PATH={CACHE}/cuda\n"
            yield "# HF_TOKEN=… and other secrets, for root alone to read.\n"
            yield f"EnvironmentFile=-{SETTINGS}/environment\n"
        yield LIFE.format(watchdog_s=WATCHDOG_S, stop_s=STOP_S)
        yield EVERYWHERE
        if system:
            yield OF_THE_SYSTEM
            yield from (f"ReadWritePaths={quoted(str(path))}\n" for path in self.writes)
            if self.hub != CACHE:  # it need not be there
                yield f"ReadWritePaths={quoted(f'-{self.hub}')}\n"
            yield f"PrivateTmp={'yes' if self.private_tmp else 'no'}\n"


def sections(scope: Scope, unit: Iterable[str], service: Iterable[str]) -> str:
    wanted_by = "multi-user.target" if scope is Scope.SYSTEM else "default.target"
    return "\n".join(
        f"[{section}]\n{''.join(lines)}"
        for section, lines in (
            ("Unit", unit),
            ("Service", service),
            ("Install", [f"WantedBy={wanted_by}\n"]),
        )
    )


def folder_of(scope: Scope, home: Path) -> Path:
    """Where systemd looks for units that an administrator, or a user with this home, wrote."""
    return Path("/etc/systemd/system") if scope is Scope.SYSTEM else home / "systemd" / "user"


def quoted(word: str) -> str:
    """As systemd reads the words of a command: specifiers and variables are not meant."""
    said = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{said}"' if not said or any(c in said for c in " \t'\";") else said


def path_word(path: Path) -> str:
    return str(path).replace("%", "%%")


def hidden(paths: Sequence[Path]) -> list[Path]:
    """Those that PrivateTmp would hide."""
    return [path for path in paths if any(path.is_relative_to(hides) for hides in TEMPORARY)]
