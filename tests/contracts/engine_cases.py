"""Engines under contract: what one is made from, and a model that it serves within seconds.

They are made as the daemon makes them: by the maker that `config/engines.py` names.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from orchestrator.config.cores import physical_cores
from orchestrator.config.engine_kind import EngineKind
from orchestrator.config.engines import KINDS
from orchestrator.core.values.specs import FakeBehaviour, ModelSpec, Program, Serving
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.binary import Binary, candidates, probe
from orchestrator.engines.premises import Maker, Premises
from orchestrator.engines.python_program import import_path, program
from orchestrator.ports import Engine, Readiness
from tests.unit.engines.launched import (
    INSTANCE,
    ON_HOST,
    Launched,
    becomes_ready,
    launched,
    real_model,
    spec_of,
    with_http,
)

BUILD = Path(__file__).parents[1] / "tools" / "build_llama_cpp.sh"
# Engines that no case launches here, and what holds them to the same promises.
ELSEWHERE = {"container": "real containers, in tests/contracts/test_docker.py"}

Scene = Callable[[Engine, ModelSpec], Coroutine[None, None, None]]


def built_server() -> tuple[Path, ...]:
    """The server that the tests' own build script left in the user's cache."""
    bash = shutil.which("bash")
    if bash is None:
        return ()
    done = subprocess.run([bash, BUILD, "--check"], capture_output=True, text=True, check=False)
    folder = Path(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else None
    return () if folder is None else (folder / "llama-server",)


def usable_servers() -> tuple[Path, ...]:
    found = (*candidates(None, None), *built_server())
    return tuple(path for path in found if isinstance(asyncio.run(probe(path)), Binary))[:1]


LLAMA_SERVERS = usable_servers()


@dataclass(frozen=True)
class EngineCase:
    engine: str
    spec: Callable[[], ModelSpec]
    premises: Mapping[str, Any] = field(default_factory=dict)
    talks_as_openai: bool = True
    while_it_loads: str | None = "Loading model"  # what its probes say then; None: it loads nothing

    @property
    def kind(self) -> EngineKind:
        return KINDS[self.engine]

    def make(self, http: ServerHttp) -> Engine:
        return cast("Maker", resolve_name(self.kind.maker))(Premises(http=http, **self.premises))


def real_spec() -> ModelSpec:
    # The model's own template puts a system prompt in front that it does not survive.
    serving = Serving(context_size=1024, slots=2, jinja=False)
    return spec_of(file=str(real_model()), serving=serving)


def fake_spec() -> ModelSpec:
    fake = FakeBehaviour(load_s=0.3, tokens_per_s=100)
    return spec_of(fake=fake, serving=Serving(slots=2))


def command_spec() -> ModelSpec:
    argv = (*program("orchestrator.stand_in.server"), "--model", "${MODEL}", "--slots", "2")
    listening = ("--host", "${HOST}", "--port=${PORT}", "--load-s", "0.3", "--tokens-per-s", "100")
    env = tuple(import_path().items())
    return spec_of(program=Program(argv=(*argv, *listening), env=env))


def plain_spec() -> ModelSpec:
    """A program that answers, and knows of no models."""
    argv = (*program("http.server"), "--bind", "${HOST}", "${PORT}")
    return spec_of(program=Program(argv=argv, env=()))


CASES = {
    "fake": EngineCase("fake", fake_spec),
    "xllamacpp": EngineCase("xllamacpp", real_spec, {"physical_cores": physical_cores()}),
    "llama_cpp": EngineCase(
        "llama_cpp", real_spec, {"physical_cores": physical_cores(), "programs": LLAMA_SERVERS}
    ),
    "command": EngineCase(
        "command",
        command_spec,
        {"search_path": os.defpath, "metrics": "/metrics"},
        while_it_loads="/health answers 503",
    ),
    "plain-command": EngineCase(
        "command",
        plain_spec,
        {"search_path": os.defpath, "health": "/"},
        talks_as_openai=False,
        while_it_loads=None,
    ),
}
HERE = [name for name in CASES if name != "llama_cpp" or LLAMA_SERVERS]


def play(case: EngineCase, scene: Scene) -> None:
    """A scene with the case's engine, checked and ready to launch."""

    async def with_engine(http: ServerHttp) -> None:
        engine = case.make(http)
        assert await engine.check(case.spec()) is None
        await scene(engine, case.spec())

    with_http(with_engine)


@dataclass(frozen=True)
class Up:
    """A server that has become ready: one for all who only talk with it."""

    case: EngineCase
    server: Launched
    said: list[Readiness]  # by its probes until then


@contextmanager
def brought_up(case: EngineCase) -> Iterator[Up]:
    ready: list[Up] = []
    with ExitStack() as stack:

        async def scene(engine: Engine, spec: ModelSpec) -> None:
            server = stack.enter_context(launched(engine.launch(INSTANCE, spec, ON_HOST)))
            ready.append(Up(case, server, await becomes_ready(engine, server)))

        play(case, scene)
        yield ready[0]
