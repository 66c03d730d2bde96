"""The application before a real desk, whose machine is in memory and whose time is virtual.

Nothing sleeps: an order that waits four minutes for room is answered at once, and every instant
of an answer is the same each time.
"""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import httpx
from fastapi import FastAPI
from starlette.types import Message

from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.learned import Experience
from orchestrator.catalogue.predictions import Predictions
from orchestrator.config.loading import Config, load_config
from orchestrator.config.sections import ServerSettings
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.vram import MiB
from orchestrator.desk.desk import Desk
from orchestrator.errors import ConfigInvalid
from orchestrator.gguf.headers import Headers
from orchestrator.ports import ChangeableDevices
from orchestrator.runtimes.fake.runtime import FakeWorld
from orchestrator.web.app import create_app
from orchestrator.web.gate import Gate
from orchestrator.web.live.cache import Board
from orchestrator.web.live.feed import Feed
from tests import machine
from tests.simulation.virtual_time import VirtualTimeLoop
from tests.standins.memory import MemoryRegistry
from tests.unit.web.samples import GPU, NOW_S, TOTAL_MB, spec

FILE = f"""
devices: {{source: fake, fake: [{{name: A, total_mb: {TOTAL_MB}}}]}}
scheduling: {{min_residency_s: 0, protect_idle_s: 0}}
services:
  rehearsal: {{engine: fake}}
  local: {{engine: xllamacpp, models_dir: /models}}
"""


def _read_once() -> Config:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "orchestrator.yaml"
        file.write_text(FILE)
        return load_config(file, environ={})


CONFIG = _read_once()


T = TypeVar("T")


class AtOnce(ThreadPoolExecutor):
    """Work for a thread takes no virtual time: it is done on the spot."""

    def submit(self, work: Callable[..., T], /, *args: Any, **more: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(work(*args, **more))
        except BaseException as error:  # noqa: BLE001 - the caller's, as from a thread
            done.set_exception(error)
        return done


MODELS = (spec("a"), spec("b", aliases=("bee",)))


class Office:
    """A desk with all that stands behind it. `with` opens it, for tests without a loop."""

    def __init__(
        self,
        directory: Path,
        *,
        models: Iterable[ModelSpec] = MODELS,
        registry: MemoryRegistry | None = None,
        predictions: Predictions | None = None,
        problems: Callable[[], tuple[str, ...]] = tuple,
        fake_devices: ChangeableDevices | None = None,
        server: ServerSettings | None = None,
    ) -> None:
        catalogue = {each.name: each for each in models}
        self.config = replace(CONFIG, state_dir=directory, catalogue=catalogue)
        if server is not None:
            self.config = replace(self.config, server=server)
        self.mistakes: tuple[str, ...] = ()  # of the configuration file, when it is read again
        self.registry = registry or MemoryRegistry()
        self._predictions = predictions or Predictions(Headers())
        self._problems = problems
        self._fake_devices = fake_devices
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)

    def clock(self) -> float:
        return NOW_S + self._loop.time() - self._began_s

    def load(self) -> Config:
        if self.mistakes:
            raise ConfigInvalid(self.mistakes)
        return self.config

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Desk]:
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self.world = FakeWorld(
            {GPU: TOTAL_MB * MiB}, random.Random(0), release_lag_s=(0, 0), clock=self.clock
        )
        catalogue = Catalogue(
            config=self.config,
            load=self.load,
            experience=Experience(),
            predictions=self._predictions,
            cached=dict[str, Path]().get,
        )
        async with machine.conducting(
            self.world, *catalogue.specs.values(), registry=self.registry, clock=self.clock
        ) as conductor:
            self.conductor = conductor
            self.desk = Desk(
                conductor=conductor,
                catalogue=catalogue,
                problems=self._problems,
                fake_devices=self._fake_devices,
            )
            self.desk.apply_rules()
            yield self.desk

    def state(self) -> tuple[object, ...]:
        """Everything that a caller could have changed."""
        seen = self.desk.snapshot()
        held = (seen.residents, seen.leases, seen.queue, seen.pinned, seen.breakers)
        return (*held, dict(self.desk.catalogue))

    def loaded(self) -> dict[str, Resident]:
        return {str(each.name): each for each in self.desk.snapshot().residents}

    def decide(self, text: str, kind: DecisionKind = DecisionKind.LOAD, model: str = "a") -> None:
        self.conductor.say(Decide(kind=kind, text=text, model=ModelName(model)))

    # --- from outside of the loop --------------------------------------------------------------

    def __enter__(self) -> Self:
        self._runner.get_loop().set_default_executor(AtOnce())
        self.run(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._end())
        self._runner.close()

    async def _begin(self) -> None:
        opened = asyncio.Event()
        self._staying = asyncio.create_task(self._stay(opened))
        waiting = asyncio.create_task(opened.wait())
        await asyncio.wait({self._staying, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._staying.done():
            self._staying.result()

    async def _stay(self, opened: asyncio.Event) -> None:
        async with self.opened():
            opened.set()
            await asyncio.Event().wait()

    async def _end(self) -> None:
        """Also in the middle of a load: what is under way is cancelled, a defect is raised."""
        self._staying.cancel()
        with suppress(asyncio.CancelledError):
            await self._staying

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def pass_s(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, one answer. A crash of the application is an answer, as over a socket."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app_of(self.desk), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
                return await client.request(method, path, **more)

        return self.run(ask())

    def leave_after_asking(self, path: str, body: bytes) -> None:
        """A caller that sends its request and closes the connection."""
        sent: Message = {"type": "http.request", "body": body}
        messages = [sent, {"type": "http.disconnect"}]

        async def receive() -> Message:
            return messages.pop(0)

        async def send(message: Message) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "scheme": "http",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }

        async def leave() -> None:
            await app_of(self.desk)(scope, receive, send)

        self.run(leave())


class Reception:
    """Stands before whichever desk a test has opened, so that one application serves them all."""

    desk: Desk | None = None
    fake_devices = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk, name)


URL = "http://localhost"
RECEPTION = Reception()
GATE = Gate(None)  # a test gives it keys, and takes them away
APP = create_app(cast("Desk", RECEPTION), gate=GATE)


def app_of(desk: Desk) -> FastAPI:
    RECEPTION.desk = APP.state.desk = desk
    APP.state.board = Board(desk)
    APP.state.feed = Feed(desk, APP.state.board, APP.state.places)
    return APP


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Every (method, path) of the routing table, those that the docs do not show included."""
    found: set[tuple[str, str]] = set()
    waiting: list[Any] = list(app.routes)
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting.extend(inner.routes)
        else:
            found.update((method, route.path) for method in route.methods or ())
    return sorted(found)


def filled(path: str) -> str:
    """A path with something in place of its parameters."""
    return (
        path.replace("{name:path}", "a")
        .replace("{name}", "a")
        .replace("{device_id}", "fake-0")
        .replace("{lease_id}", "lease-1")
        .replace("{operation_id}", "op-1")
        .replace("{asset}", "swagger-ui.css")
        .replace("{key_id}", "nothing1")
        .replace("{request_id}", "1")
    )
