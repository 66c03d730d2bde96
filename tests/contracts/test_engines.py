"""What every engine that runs llama.cpp, or stands in for it, promises: one suite for all.

The servers are real processes, and but for the stand-in they answer with a real model.
"""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from orchestrator.config.cores import physical_cores
from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import ReadyState
from orchestrator.core.values.specs import FakeBehaviour, ModelSpec, Serving
from orchestrator.engines.fake import StandInLauncher
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.binary import Binary, candidates, probe
from orchestrator.engines.llama.local import LlamaBinaryLauncher
from orchestrator.engines.xllamacpp.launcher import XLlamaCppLauncher
from orchestrator.errors import Unreachable
from orchestrator.ports import Launcher, Readiness
from tests.parts import require
from tests.unit.engines.launched import (
    INSTANCE,
    ON_HOST,
    Launched,
    becomes_ready,
    launched,
    llama_engine,
    real_model,
    spec_of,
    until,
    with_http,
)

BUILD = Path(__file__).parents[1] / "tools" / "build_llama_cpp.sh"


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
class Part:
    """An engine under test and a model that it serves within a second or two."""

    launcher: Callable[[], Launcher]
    spec: Callable[[], ModelSpec]
    reads_files: bool


def real_spec() -> ModelSpec:
    # The model's own template puts a system prompt in front that it does not survive.
    serving = Serving(context_size=1024, slots=2, jinja=False)
    return spec_of(file=str(real_model()), serving=serving)


def fake_spec() -> ModelSpec:
    fake = FakeBehaviour(load_s=0.3, tokens_per_s=100)
    return spec_of(fake=fake, serving=Serving(slots=2))


PARTS = {
    "fake": Part(lambda: StandInLauncher(None), fake_spec, reads_files=False),
    "xllamacpp": Part(
        lambda: XLlamaCppLauncher(physical_cores=physical_cores()), real_spec, reads_files=True
    ),
    "llama_cpp": Part(
        lambda: LlamaBinaryLauncher(LLAMA_SERVERS, physical_cores=physical_cores()),
        real_spec,
        reads_files=True,
    ),
}


TO_BE_TESTED = [name for name in PARTS if name != "llama_cpp" or LLAMA_SERVERS]


@pytest.fixture(params=TO_BE_TESTED)
def part(request) -> Part:
    return PARTS[request.param]


@pytest.fixture(params=[name for name in TO_BE_TESTED if PARTS[name].reads_files])
def reading_part(request) -> Part:
    return PARTS[request.param]


def play(part: Part, scene) -> None:
    """A scene with the part's engine, checked and ready to launch."""

    async def with_engine(http: ServerHttp) -> None:
        engine = llama_engine(part.launcher(), http)
        assert await engine.check(part.spec()) is None
        await scene(engine, part.spec())

    with_http(with_engine)


async def chat(client: httpx.AsyncClient, url: str, words: str, **changes) -> httpx.Response:
    order = {"messages": [{"role": "user", "content": words}], "max_tokens": 24, "temperature": 0}
    return await client.post(f"{url}/v1/chat/completions", json=order | changes)


def test_a_llama_server_is_there_to_be_tested():
    if not LLAMA_SERVERS:
        require("llama_cpp")
    assert LLAMA_SERVERS


@dataclass(frozen=True)
class Up:
    """A server that has become ready: one for all who only talk with it."""

    part: Part
    server: Launched
    said: list[Readiness]  # by its probes until then


@pytest.fixture(scope="module", params=TO_BE_TESTED)
def up(request) -> Iterator[Up]:
    part = PARTS[request.param]
    ready: list[Up] = []
    with ExitStack() as stack:

        async def scene(engine, spec):
            server = stack.enter_context(launched(engine.launch(INSTANCE, spec, ON_HOST)))
            ready.append(Up(part, server, await becomes_ready(engine, server)))

        play(part, scene)
        yield ready[0]


def test_it_loads_becomes_ready_and_answers(up):
    async def scene(engine, spec):
        assert {one.state for one in up.said[:-1]} <= {ReadyState.STARTING}
        url = up.server.endpoint.url
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await chat(client, url, "What is the capital of France?")
            models = await client.get(f"{url}/v1/models")
        assert answer.status_code == 200
        words = answer.json()["choices"][0]["message"]["content"]
        assert ("Paris" in words) if up.part.reads_files else ("capital of France" in words)
        assert models.json()["data"][0]["id"] == spec.name

    play(up.part, scene)


def test_loading_is_told_apart_from_not_listening(up):
    assert "Loading model" in {one.detail for one in up.said}


def test_use_shows_while_it_talks_and_ends_when_the_client_leaves(up):
    async def scene(engine, spec):
        endpoint = up.server.endpoint
        at_rest = await engine.use(endpoint)
        assert at_rest.busy_slots == 0

        async def busy(count: int) -> bool:
            return (await engine.use(endpoint)).busy_slots == count

        async with httpx.AsyncClient(timeout=60) as client:
            talk = asyncio.create_task(
                chat(client, endpoint.url, "Count.", max_tokens=900, ignore_eos=True)
            )
            await until(lambda: busy(1))
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)
        await until(lambda: busy(0), every_s=1.5)  # see LlamaTalker.use
        used = await engine.use(endpoint)
        assert used.served_total > at_rest.served_total

    play(up.part, scene)


def test_probes_are_no_use(up):
    async def scene(engine, spec):
        at_rest = await engine.use(up.server.endpoint)
        for _ in range(20):
            await engine.readiness(up.server.endpoint)
            assert await engine.use(up.server.endpoint) == at_rest

    play(up.part, scene)


def test_a_server_that_is_gone_is_unreachable(part):
    async def scene(engine, spec):
        with launched(engine.launch(INSTANCE, spec, ON_HOST)) as server:
            await becomes_ready(engine, server)
            await engine.use(server.endpoint)
            server.process.kill()
            server.exit()
            with pytest.raises(Unreachable):
                await engine.use(server.endpoint)
            assert (await engine.readiness(server.endpoint)).state is ReadyState.STARTING

    play(part, scene)


def test_sigterm_ends_it(part):
    async def scene(engine, spec):
        launch = engine.launch(INSTANCE, spec, ON_HOST)
        with launched(launch) as server:
            await becomes_ready(engine, server)
            server.process.terminate()
            server.exit(within_s=launch.stop_grace_s)

    play(part, scene)


def test_a_taken_port_has_its_name(part):
    with socket.create_server(("127.0.0.1", 0)) as taken:

        async def scene(engine, spec):
            launch = engine.launch(INSTANCE, spec, ON_HOST)
            with launched(launch, port=taken.getsockname()[1]) as server:
                assert engine.classify(server.exit()).reason is FailureReason.PORT

        play(part, scene)


@pytest.mark.parametrize("damage", ["truncated", "text", "missing"])
def test_a_broken_model_file_has_its_name(reading_part, damage, tmp_path):
    path = tmp_path / "broken.gguf"
    if damage == "truncated":
        path.write_bytes(real_model().read_bytes()[:50_000_000])
    if damage == "text":
        path.write_text("this is a text file, not a model")

    async def scene(engine, spec):
        broken = spec_of(file=str(path), serving=spec.serving)
        with launched(engine.launch(INSTANCE, broken, ON_HOST)) as server:
            failure = engine.classify(server.exit())
        assert failure.reason is FailureReason.MODEL_FILE
        assert failure.remedy
        assert any("broken.gguf" in line for line in failure.log_tail)

    play(reading_part, scene)


def test_the_same_spec_and_placement_give_the_same_launch(part):
    async def scene(engine, spec):
        assert engine.launch(INSTANCE, spec, ON_HOST) == engine.launch(INSTANCE, spec, ON_HOST)

    play(part, scene)
