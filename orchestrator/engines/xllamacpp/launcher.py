"""llama.cpp out of the `xllamacpp` wheel: for machines without a llama-server of their own."""

import asyncio
import importlib.util

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.llama.argv import device_environment, server_arguments
from orchestrator.engines.llama.files import FileProblem, broken_file, gguf_problem
from orchestrator.engines.python_program import import_path, program
from orchestrator.engines.xllamacpp.flags import FLAGS
from orchestrator.ports import Launch

STOP_GRACE_S = 5.0  # it ends at once on SIGTERM


class XLlamaCppLauncher:
    """Runs `server.py` beside this file in a process of its own, which talks as a llama-server."""

    def __init__(
        self, *, physical_cores: int, file_problem: FileProblem = gguf_problem, closed: bool = False
    ) -> None:
        """`closed`: its servers have keys."""
        self._closed = closed
        self._physical_cores = physical_cores
        self._file_problem = file_problem

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        arguments = server_arguments(
            spec, placement, FLAGS, physical_cores=self._physical_cores, closed=self._closed
        )
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


_NOT_INSTALLED = Failure(
    reason=FailureReason.BINARY_MISSING,
    detail="The package xllamacpp is not installed beside the orchestrator.",
    remedy="Install it: pip install 'vram-orchestrator[local]'.",
)
