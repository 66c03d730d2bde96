"""llama.cpp's own `llama-server`, as a binary of this machine."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.llama import binary
from orchestrator.engines.llama.argv import device_environment, server_arguments
from orchestrator.engines.llama.binary import Binary
from orchestrator.engines.llama.files import FileProblem, broken_file, gguf_problem
from orchestrator.errors import StartFailed
from orchestrator.ports import Launch

STOP_GRACE_S = 10.0  # it ends its running answers first; then it is killed


class LlamaBinaryLauncher:
    """Launches the first candidate that survives a probe start, with the flags it accepts."""

    def __init__(
        self,
        candidates: Sequence[Path],
        *,
        physical_cores: int,
        file_problem: FileProblem = gguf_problem,
        env: Mapping[str, str] | None = None,
        closed: bool = False,
    ) -> None:
        """`env`: the operator's own, beside what a placement says. `closed`: servers have keys."""
        self._closed = closed
        self._candidates = tuple(candidates)
        self._physical_cores = physical_cores
        self._file_problem = file_problem
        self._env = dict(env or {})
        self._binary: Binary | None = None

    async def prepare(self) -> Failure | None:
        """Find a server that works, or say why there is none. Cheap while the file stays."""
        if self._binary is not None:
            if binary.identity_of(self._binary.path) == self._binary.identity:
                return None
            self._binary = None
        failures = []
        for path in self._candidates:
            answer = await binary.probe(path)
            if isinstance(answer, Binary):
                self._binary = answer
                return None
            failures.append(answer)
        return failures[0] if failures else _NO_SERVER

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        """Pure, once a server is known. Raise StartFailed before that: `prepare` finds one."""
        if self._binary is None:
            raise StartFailed(_NO_SERVER)
        arguments = server_arguments(
            spec,
            placement,
            self._binary.flags,
            physical_cores=self._physical_cores,
            closed=self._closed,
        )
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=(str(self._binary.path), *arguments),
            env=self._env | device_environment(placement),
            devices=placement.devices,
            stop_grace_s=STOP_GRACE_S,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:
        return (
            await self.prepare()
            or self._unknown_argument(spec)
            or self._without_key()
            or await asyncio.to_thread(broken_file, spec, self._file_problem)
        )

    def _without_key(self) -> Failure | None:
        """Of a service whose servers are to have keys, where this build knows none."""
        assert self._binary is not None, "prepare has found one"
        if not self._closed or "--api-key-file" in self._binary.flags:
            return None
        return Failure(
            reason=FailureReason.ARGUMENTS,
            detail=f"{self._binary.path} ({self._binary.version}) knows no --api-key-file.",
            remedy="Install a newer build, or let the service be open: closed: false.",
        )

    def _unknown_argument(self, spec: ModelSpec) -> Failure | None:
        """The first of the operator's own arguments that this build has no flag for."""
        assert self._binary is not None, "prepare has found one"
        flag = self._binary.flags.unknown(spec.serving.extra_args)
        if flag is None:
            return None
        return Failure(
            reason=FailureReason.ARGUMENTS,
            detail=f"{self._binary.path} ({self._binary.version}) knows no {flag}.",
            remedy="Correct extra_args of the model, or install a build that knows it.",
        )


_NO_SERVER = Failure(
    reason=FailureReason.BINARY_MISSING,
    detail="No llama-server was found that starts on this machine.",
    remedy=binary.REMEDY,
)
