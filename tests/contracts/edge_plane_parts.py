"""A real nginx as `orchestrator edge` runs it, told by a real plane, before servers of the tests."""

import asyncio
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from orchestrator.access.keys.rates import Rates
from orchestrator.access.keys.record import ApiKey
from orchestrator.access.keys.table import KeyTable
from orchestrator.config.edge_section import EdgeSettings
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.gateway.edge.child import Nginx, installed
from orchestrator.gateway.edge.plane import EdgePlane
from orchestrator.gateway.planes import Abilities, Published
from orchestrator.web.guard import Admission
from tests.scenarios.daemon import free_port

BODY_BYTES_MAX = 40 << 20
START_S = 30.0
T = TypeVar("T")

PATH = os.environ["PATH"]  # noqa: TID251 - nginx is found where the shell finds it


class Loop:
    """An event loop in a thread of its own, for what a daemon would do in its."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        async def started() -> "asyncio.Task[T]":
            return asyncio.ensure_future(work)

        return self.do(started())

    def call(self, act: Any, *words: Any) -> None:
        async def called() -> None:
            act(*words)

        self.do(called())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class KeysOfTest:
    """What a daemon has of keys. There are none until a test says so."""

    def __init__(self) -> None:
        self.table = KeyTable()
        self.rates = Rates()
        self.steady = time.monotonic


class EdgeAlone:
    """nginx, a plane, and no daemon but what a test puts at its socket."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = EdgeSettings(port=free_port(), workers=2, dir=str(directory))
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.loop = Loop()
        self.used: list[InstanceId] = []
        self.nginx = self.start()
        self.numbers = 0
        self.keys = KeysOfTest()
        self._planes: list[EdgePlane] = []
        self.plane = self.successor("one")

    def start(self) -> Nginx:
        nginx = Nginx(installed(PATH), self.settings, BODY_BYTES_MAX)
        nginx.start()
        deadline = time.monotonic() + START_S
        while not self._listens():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return nginx

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as caller:
            return caller.connect_ex(str(self.directory / "control.sock")) == 0

    def successor(self, epoch: str) -> EdgePlane:
        """The plane of another daemon."""
        plane = EdgePlane(
            self.directory / "control.sock",
            epoch=epoch,
            keys=self.keys,
            admission=lambda: Admission(allowed_hosts=frozenset({"own.example"})),
            used=self.used.extend,
        )
        self._planes.append(plane)
        return plane

    def published(self, url: str, model: str = "a", **more: Any) -> Published:
        self.numbers += 1
        return Published(
            instance=InstanceId(f"{model}-1"),
            number=more.pop("number", self.numbers),
            names=(ModelName(model), *more.pop("aliases", ())),
            url=url,
            priority=5,
            can=Abilities(**more),
        )

    def publish(self, *routes: Published) -> None:
        """Return once it has arrived."""
        self.loop.call(self.plane.publish, routes)
        self.counts()

    def tell_keys(self, *keys: ApiKey) -> None:
        """Return once it has arrived."""
        self.keys.table = KeyTable(self.keys.table.generation + 1, keys)
        self.loop.call(self.plane.keys_changed)
        self.counts()

    def counts(self, *instances: str) -> dict[str, int | None] | None:
        wanted = [InstanceId(one) for one in instances or ("a-1",)]
        said = self.loop.do(self.plane.counted(wanted))
        return None if said is None else {str(one): count for one, count in said.items()}

    def told_counts(self, *instances: str) -> dict[str, int | None]:
        """As above; asked again where nginx did not answer in time."""
        deadline = time.monotonic() + START_S
        while (told := self.counts(*instances)) is None:
            assert time.monotonic() < deadline
        return told

    def until_passing(self, count: int, instance: str = "a-1") -> None:
        deadline = time.monotonic() + START_S
        while (now := self.counts(instance)) != {instance: count}:
            assert time.monotonic() < deadline, now
            time.sleep(0.02)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=60, trust_env=False, **more)

    def workers(self) -> list[int]:
        pid = self.nginx.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def figures(self) -> list[str]:
        """Its lines, once they are written: within a second."""
        time.sleep(1.3)
        path = self.directory / "figures.log"
        return path.read_text().splitlines() if path.exists() else []

    def close(self) -> None:
        self.nginx.end()
        for plane in self._planes:
            self.loop.do(plane.close())
        self.loop.close()


@contextmanager
def edge_alone() -> Iterator[EdgeAlone]:
    """In a folder with a short path: those of sockets are bounded."""
    directory = Path(tempfile.mkdtemp(prefix="edge-"))
    edge = EdgeAlone(directory)
    try:
        yield edge
    finally:
        edge.close()
        shutil.rmtree(directory)
