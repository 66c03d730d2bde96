"""llama.cpp's server in a container: made from an image, or one that compose defined by name."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.any_container import Lacking
from orchestrator.engines.llama import log
from orchestrator.engines.llama.argv import device_environment, server_arguments
from orchestrator.engines.llama.files import FileProblem, broken_file, gguf_problem
from orchestrator.engines.llama.flags import Flags
from orchestrator.engines.llama.http import LlamaHttp
from orchestrator.ports import Exit, Launch, Readiness, Use

PROGRAM = "llama-server"  # on the image's PATH
STOP_GRACE_S = 10.0  # it ends its running answers first; then it is killed
# What the server of our image accepts: a container cannot be asked for --help before it is made.
# Held against the pinned build by the contract suite.
IMAGE_FLAGS = Flags(
    names=frozenset(
        {
            *("--kv-unified", "--no-kv-unified", "--cache-ram", "--fit", "--device", "-fa"),
            "--ctx-checkpoints",
            *("--no-mmproj-offload", "--load-mode", "--metrics", "--slots", "--jinja"),
            *("--no-jinja", "--embeddings", "--cors-origins", "--no-ui"),
        }
    ),
    valued=frozenset(
        {
            "--cache-ram",
            "--ctx-checkpoints",
            "--fit",
            "--device",
            "-fa",
            "--load-mode",
            "--cors-origins",
        }
    ),
)


class LlamaContainer:
    name = "llama_cpp"

    def __init__(
        self,
        http: LlamaHttp,
        *,
        image: str | None,
        container: str | None,
        models_dir: Path | None,
        hub_home: Path,
        physical_cores: int,
        lacking: Lacking,
        memory_mb: int | None = None,
        file_problem: FileProblem = gguf_problem,
    ) -> None:
        """Either `image`, to make containers of, or `container`, the name of one that exists."""
        self._http = http
        self._image = image
        self._container = container
        self._models_dir = models_dir
        self._hub_home = hub_home
        self._physical_cores = physical_cores
        self._lacking = lacking
        self._memory_mb = memory_mb
        self._file_problem = file_problem

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        if self._container is not None:
            return Launch(
                instance=instance,
                model=spec.name,
                service=spec.service,
                argv=(),
                container=self._container,
                devices=placement.devices,
                stop_grace_s=STOP_GRACE_S,
            )
        arguments = server_arguments(
            spec, placement, IMAGE_FLAGS, physical_cores=self._physical_cores
        )
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=(PROGRAM, *arguments),
            env=device_environment(placement),
            image=self._image,
            mounts=tuple(self._mounts(spec)),
            devices=placement.devices,
            stop_grace_s=STOP_GRACE_S,
        )

    def _mounts(self, spec: ModelSpec) -> Iterator[Path]:
        if self._models_dir is not None:
            yield self._models_dir
        if spec.hub is not None:
            yield self._hub_home

    async def check(self, spec: ModelSpec) -> Failure | None:
        """What the engine lacks, or what is wrong with the file where it is ours to see."""
        lacking = await self._lacking(spec)
        if lacking is not None or self._container is not None or spec.file is None:
            return lacking
        return await asyncio.to_thread(broken_file, spec, self._file_problem)

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        return await self._http.readiness(endpoint)

    async def use(self, endpoint: Endpoint) -> Use:
        return await self._http.use(endpoint)

    def classify(self, exit_: Exit) -> Failure:
        """The limit of host RAM is the operator's: more room on the device would not help."""
        if not exit_.out_of_memory or self._memory_mb is None:
            return log.classify(exit_)
        return Failure(
            reason=FailureReason.EXITED,
            detail=f"The container was killed at its limit of {self._memory_mb} MB of host RAM.",
            log_tail=exit_.log_tail,
            remedy="Raise memory_mb of the service, or give the model fewer slots or less context.",
        )

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Nothing: stopping the container gives the bytes back."""
