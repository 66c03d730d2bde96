"""Containers that are closed: their key, and the network that leads nowhere."""

import asyncio
import io
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.access.resident_keys import ResidentKeys
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.errors import StartFailed
from orchestrator.ports import KEY_FILE_TOKEN, Launch
from orchestrator.runtimes.docker.closed import Closing, Doors, key_archive
from orchestrator.runtimes.docker.create import ContainerSettings
from orchestrator.runtimes.docker.engine import DockerEngine
from orchestrator.runtimes.docker.runtime import DockerRuntime
from tests.unit.runtimes.scripted_engine import CONTAINER, ScriptedEngine, scripted_engine

LAUNCH = Launch(
    instance=InstanceId("qwen-1"),
    model=ModelName("qwen/8b"),
    service=ServiceName("llama"),
    argv=("llama-server", "--api-key-file", KEY_FILE_TOKEN),
    image="llama-service:cpu",
)
OPEN = replace(LAUNCH, argv=("llama-server",))
ALONE = ContainerSettings(identity="home", version="0.1.0", isolated=True)
GATEWAY = "http://127.0.0.1:8000"
Script = Callable[[DockerRuntime, ScriptedEngine, ResidentKeys], Awaitable[None]]


def play(
    folder: Path, script: Script, settings: ContainerSettings = ALONE, **defects: Any
) -> ScriptedEngine:
    async def scene(engine: ScriptedEngine) -> None:
        keys = ResidentKeys(folder)
        runtime = DockerRuntime(engine.url, settings, doors=Doors(keys, GATEWAY))
        try:
            await script(runtime, engine, keys)
        finally:
            await runtime.close()

    with scripted_engine(**defects) as engine:
        asyncio.run(scene(engine))
    return engine


def test_an_archive_holds_the_key_for_the_server_alone() -> None:
    with tarfile.open(fileobj=io.BytesIO(key_archive("abc"))) as archive:
        (file,) = archive.getmembers()
        assert (file.name, file.mode, file.uid, file.gid) == ("key", 0o400, 65534, 65534)
        content = archive.extractfile(file)
        assert content is not None
        assert content.read() == b"abc\n"


def test_a_key_is_handed_over_before_the_start_and_stands_nowhere_else(tmp_path: Path) -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine, keys: ResidentKeys) -> None:
        running = await runtime.start(LAUNCH)
        key = (tmp_path / CONTAINER).read_text().strip()
        assert key.encode() in engine.unpacked
        assert key not in str(engine.created)
        assert "/run/vram-orchestrator/key" in str(engine.created)
        assert running.endpoint.url == "http://127.0.0.1:8080", "its address in that network"
        assert running.endpoint.named == f"{GATEWAY}/upstream/qwen%2F8b"
        assert keys.bearer(running.endpoint.url) == f"Bearer {key}"
        await runtime.stop(running.handle, grace_s=1)
        assert keys.bearer(running.endpoint.url) is None
        assert not list(tmp_path.iterdir())

    calls = play(tmp_path, script).calls
    assert calls.index("POST create") < calls.index("PUT archive") < calls.index("POST start")


def test_its_network_leads_nowhere_and_is_made_once(tmp_path: Path) -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine, _: ResidentKeys) -> None:
        for _again in range(2):
            running = await runtime.start(LAUNCH)
            await runtime.stop(running.handle, grace_s=1)
        assert engine.network is not None
        assert engine.network["Internal"] is True
        assert engine.network["Options"] == {"com.docker.network.bridge.enable_icc": "false"}

    engine = play(tmp_path, script)
    assert engine.calls.count("POST networks/create") == 1


def test_a_container_is_found_again_with_its_key_and_keys_of_the_gone_are_not_kept(
    tmp_path: Path,
) -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine, keys: ResidentKeys) -> None:
        await runtime.start(LAUNCH)
        keys.make("d" * 64)
        keys.make("127.0.0.1:4711")
        later = ResidentKeys(tmp_path)
        again = DockerRuntime(engine.url, ALONE, doors=Doors(later, GATEWAY))
        (found,) = await again.discover()
        await again.close()
        assert later.bearer(found.running.endpoint.url) == f"Bearer {keys.told(CONTAINER)}"
        assert found.running.endpoint.named.startswith(GATEWAY)
        assert {file.name for file in tmp_path.iterdir()} == {CONTAINER, "127.0.0.1:4711"}

    play(tmp_path, script)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ({"Internal": False, "Options": {}}, "does not keep its containers apart"),
        (
            {
                "Internal": True,
                "Options": {"com.docker.network.bridge.enable_icc": "false"},
                "IPAM": {"Config": [{"Gateway": "198.51.100.1"}]},
            },
            "not one of this machine",
        ),
    ],
)
def test_a_network_that_does_not_close_is_refused_before_anybody_leaves(
    tmp_path: Path, network: dict[str, Any], sentence: str
) -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine, _: ResidentKeys) -> None:
        engine.network = {"IPAM": {"Config": []}} | network
        failure = await runtime.lacking(ServiceName("llama"), image=None, container=None)
        assert failure is not None
        assert sentence in failure.detail
        with pytest.raises(StartFailed, match=sentence):
            await runtime.start(LAUNCH)
        assert engine.created is None

    play(tmp_path, script)


def test_a_key_that_does_not_arrive_ends_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    async def script(runtime: DockerRuntime, engine: ScriptedEngine, _: ResidentKeys) -> None:
        with pytest.raises(StartFailed, match="no room"):
            await runtime.start(LAUNCH)
        assert engine.created is None
        assert not list(tmp_path.iterdir())

    play(tmp_path, script, refuses={"PUT archive": (500, "no room")})


def test_a_key_that_cannot_be_kept_ends_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "no folder").write_text("")

    async def script(runtime: DockerRuntime, engine: ScriptedEngine, _: ResidentKeys) -> None:
        with pytest.raises(StartFailed, match="cannot be written"):
            await runtime.start(LAUNCH)
        assert engine.created is None

    play(tmp_path / "no folder", script)


def test_every_container_gets_a_network_that_no_other_is_in(tmp_path: Path) -> None:
    pool = replace(ALONE, isolated=False, networks=("models-1", "models-2"))

    async def script(runtime: DockerRuntime, engine: ScriptedEngine, _: ResidentKeys) -> None:
        first = await runtime.start(OPEN)
        assert engine.created is not None
        assert engine.created["HostConfig"]["NetworkMode"] == "models-1"
        assert first.endpoint.url == "http://vram-qwen-1:8080"
        assert "PortBindings" not in engine.created["HostConfig"]

    play(tmp_path, script, pool)


def test_where_every_network_has_a_container_nothing_is_started(tmp_path: Path) -> None:
    pool = replace(ALONE, isolated=False, networks=("models-1",))

    async def script(runtime: DockerRuntime, engine: ScriptedEngine, _: ResidentKeys) -> None:
        await runtime.start(OPEN)
        engine.calls.clear()
        engine.keeps = True
        with pytest.raises(StartFailed, match="would reach another model"):
            await runtime.start(replace(OPEN, model=ModelName("other")))
        assert "POST create" not in engine.calls
        engine.running = False  # it crashed, and is kept for its log
        engine.calls.clear()
        await runtime.start(replace(OPEN, model=ModelName("other")))
        assert engine.calls.index("DELETE") < engine.calls.index("POST create")

    play(tmp_path, script, pool)


def test_one_that_is_started_by_hand_while_its_network_is_taken_keeps_it(tmp_path: Path) -> None:
    pool = replace(ALONE, isolated=False, networks=("models-1",))

    async def script(runtime: DockerRuntime, engine: ScriptedEngine, _: ResidentKeys) -> None:
        await runtime.start(OPEN)
        engine.running = False  # and it runs again when it is to be removed
        engine.refuses["DELETE"] = (409, "stop the container before removing it")
        client = DockerEngine(engine.url)
        closing = Closing(client, pool, Doors(ResidentKeys(tmp_path)))
        with pytest.raises(StartFailed, match="would reach another model"):
            await closing.placed(replace(OPEN, model=ModelName("other")))
        client.close()

    play(tmp_path, script, pool)
