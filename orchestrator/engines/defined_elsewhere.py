"""Launchers of servers that compose or a person defined: a container by name, a server by url.

What is said to them here is only which one it is: their settings and files are their own.
"""

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.command import program_engine
from orchestrator.engines.composed import ComposedEngine
from orchestrator.engines.premises import Lacking, Premises
from orchestrator.ports import Launch

STOP_GRACE_S = 10.0  # as `docker stop` has it
ANSWERS = "/"  # asked of a program of which nothing is known


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


def make(premises: Premises) -> ComposedEngine:
    """Any program in a container that exists."""
    assert premises.container is not None  # the configuration saw to that
    launcher = NamedContainerLauncher(premises.container, premises.lacking)
    return program_engine(launcher, premises, health=ANSWERS)


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
