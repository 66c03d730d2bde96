"""A llama-server that somebody else runs: checked, waited for, and asked to unload.

Only one in router mode can give a model's memory back; a plain one holds it until its owner
stops it, and then it stays charged.
"""

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.llama import log
from orchestrator.engines.llama.http import LlamaHttp
from orchestrator.errors import Unreachable
from orchestrator.ports import Exit, Launch, Readiness, Use

EXTERNAL = "external"  # the word by which the external runtime knows an address in an argv
UNLOAD = "/models/unload"  # llama.cpp's router


class LlamaExternal:
    name = "llama_cpp"

    def __init__(self, http: LlamaHttp) -> None:
        self._http = http

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        assert spec.url is not None, f"{spec.name}: the configuration saw to its url"
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=(EXTERNAL, spec.url),
            devices=placement.devices,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:  # noqa: ARG002 - its files are not ours
        """Nothing: whether it answers is seen when it is waited for."""
        return None

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        return await self._http.readiness(endpoint)

    async def use(self, endpoint: Endpoint) -> Use:
        return await self._http.use(endpoint)

    def classify(self, exit_: Exit) -> Failure:
        return log.classify(exit_)

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Raise Unreachable if it does not give the memory back: it stays charged then."""
        status = await self._http.tell(endpoint, UNLOAD, {"model": spec.name})
        if status is None or not 200 <= status < 300:
            said = "does not answer" if status is None else f"answers {status}"
            raise Unreachable(
                f"{endpoint.url} was asked to unload {spec.name} and {said}; "
                "a server that is not in router mode has to be stopped by its owner."
            )
