"""What a start leaves behind is removed, now or in the background, and nothing else is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from orchestrator.core.values.residents import InstanceId
from orchestrator.runtimes.docker.engine import DockerEngine
from orchestrator.runtimes.docker.leftovers import Debris
from tests.unit.runtimes.scripted_engine import ScriptedEngine, scripted_engine

OURS = {"vram-orchestrator.identity": "home"}
INSTANCE = InstanceId("qwen-1")


def play(
    script: Callable[[Debris, ScriptedEngine], Awaitable[None]], **defects: Any
) -> ScriptedEngine:
    async def scene(scripted: ScriptedEngine) -> None:
        engine = DockerEngine(scripted.url)
        debris = Debris(engine, OURS)
        try:
            await script(debris, scripted)
        finally:
            await debris.close()
            engine.close()

    with scripted_engine(**defects) as scripted:
        asyncio.run(scene(scripted))
    return scripted


def test_what_was_created_is_removed() -> None:
    async def script(debris: Debris, engine: ScriptedEngine) -> None:
        engine.created = {"Image": "any"}
        await debris.discard(INSTANCE)
        assert engine.created is None
        assert not debris.burying

    play(script)


def test_what_cannot_be_removed_now_is_nobodys_to_find_until_it_is() -> None:
    async def script(debris: Debris, engine: ScriptedEngine) -> None:
        engine.created = {"Image": "any"}
        await debris.discard(INSTANCE)
        await asyncio.sleep(0)
        assert debris.burying == {INSTANCE}
        engine.refuses.clear()
        async with asyncio.timeout(10):
            while debris.burying:
                await asyncio.sleep(0.05)
        assert engine.created is None

    play(script, refuses={"DELETE": (500, "the device is busy")})


def test_a_burial_ends_with_the_daemon() -> None:
    async def script(debris: Debris, engine: ScriptedEngine) -> None:
        debris.bury_later(INSTANCE)
        await asyncio.sleep(0)
        await debris.close()
        assert not debris.burying

    play(script)
