"""What peers have in common: a program that is told by a file which models it may start."""

import contextlib
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import httpx
import psutil
from stage import free_port

MARK = "BENCH_PEER"  # in the environment of all that a peer starts
READY_S_MAX = 30.0
LOOK_S = 0.02
VERSION_S_MAX = 10.0


@dataclass(frozen=True)
class Model:
    """What a peer is told of a model; no two of them fit together."""

    name: str
    words: Sequence[str] = ()  # start its server; `{port}` stands for its port
    stop_words: Sequence[str] = ()  # end it, where a signal to what was started does not
    file: Path | None = None  # for a peer that starts a server of its own
    at: int | None = None  # a port at which its server is already: there is nothing to start


class Peer(Protocol):
    own_server: ClassVar[bool]  # it starts a server of its own: no stand-in can be behind it

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str: ...

    def version(self) -> str: ...

    def start(self, models: Sequence[Model]) -> str:
        """The address at which it answers as OpenAI's API does; it answers already."""
        ...

    def server_port(self, name: str) -> int:
        """Of the model's server, for who goes straight to it."""
        ...

    def kill(self) -> None:
        """The program alone, without a warning: what it has started is not touched."""
        ...

    def start_again(self) -> None:
        """As it was started before."""
        ...

    def unused(self) -> int:
        """Servers that run on and that it has nothing to do with."""
        ...

    def stop(self) -> None:
        """It is gone, with all that it has started. Anything may have happened to it before."""
        ...


class Program:
    """A peer; its module says how it is configured."""

    name: ClassVar[str]
    program: ClassVar[str]  # as its binary is called
    own_server: ClassVar[bool] = False
    looks_at: ClassVar[str] = "/v1/models"  # answers once it serves
    version_words: ClassVar[Sequence[str]] = ("--version",)

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.port = 0
        self.server_ports: dict[str, int] = {}  # of its models, where we may choose them
        self._mark = uuid.uuid4().hex
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._words: Sequence[str] = ()
        self._variables: Mapping[str, str] = {}

    # --- what a module says ----------------------------------------------------------------------

    def configure(self, folder: Path, models: Sequence[Model]) -> Sequence[str]:
        """Write its files into the folder: the words that start it, after its binary."""
        raise NotImplementedError

    def variables(self, folder: Path) -> Mapping[str, str]:  # noqa: ARG002 - most need none
        return {}

    def prepare(self, models: Sequence[Model]) -> None:
        """What it must be told once it answers."""

    # --- its life --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def version(self) -> str:
        """Its own first line about it."""
        said = subprocess.run(
            [self.binary, *self.version_words],
            capture_output=True,
            text=True,
            check=False,
            timeout=VERSION_S_MAX,
        )
        lines = (said.stdout + said.stderr).strip().splitlines()
        return lines[0].strip() if lines else "of a version that it does not tell"

    def start(self, models: Sequence[Model]) -> str:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-peer-")
        folder = Path(self._folder.name)
        self.port = free_port()
        self.server_ports = {each.name: each.at or free_port() for each in models}
        self._words = self.configure(folder, models)
        self._variables = self.variables(folder)
        self.start_again()
        self.until_it_answers()
        self.prepare(models)
        return self.url

    def start_again(self) -> None:
        """As it was started before; returns before it answers."""
        assert self._folder is not None
        with (Path(self._folder.name) / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binary), *self._words],
                cwd=self._folder.name,
                env=subprocess_environment() | self._variables | {MARK: self._mark},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def until_it_answers(self) -> None:
        ends_s = time.monotonic() + READY_S_MAX
        while time.monotonic() < ends_s:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}{self.looks_at}", trust_env=False).status_code < 400:
                    return
            time.sleep(LOOK_S)
        raise SystemExit(f"{self.name} does not answer:\n{self.log()}")

    def log(self) -> str:
        assert self._folder is not None
        return (Path(self._folder.name) / "log").read_text(errors="replace")[-2000:]

    def server_port(self, name: str) -> int:
        return self.server_ports[name]

    def unused(self) -> int:
        related = {each.pid for each in psutil.Process(self.pid).children(recursive=True)}
        return sum(each.pid not in related for each in self.servers())

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def servers(self) -> list[psutil.Process]:
        """What it has started and still runs, whoever its parent is by now."""
        own = self._process.pid if self._process is not None else None
        found = []
        for each in psutil.process_iter(["environ"]):
            ours = (each.info["environ"] or {}).get(MARK) == self._mark
            if ours and each.pid != own and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
        return found

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for each in self.servers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def subprocess_environment() -> dict[str, str]:
    """Ours: a peer is started as from a shell."""
    return dict(psutil.Process().environ())
