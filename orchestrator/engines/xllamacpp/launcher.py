"""llama.cpp out of the `xllamacpp` wheel: for machines without a llama-server of their own."""

import asyncio
import importlib.util

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.llama import log
from orchestrator.engines.llama.argv import device_environment, server_arguments
from orchestrator.engines.llama.files import FileProblem, broken_file, gguf_problem
from orchestrator.engines.llama.http import LlamaHttp
from orchestrator.engines.python_program import import_path, program
from orchestrator.engines.xllamacpp.flags import FLAGS
from orchestrator.ports import Exit, Launch, Readiness, Use

STOP_GRACE_S = 5.0  # it ends at once on SIGTERM


class XLlamaCpp:
    """Runs `xllamacpp_server` in a process of its own; talks to it as to any llama-server."""

    name = "xllamacpp"

    def __init__(
        self, http: LlamaHttp, *, physical_cores: int, file_problem: FileProblem = gguf_problem
    ) -> None:
        self._http = http
        self._physical_cores = physical_cores
        self._file_problem = file_problem

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        arguments = server_arguments(spec, placement, FLAGS, physical_cores=self._physical_cores)
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=(*program("orchestrator.engines.xllamacpp.server"), *arguments),
            env=import_path() | device_environment(placement),
            devices=placement.devices,
            stop_grace_s=STOP_GRACE_S,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:
        if importlib.util.find_spec("xllamacpp") is None:
            return _NOT_INSTALLED
        return await asyncio.to_thread(broken_file, spec, self._file_problem)

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        return await self._http.readiness(endpoint)

    async def use(self, endpoint: Endpoint) -> Use:
        return await self._http.use(endpoint)

    def classify(self, exit_: Exit) -> Failure:
        return log.classify(exit_)

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Nothing: its process is ours, and stopping it gives the bytes back."""


_NOT_INSTALLED = Failure(
    reason=FailureReason.BINARY_MISSING,
    detail="The package xllamacpp is not installed beside the orchestrator.",
    remedy="Install it: pip install 'vram-orchestrator[local]'.",
)
