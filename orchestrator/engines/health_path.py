"""Any program in a container that somebody else defined: started to be used, stopped to free it.

It is known by one address that answers when it is ready. What it does meanwhile is not seen: who
uses it takes a lease, or loads it with an owner.
"""

from collections.abc import Awaitable, Callable

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.llama import log
from orchestrator.engines.llama.http import LlamaHttp
from orchestrator.ports import Exit, Launch, Readiness, ReadyState, Use

Lacking = Callable[[ModelSpec], Awaitable[Failure | None]]  # what the runtime would not find

STOP_GRACE_S = 10.0  # as `docker stop` has it
REFUSING_STATUS = 500  # from here on a server says that it cannot, below that the caller is wrong


class SomeContainer:
    name = "container"

    def __init__(self, http: LlamaHttp, *, container: str, health: str, lacking: Lacking) -> None:
        """`health` is the path that is asked, such as /health."""
        self._http = http
        self._lacking = lacking
        self._container = container
        self._health = health

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=(),
            container=self._container,
            devices=placement.devices,
            stop_grace_s=STOP_GRACE_S,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:
        """Whether there is such a container; its files are its own affair."""
        return await self._lacking(spec)

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        """Any answer below 500 is one of a program that works, also that it wants a key.

        Never broken: a proxy in front says many things while the program behind it loads.
        """
        status = await self._http.knock(endpoint, self._health)
        if status is None:
            return Readiness(ReadyState.STARTING, "no answer yet")
        if status >= REFUSING_STATUS:
            return Readiness(ReadyState.STARTING, f"{self._health} answers {status}")
        return Readiness(ReadyState.READY)

    async def use(self, endpoint: Endpoint) -> Use:  # noqa: ARG002 - it has no counters
        return Use(busy_slots=None, served_total=None)

    def classify(self, exit_: Exit) -> Failure:
        """Programs on CUDA and PyTorch run out of memory in much the same words as llama.cpp."""
        return log.classify(exit_)

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Nothing: stopping the container gives the bytes back."""
