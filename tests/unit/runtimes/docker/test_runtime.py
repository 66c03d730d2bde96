"""The Docker runtime's decisions, on an engine that misbehaves in ways a real one cannot be made to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.core.values.vram import DeviceId
from orchestrator.errors import NotStopped, StartFailed, Unreachable
from orchestrator.ports import Handle, Launch
from orchestrator.runtimes.docker.create import ContainerSettings
from orchestrator.runtimes.docker.engine import Deadlines
from orchestrator.runtimes.docker.runtime import DockerRuntime
from tests.contracts.docker_parts import doors
from tests.unit.runtimes.scripted_engine import CONTAINER, ScriptedEngine, scripted_engine

LAUNCH = Launch(
    instance=InstanceId("qwen-1"),
    model=ModelName("qwen"),
    service=ServiceName("llama"),
    argv=("llama-server",),
    image="llama-service:cpu",
)
SHORT = Deadlines(kill_s=1.0)
SETTINGS = ContainerSettings(identity="home", version="0.1.0")


def play(
    script: Callable[[DockerRuntime, ScriptedEngine], Awaitable[None]], **defects: Any
) -> ScriptedEngine:
    async def scene(engine: ScriptedEngine) -> None:
        runtime = DockerRuntime(engine.url, SETTINGS, doors=doors(), deadlines=SHORT)
        try:
            await script(runtime, engine)
        finally:
            await runtime.close()

    with scripted_engine(**defects) as engine:
        asyncio.run(scene(engine))
    return engine


def test_an_engine_that_ignores_gpu_requests_is_found_out() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        with pytest.raises(StartFailed, match="ignored the GPU request") as caught:
            await runtime.start(replace(LAUNCH, devices=(DeviceId("GPU-7"),)))
        assert "Podman" in caught.value.failure.remedy
        assert engine.created is None

    play(script, ignores_gpus=True)


def test_a_stop_that_did_not_stop_is_followed_by_a_kill() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        running = await runtime.start(LAUNCH)
        await runtime.stop(running.handle, grace_s=1)
        assert not engine.running

    assert "POST kill" in play(script, ignores_stop=True).calls


def test_what_survives_a_kill_is_a_failed_stop_and_is_not_removed() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        running = await runtime.start(LAUNCH)
        with pytest.raises(NotStopped, match="still runs after a kill"):
            await runtime.stop(running.handle, grace_s=1)

    assert "DELETE" not in play(script, ignores_stop=True, ignores_kill=True).calls


def test_a_refused_stop_tells_what_the_engine_said() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        running = await runtime.start(LAUNCH)
        with pytest.raises(NotStopped, match="tried to kill container, but did not receive"):
            await runtime.stop(running.handle, grace_s=1)

    text = "tried to kill container, but did not receive an exit event"
    play(script, refuses={"POST stop": (500, text), "POST kill": (500, text)})


def test_a_start_that_the_engine_refuses_leaves_nothing_behind() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        with pytest.raises(StartFailed) as caught:
            await runtime.start(replace(LAUNCH, devices=(DeviceId("GPU-7"),)))
        assert caught.value.failure.reason is FailureReason.RUNTIME_UNAVAILABLE
        assert "toolkit" in caught.value.failure.remedy
        assert engine.created is None

    text = 'could not select device driver "" with capabilities: [[gpu]]'
    play(script, refuses={"POST start": (500, text)})


def test_names_that_are_all_taken_end_the_start_with_the_last_of_them() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        with pytest.raises(StartFailed, match="vram-qwen-1-5"):
            await runtime.start(LAUNCH)

    engine = play(script, refuses={"POST create": (409, "the name is in use")})
    assert engine.calls.count("POST create") == 5


def test_a_container_that_is_not_there_is_asked_for_seldom() -> None:
    """The engine has no stream of events here, which is when it is asked most."""

    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        launch = replace(LAUNCH, container="wan2.1")
        begun_s = time.monotonic()
        for _ in range(50):
            assert await runtime.already(launch) is None
        asked = sum("wan2.1" in call for call in engine.calls)
        # Before there is a stream, while it is asked for, and once it has failed.
        assert asked <= 3 + (time.monotonic() - begun_s) * 4

    play(script)


def test_a_guard_whose_engine_is_gone_counts_as_unreachable() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        with pytest.raises(Unreachable):
            await runtime.discover()

    play(script, refuses={"GET json": (502, "bad gateway")})


def test_a_handle_of_a_later_version_is_not_guessed_at() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        with pytest.raises(Unreachable, match="newer orchestrator"):
            await runtime.alive(Handle(runtime="docker", version=2, fields={}))

    play(script)


def test_a_handle_and_an_endpoint_name_the_container() -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine) -> None:
        running = await runtime.start(LAUNCH)
        assert running.handle.fields == {"container": CONTAINER, "name": "vram-qwen-1", "ours": 1}
        assert running.endpoint.url == "http://127.0.0.1:49153"

    play(script)
