"""nginx as a child: found on this machine, started, told of a new configuration, ended.

It may outlive its parent, and serves on; the next one takes it over.
"""

import os
import resource
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.edge import CONTROL_SOCKET
from orchestrator.config.edge_section import EdgeSettings
from orchestrator.errors import Failed
from orchestrator.gateway.edge.configuration import Surroundings, files
from orchestrator.gateway.edge.figures import FILE

INSTALL = "apt-get install nginx-light libnginx-mod-http-lua lua-cjson"
WORKERS_MAX_DEFAULT = 4  # two carry 40 000 requests a second
FILES_MAX = 65536  # of one worker; a request has a connection to its client and one to its server
CONNECTIONS_RESERVED = 64  # files of a worker that are no connections
FOLDER_MODE, FILE_MODE = 0o700, 0o600
CHECK_S = 20.0  # nginx reads its configuration in some milliseconds
GRACE_S = 20.0  # at its end, for answers that are under way
KILLED_S = 5.0
FIGURES_BYTES_MAX = 64 << 20  # some 200 000 requests, which a dead daemon has not taken over
ROOT = 0
PROGRAMS = "/usr/sbin:/usr/local/sbin"  # beside PATH, where users often have it not
MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
LUA_C = ("/usr/lib", "/usr/local/lib", "/usr/lib64")


class NotInstalled(Failed):
    """No nginx with Lua is here."""


@dataclass(frozen=True, slots=True)
class Installed:
    program: Path
    modules: Path
    lua_c: Path


def installed(path: str) -> Installed:
    """Raise NotInstalled."""
    program = shutil.which("nginx", path=f"{path}:{PROGRAMS}")
    if program is None:
        raise NotInstalled("there is no nginx here")
    modules = _first(Path(folder) for folder in MODULES if _has_lua(Path(folder)))
    if modules is None:
        raise NotInstalled(f"{program} has no Lua module")
    lua_c = _first(found.parent for root in LUA_C for found in _cjson(Path(root)))
    if lua_c is None:
        raise NotInstalled("nginx is here, and Lua's cjson is not")
    return Installed(Path(program), modules, lua_c)


def _has_lua(folder: Path) -> bool:
    return (folder / "ngx_http_lua_module.so").exists()


def _cjson(root: Path) -> Iterable[Path]:
    return (*root.glob("lua/5.1/cjson.so"), *root.glob("*/lua/5.1/cjson.so"))


def _first(found: Iterable[Path]) -> Path | None:
    return next(iter(found), None)


class Nginx:
    """One nginx and its folder. Everything blocks."""

    def __init__(self, found: Installed, edge: EdgeSettings, body_bytes_max: int) -> None:
        assert edge.dir is not None, "the configuration sets it"
        self._found = found
        self._folder = Path(edge.dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._handle: int | None = None  # pidfd
        self.pid = 0
        self.configure(edge, body_bytes_max)

    def configure(self, edge: EdgeSettings, body_bytes_max: int) -> None:
        """Write what nginx reads. Raise Failed if it would not take it."""
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self._folder.chmod(FOLDER_MODE)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = FILES_MAX if most == resource.RLIM_INFINITY else min(FILES_MAX, most)
        surroundings = Surroundings(
            directory=self._folder,
            host=edge.host,
            port=edge.port,
            workers=edge.workers or min(WORKERS_MAX_DEFAULT, os.cpu_count() or 1),
            connections=max(CONNECTIONS_RESERVED, count - CONNECTIONS_RESERVED),
            files=count,
            user="root" if os.geteuid() == ROOT else None,
            modules=self._found.modules,
            lua_c=self._found.lua_c,
            body_bytes_max=body_bytes_max,
        )
        for name, text in files(surroundings).items():
            path = self._folder / name
            path.touch(mode=FILE_MODE)
            path.write_text(text)
        checked = subprocess.run(
            [*self._command, "-t", "-q"],
            capture_output=True,
            text=True,
            check=False,
            timeout=CHECK_S,
        )
        if checked.returncode:
            raise Failed(f"nginx refuses the configuration: {_last_line(checked.stderr)}")

    @property
    def _command(self) -> tuple[str, ...]:
        return (
            str(self._found.program),
            *("-e", "stderr", "-p", str(self._folder)),
            *("-c", str(self._folder / "nginx.conf")),
        )

    def start(self) -> bool:
        """False: one that runs already was taken over, with this configuration."""
        if (pid := self._running()) is not None:
            self.pid, self._handle = pid, os.pidfd_open(pid)
            self.reload()
            return False
        with suppress(FileNotFoundError):  # of one that was killed: nginx would not start over it
            (self._folder / CONTROL_SOCKET).unlink()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for its parent, who lets it finish
        )
        self.pid, self._handle = self._process.pid, os.pidfd_open(self._process.pid)
        return True

    def _running(self) -> int | None:
        """The nginx of this folder, if an earlier parent has left one."""
        try:
            pid = int((self._folder / "nginx.pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._folder / "nginx.conf") in words else None

    def reload(self) -> None:
        """Requests under way are finished by the workers that have them."""
        self._signal(signal.SIGHUP)

    def ended(self, within_s: float) -> bool:
        """Wait for its end so long at most."""
        if self._handle is None:
            return True
        return bool(select.select([self._handle], [], [], within_s)[0])

    def forget_figures(self) -> bool:
        """Begin the file of figures anew where no daemon has read too much of it."""
        path = self._folder / FILE
        with suppress(FileNotFoundError):
            if path.stat().st_size > FIGURES_BYTES_MAX:
                os.truncate(path, 0)
                return True
        return False

    def end(self) -> None:
        """Answers under way have GRACE_S."""
        ends_s = time.monotonic() + GRACE_S
        self._signal(signal.SIGQUIT)
        if not self.ended(max(0.0, ends_s - time.monotonic())):
            self._signal(signal.SIGTERM)
            self.ended(KILLED_S)
        if self._process is not None:
            self._process.wait(KILLED_S)

    def _signal(self, number: signal.Signals) -> None:
        if self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it does not say why"
