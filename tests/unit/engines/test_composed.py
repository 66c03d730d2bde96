"""An engine made of parts asks the part that knows."""

import asyncio

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.engines.composed import ComposedEngine
from orchestrator.ports import Exit, Launch, Readiness, Use
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of

SPEC = spec_of()
HERE = Endpoint("http://127.0.0.1:9")
BROKEN = Failure(reason=FailureReason.MODEL_FILE, detail="torn")


class Launching:
    def launch(self, instance, spec, placement):
        return Launch(instance=instance, model=spec.name, service=spec.service)

    async def check(self, spec):
        return BROKEN


class Talking:
    def __init__(self):
        self.unloaded = []

    async def readiness(self, endpoint):
        return Readiness(ReadyState.BROKEN, endpoint.url)

    async def use(self, endpoint):
        return Use(7, None)

    async def unload(self, endpoint, spec):
        self.unloaded.append((endpoint, spec))


def test_each_question_reaches_the_part_that_answers_it():
    talker = Talking()
    engine = ComposedEngine(launcher=Launching(), talker=talker, classify=lambda _: BROKEN)

    async def ask():
        assert engine.launch(INSTANCE, SPEC, ON_HOST).instance == INSTANCE
        assert await engine.check(SPEC) == BROKEN
        assert (await engine.readiness(HERE)).detail == HERE.url
        assert (await engine.use(HERE)).busy_slots == 7
        await engine.unload(HERE, SPEC)

    asyncio.run(ask())
    assert talker.unloaded == [(HERE, SPEC)]
    assert engine.classify(Exit(code=1)) == BROKEN
