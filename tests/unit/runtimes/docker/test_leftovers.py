"""What a start leaves behind is removed, now or in the background, and nothing else is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from orchestrator.core.values.residents import InstanceId
from orchestrator.runtimes.docker.engine import DockerEngine
from orchestrator.runtimes.docker.leftovers import Leftovers
from tests.unit.runtimes.scripted_engine import CONTAINER, ScriptedEngine, scripted_engine

OURS = {"vram-orchestrator.identity": "home"}
INSTANCE = InstanceId("qwen-1")


def play(
    script: Callable[[Leftovers, ScriptedEngine], Awaitable[None]], **defects: Any
) -> ScriptedEngine:
    async def scene(scripted: ScriptedEngine) -> None:
        engine = DockerEngine(scripted.url)
        leftovers = Leftovers(engine, OURS, scripted.forgotten.append)
        try:
            await script(leftovers, scripted)
        finally:
            await leftovers.close()
            engine.close()

    with scripted_engine(**defects) as scripted:
        asyncio.run(scene(scripted))
    return scripted


def test_what_was_created_is_removed() -> None:
    async def script(leftovers: Leftovers, engine: ScriptedEngine) -> None:
        engine.created = {"Image": "any"}
        await leftovers.discard(INSTANCE)
        assert engine.created is None
        assert engine.forgotten == [CONTAINER]
        assert not leftovers.removing

    play(script)


def test_what_cannot_be_removed_now_is_nobodys_to_find_until_it_is() -> None:
    async def script(leftovers: Leftovers, engine: ScriptedEngine) -> None:
        engine.created = {"Image": "any"}
        await leftovers.discard(INSTANCE)
        await asyncio.sleep(0)
        assert leftovers.removing == {INSTANCE}
        engine.refuses.clear()
        async with asyncio.timeout(10):
            while leftovers.removing:
                await asyncio.sleep(0.05)
        assert engine.created is None

    play(script, refuses={"DELETE": (500, "the device is busy")})


def test_a_burial_ends_with_the_daemon() -> None:
    async def script(leftovers: Leftovers, engine: ScriptedEngine) -> None:
        leftovers.remove_later(INSTANCE)
        await asyncio.sleep(0)
        await leftovers.close()
        assert not leftovers.removing

    play(script)
