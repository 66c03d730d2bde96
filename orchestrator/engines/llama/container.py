"""llama.cpp's server in containers that are made of an image."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.llama.argv import device_environment, server_arguments
from orchestrator.engines.llama.files import FileProblem, broken_file, gguf_problem
from orchestrator.engines.llama.flags import Flags
from orchestrator.engines.premises import Lacking
from orchestrator.ports import Launch

PROGRAM = "llama-server"  # on the image's PATH
STOP_GRACE_S = 10.0  # it ends its running answers first; then it is killed
# What the server of our image accepts: a container cannot be asked for --help before it is made.
# Held against the pinned build by the contract suite.
_VALUED = frozenset(
    {
        "--cache-ram",
        "--ctx-checkpoints",
        "--fit",
        "--device",
        "-fa",
        "--load-mode",
        "--cors-origins",
        "--lora-scaled",
    }
)
_SWITCHES = frozenset(
    {
        *("--kv-unified", "--no-kv-unified", "--no-mmproj-offload", "--metrics", "--slots"),
        *("--jinja", "--no-jinja", "--embeddings", "--no-ui", "--no-slots"),
    }
)
IMAGE_FLAGS = Flags(names=_VALUED | _SWITCHES, valued=_VALUED, listing=frozenset({"--lora-scaled"}))


class LlamaImageLauncher:
    def __init__(
        self,
        image: str,
        *,
        program: str = PROGRAM,
        models_dir: Path | None,
        hub_home: Path,
        physical_cores: int,
        lacking: Lacking,
        file_problem: FileProblem = gguf_problem,
        env: Mapping[str, str] | None = None,
        closed: bool = False,
    ) -> None:
        """`env`: the operator's own, beside what a placement says. `closed`: servers have keys."""
        self._closed = closed
        self._env = dict(env or {})
        self._image = image
        self._program = program
        self._models_dir = models_dir
        self._hub_home = hub_home
        self._physical_cores = physical_cores
        self._lacking = lacking
        self._file_problem = file_problem

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        arguments = server_arguments(
            spec,
            placement,
            IMAGE_FLAGS,
            physical_cores=self._physical_cores,
            closed=self._closed,
        )
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=(self._program, *arguments),
            env=self._env | device_environment(placement),
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
        """What Docker lacks, or what is wrong with the file where it is ours to see."""
        lacking = await self._lacking(spec)
        if lacking is not None or spec.file is None:
            return lacking
        return await asyncio.to_thread(broken_file, spec, self._file_problem)
