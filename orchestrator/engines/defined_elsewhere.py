"""Launchers of servers that compose or a person defined: a container by name, a server by url.

What is said to them here is only which one it is: their settings and files are their own.
"""

from collections.abc import Awaitable, Callable

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.ports import Launch

Lacking = Callable[[ModelSpec], Awaitable[Failure | None]]  # what the runtime would not find

STOP_GRACE_S = 10.0  # as `docker stop` has it


class NamedContainerLauncher:
    """A container that exists: started to be used, stopped to free what it holds."""

    def __init__(self, container: str, lacking: Lacking) -> None:
        self._container = container
        self._lacking = lacking

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            container=self._container,
            devices=placement.devices,
            stop_grace_s=STOP_GRACE_S,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:
        """Whether there is such a container."""
        return await self._lacking(spec)


class ExternalLauncher:
    """A server that its owner runs: known by its address, never started or stopped."""

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        assert spec.url is not None, f"{spec.name}: the configuration saw to its url"
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            url=spec.url,
            devices=placement.devices,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:  # noqa: ARG002 - the port's
        """Nothing: whether it answers is seen when it is waited for."""
        return None
