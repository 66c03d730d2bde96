"""An engine put together from its three parts, so that one launcher can serve many talkers."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.ports import Exit, Launch, Launcher, Readiness, Talker, Use


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedEngine:
    """Keeps `ports.Engine`."""

    launcher: Launcher
    talker: Talker
    classify: Callable[[Exit], Failure]

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        return self.launcher.launch(instance, spec, placement)

    async def check(self, spec: ModelSpec) -> Failure | None:
        return await self.launcher.check(spec)

    @property
    def tells_use(self) -> bool:
        return self.talker.tells_use

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        return await self.talker.readiness(endpoint)

    async def use(self, endpoint: Endpoint) -> Use:
        return await self.talker.use(endpoint)

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        await self.talker.unload(endpoint, spec)
