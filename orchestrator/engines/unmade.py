"""In the place of an engine that cannot be used: it loads nothing, says why, and leaves alone what
still runs.
"""

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement, ReadyState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.errors import CannotAsk, StartFailed, Unreachable
from orchestrator.ports import Exit, Launch, Readiness, Use

REMEDY = "Mend the package that brings the engine, and start the daemon again."


class UnmadeEngine:
    """Keeps `ports.Engine`."""

    tells_use = False

    def __init__(self, problem: str, *, external: bool = False) -> None:
        """`external`: its servers are their owner's, so that stopping them gives nothing back."""
        self.problem = problem
        self._external = external

    def launch(
        self,
        instance: InstanceId,  # noqa: ARG002 - the port's, all three
        spec: ModelSpec,  # noqa: ARG002
        placement: Placement,  # noqa: ARG002
    ) -> Launch:
        """Nothing is launched after its check. Raise StartFailed."""
        raise StartFailed(self._failure())

    async def check(self, spec: ModelSpec) -> Failure | None:  # noqa: ARG002 - the port's
        return self._failure()

    async def readiness(self, endpoint: Endpoint) -> Readiness:  # noqa: ARG002 - the port's
        """What was ready before this start is left as it is."""
        return Readiness(ReadyState.READY)

    async def use(self, endpoint: Endpoint) -> Use:
        raise CannotAsk(f"{endpoint.url} cannot be asked: {self.problem}")

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """What we started gives back what it holds when it is stopped. Raise Unreachable else."""
        if self._external:
            sentence = f"{spec.name} at {endpoint.url} cannot be asked to unload: {self.problem}."
            raise Unreachable(sentence)

    def classify(self, exit_: Exit, /) -> Failure:
        return Failure(
            reason=FailureReason.EXITED,
            detail=f"Its server ended, and why is not known: {self.problem}.",
            log_tail=exit_.log_tail,
            remedy=REMEDY,
        )

    def _failure(self) -> Failure:
        return Failure(reason=FailureReason.CONFIGURATION, detail=f"{self.problem}.", remedy=REMEDY)
