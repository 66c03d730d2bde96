"""The engine of servers in a fake world: launches them, and talks for them."""

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement, ReadyState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.errors import Unreachable
from orchestrator.ports import Exit, Launch, Readiness, Use
from orchestrator.runtimes.fake.runtime import OUT_OF_MEMORY_LINE, SCHEME, FakeWorld
from orchestrator.runtimes.fake.script import Script


class FakeWorldEngine:
    tells_use = True

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        script = Script(shares=placement.shares, behaviour=spec.fake)
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=script.argv(),
            devices=placement.devices,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:  # noqa: ARG002 - nothing can be wrong
        return None

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        ready = self._world.answers(_instance(endpoint))
        return Readiness(ReadyState.READY if ready else ReadyState.STARTING)

    async def use(self, endpoint: Endpoint) -> Use:
        if not self._world.answers(_instance(endpoint)):
            raise Unreachable(f"no server listens at {endpoint.url}")
        return Use(busy_slots=0, served_total=0.0)

    def classify(self, exit_: Exit) -> Failure:
        ran_out = exit_.out_of_memory or OUT_OF_MEMORY_LINE in exit_.log_tail
        reason = FailureReason.OUT_OF_MEMORY if ran_out else FailureReason.EXITED
        detail = f"it ended with code {exit_.code}"
        return Failure(reason=reason, detail=detail, log_tail=exit_.log_tail)

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """What runs here is stopped by its runtime."""


def _instance(endpoint: Endpoint) -> InstanceId:
    return InstanceId(endpoint.url.removeprefix(SCHEME))
