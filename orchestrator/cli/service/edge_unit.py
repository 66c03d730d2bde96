"""The unit that systemd runs the edge by, beside the daemon's: its text. Looks at nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli.service.unit import (
    HEAD,
    NAME,
    OF_THE_SYSTEM,
    RESTRICTED,
    USER,
    Scope,
    path_word,
    quoted,
    sections,
)

EDGE_NAME = f"{NAME}-edge"
EDGE_UNIT = f"{EDGE_NAME}.service"
PRIVILEGED_PORTS = 1024  # those below are root's, unless the right to them is given
STOP_S = 30  # answers under way have 20 s
LIFE = f"""\
Restart=on-failure
RestartSec=1
RestartPreventExitStatus=2
TimeoutStopSec={STOP_S}
# nginx outlives `orchestrator edge`, and the next one takes it over.
KillMode=process
LimitNOFILE=65536
"""
PORT_RIGHT = "CAP_NET_BIND_SERVICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeUnit:
    scope: Scope
    command: Sequence[str]  # program and words
    home: Path  # the daemon's as well
    port: int
    user: str = USER
    writes: Sequence[Path] = ()  # beside its home

    def text(self) -> str:
        return f"{HEAD.format(name=EDGE_NAME)}\n" + sections(
            self.scope, self._unit(), self._service()
        )

    def _unit(self) -> Iterator[str]:
        yield "Description=VRAM Orchestrator's edge\n"
        if self.scope is Scope.SYSTEM:
            yield "Wants=network-online.target\nAfter=network-online.target\n"
        yield "StartLimitIntervalSec=60\nStartLimitBurst=5\n"

    def _service(self) -> Iterator[str]:
        system = self.scope is Scope.SYSTEM
        yield "Type=exec\n"
        if system:
            yield f"User={self.user}\n"
        yield f"ExecStart={' '.join(map(quoted, self.command))}\n"
        yield "ExecReload=/bin/kill -HUP $MAINPID\n"
        yield f"WorkingDirectory={path_word(self.home)}\n"
        if system:
            yield f"StateDirectory={NAME}\nStateDirectoryMode=0700\n"
        yield f"{LIFE}\n{RESTRICTED}"
        if system:
            right = PORT_RIGHT if self.port < PRIVILEGED_PORTS else ""
            yield OF_THE_SYSTEM.replace("BoundingSet=\n", f"BoundingSet={right}\n")
            if right:
                yield f"AmbientCapabilities={right}\n"
            yield from (f"ReadWritePaths={quoted(str(path))}\n" for path in self.writes)
            yield "PrivateTmp=yes\n"
