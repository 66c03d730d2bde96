"""Docker that hangs, restarts or is gone: the daemon does not, and it recovers by itself.

On an engine of this module's own, which it freezes, stops and kills.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.errors import NotStopped, StartFailed, Unreachable
from orchestrator.ports import Launch
from orchestrator.runtimes.docker.create import ContainerSettings, container_body
from orchestrator.runtimes.docker.engine import Deadlines
from orchestrator.runtimes.docker.runtime import DockerRuntime
from tests.contracts import docker_parts as parts
from tests.pace import crowd

pytestmark = [
    pytest.mark.docker,
    # The SDK leaves a socket open when the engine goes while it connects.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    ),
]

SETTINGS = ContainerSettings(identity="faults", version="0.1.0", network="none")
STALL_S_MAX = 0.25  # of the event loop, on a busy machine; a blocking call would cost a second


@pytest.fixture(scope="module")
def engine() -> Iterator[parts.PrivateEngine]:
    with parts.private_engine() as private:
        parts.import_image(private.url)
        yield private
        parts.remove_all(private.url, "vram-orchestrator.identity")


def launch(*argv: str, instance: str = "sleeper-1") -> Launch:
    return Launch(
        instance=InstanceId(instance),
        model=ModelName("sleeper"),
        service=ServiceName("standin"),
        argv=("/sleeper", *argv),
        image=parts.IMAGE,
    )


@pytest.fixture(params=["bare", pytest.param("guard", marks=pytest.mark.nginx)])
def url(request: pytest.FixtureRequest, engine: parts.PrivateEngine) -> Iterator[str]:
    if request.param == "bare":
        yield engine.url
    else:
        settings = {"GUARD_IDENTITY": SETTINGS.identity, "GUARD_NETWORK": "none"}
        with parts.guard(engine.url, **settings) as guarded:
            yield guarded


def short() -> Deadlines:
    """What an engine that answers keeps, also on a busy machine."""
    unit_s = crowd()
    return Deadlines(
        call_s=unit_s,
        create_s=1.5 * unit_s,
        start_s=1.5 * unit_s,
        stop_margin_s=unit_s,
        kill_s=unit_s,
        remove_s=unit_s,
    )


@asynccontextmanager
async def runtime(url: str) -> AsyncIterator[DockerRuntime]:
    opened = DockerRuntime(url, SETTINGS, doors=parts.doors(), deadlines=short())
    try:
        yield opened
    finally:
        await opened.close()


def on(url: str, play: Callable[[DockerRuntime], Coroutine[Any, Any, None]]) -> None:
    async def scene() -> None:
        async with runtime(url) as opened:
            await play(opened)

    asyncio.run(scene())


def stands_still(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


@contextmanager
def frozen(engine: parts.PrivateEngine) -> Iterator[None]:
    pid = engine.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        while not all(map(stands_still, Path(f"/proc/{pid}/task").iterdir())):
            time.sleep(0.01)  # a thread may answer one more call before it hears of it
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def responsive() -> AsyncIterator[None]:
    """While the block runs, the event loop never stands still for long."""
    longest_s = 0.0

    async def tick() -> None:
        nonlocal longest_s
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, time.monotonic() - before_s - 0.01)

    ticking = asyncio.create_task(tick())
    yield
    ticking.cancel()
    assert longest_s < STALL_S_MAX * crowd()


async def until_alive(docker_runtime: DockerRuntime, handle: Any) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                assert await docker_runtime.alive(handle)
            except Unreachable:
                await asyncio.sleep(0.05)
            else:
                return


def labelled(engine: parts.PrivateEngine) -> list[str]:
    with closing(docker.APIClient(base_url=engine.url, version="auto")) as client:
        found = client.containers(all=True, filters={"label": "vram-orchestrator.identity=faults"})
        return [each["Names"][0] for each in found]


def was_created(engine: parts.PrivateEngine, name: str, since_s: int) -> bool:
    filters = {"event": "create", "container": name}
    with closing(docker.APIClient(base_url=engine.url, version="auto")) as client:
        until_s = int(time.time()) + 1
        return bool(list(client.events(since=since_s, until=until_s, filters=filters, decode=True)))


def test_a_hanging_engine_costs_its_deadline_and_nothing_else(
    engine: parts.PrivateEngine, url: str
) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch("--ignore-sigterm"))
        waiting = asyncio.create_task(docker_runtime.wait(running.handle))
        async with responsive():
            with frozen(engine):
                begun_s = time.monotonic()
                with pytest.raises(Unreachable, match="has not answered for"):
                    await docker_runtime.alive(running.handle)
                assert time.monotonic() - begun_s < 2 * crowd()
                with pytest.raises(Unreachable):
                    await docker_runtime.discover()
                with pytest.raises(NotStopped, match="not verified gone"):
                    await docker_runtime.stop(running.handle, grace_s=0)
                with pytest.raises(StartFailed) as caught:
                    await docker_runtime.start(launch(instance="other-1"))
                assert caught.value.failure.reason is FailureReason.RUNTIME_UNAVAILABLE
                assert not waiting.done()
            await until_alive(docker_runtime, running.handle)
        await docker_runtime.stop(running.handle, grace_s=1)
        assert (await asyncio.wait_for(waiting, 60)).code == 137

    on(url, play)


def test_what_a_frozen_engine_creates_late_is_removed(
    engine: parts.PrivateEngine, url: str
) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        await docker_runtime.discover()
        begun_s = int(time.time())
        with frozen(engine):
            body = container_body(launch(instance="late-1"), SETTINGS)
            with pytest.raises(Unreachable):
                await docker_runtime._engine.create("vram-late-1", body)
            removal = asyncio.create_task(
                docker_runtime._leftovers.remove_until_quiet(InstanceId("late-1"))
            )
        await asyncio.wait_for(removal, 60)
        assert labelled(engine) == []
        assert was_created(engine, "vram-late-1", begun_s)

    on(url, play)


def test_a_stop_that_hangs_half_way_is_a_failed_stop(engine: parts.PrivateEngine, url: str) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch("--ignore-sigterm"))
        stopping = asyncio.create_task(docker_runtime.stop(running.handle, grace_s=1))
        await asyncio.sleep(0.3)  # the engine waits out the grace period now
        with frozen(engine), pytest.raises(NotStopped):
            await stopping
        await until_gone_or_stop(docker_runtime, running.handle)

    on(url, play)


async def until_gone_or_stop(docker_runtime: DockerRuntime, handle: Any) -> None:
    """A failed stop may be tried again, and works once the engine does."""
    async with asyncio.timeout(60):
        while True:
            try:
                await docker_runtime.stop(handle, grace_s=0)
            except NotStopped:
                await asyncio.sleep(0.05)
            else:
                return


def test_a_restarted_engine_is_found_again_and_tells_what_died(
    engine: parts.PrivateEngine, url: str
) -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch())
        waiting = asyncio.create_task(docker_runtime.wait(running.handle))
        async with responsive():
            await asyncio.to_thread(engine.stop)
            with pytest.raises(Unreachable, match="Docker"):
                await docker_runtime.alive(running.handle)
            with pytest.raises(StartFailed) as caught:
                await docker_runtime.start(launch(instance="other-1"))
            assert caught.value.failure.reason is FailureReason.RUNTIME_UNAVAILABLE
            await asyncio.to_thread(engine.start)
            await asyncio.wait_for(waiting, 60)  # without live restore its containers ended with it
            again = await docker_runtime.start(launch(instance="sleeper-2"))
        assert await docker_runtime.alive(again.handle)
        await docker_runtime.stop(again.handle, grace_s=1)

    on(url, play)


def test_with_live_restore_a_container_outlives_its_engine() -> None:
    async def play(docker_runtime: DockerRuntime) -> None:
        running = await docker_runtime.start(launch("--tick", "50"))
        (before,) = await docker_runtime.discover()
        waiting = asyncio.create_task(docker_runtime.wait(running.handle))
        await asyncio.to_thread(engine.stop)
        await asyncio.to_thread(engine.start)
        await until_alive(docker_runtime, running.handle)
        assert await docker_runtime.discover() == [before]
        assert not waiting.done()
        await docker_runtime.stop(running.handle, grace_s=1)
        await asyncio.wait_for(waiting, 60)

    with parts.private_engine("--live-restore") as engine:
        parts.import_image(engine.url)
        on(engine.url, play)


def test_an_engine_that_was_never_there_is_named_with_a_way_out() -> None:
    async def play() -> None:
        docker_runtime = DockerRuntime(
            "unix:///nowhere/docker.sock", SETTINGS, doors=parts.doors(), deadlines=short()
        )
        with pytest.raises(Unreachable, match="Is the engine running"):
            await docker_runtime.discover()
        with pytest.raises(StartFailed, match="cannot be reached"):
            await docker_runtime.start(launch())
        await docker_runtime.close()

    asyncio.run(play())
