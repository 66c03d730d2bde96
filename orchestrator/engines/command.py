"""Any program that the operator names: launched word by word as it is written."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.composed import ComposedEngine
from orchestrator.engines.health_path import HealthPathTalker
from orchestrator.engines.llama.log import classify
from orchestrator.engines.premises import Lacking, Premises
from orchestrator.ports import HOST_TOKEN, PORT_TOKEN, Exit, Launch, Launcher

STOP_GRACE_S = 10.0  # as `docker stop` has it
HEALTH = "/health"  # where programs that serve models mostly have it


class CommandLauncher:
    """A process of this machine, or a container of an image in which the command is run."""

    def __init__(
        self, search_path: str, *, image: str | None = None, lacking: Lacking | None = None
    ) -> None:
        """`search_path`: where a program's name is looked up. `lacking`: of an image, what Docker
        would not find.
        """
        self._search_path = search_path
        self._image = image
        self._lacking = lacking

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        assert spec.program is not None, f"{spec.name}: the configuration saw to its command"
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=tuple(_filled(word, spec) for word in spec.program.argv),
            env={name: _filled(value, spec) for name, value in spec.program.env},
            image=self._image,
            devices=placement.devices,
            stop_grace_s=STOP_GRACE_S,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:
        """Whether there is such a program, or what Docker lacks."""
        if self._lacking is not None:
            return await self._lacking(spec)
        return await asyncio.to_thread(self._program_problem, spec)

    def _program_problem(self, spec: ModelSpec) -> Failure | None:
        assert spec.program is not None, f"{spec.name}: the configuration saw to its command"
        program = _filled(spec.program.argv[0], spec)
        if "/" not in program:
            search_path = dict(spec.program.env).get("PATH", self._search_path)
            found = shutil.which(program, path=search_path) is not None
            return None if found else _missing(f"{program} is not on the PATH of the daemon.")
        if not Path(program).is_file():
            return _missing(f"There is no program {program}.")
        return None if os.access(program, os.X_OK) else _missing(f"{program} is not executable.")


def _filled(word: str, spec: ModelSpec) -> str:
    known: Mapping[str, str] = {
        "${PORT}": PORT_TOKEN,
        "${HOST}": HOST_TOKEN,
        "${MODEL}": spec.name,
    }
    for written, value in known.items():
        word = word.replace(written, value)
    return word


def _missing(detail: str) -> Failure:
    return Failure(
        reason=FailureReason.BINARY_MISSING,
        detail=detail,
        remedy="Install it, or correct the command; its first word is a name on PATH or a path.",
    )


_REMEDIES: Mapping[FailureReason, str] = {
    FailureReason.OUT_OF_MEMORY: "Declare what it takes (vram_mb), or make room on the device.",
    FailureReason.ARGUMENTS: "Correct the model's command: its log shows what is not accepted.",
    FailureReason.BINARY_MISSING: "Install what the program needs, or correct its command and env.",
    FailureReason.MODEL_FILE: "Check the files that its command names.",
    FailureReason.EXITED: "Read the model's log; if it says nothing, run its command by hand.",
}


def classify_program(exit_: Exit, *, memory_mb: int | None = None) -> Failure:
    """Why any program ended: PyTorch, CUDA and argparse say it in the words of all others. Pure."""
    failure = classify(exit_, memory_mb=memory_mb)
    limited = exit_.out_of_memory and memory_mb is not None  # its remedy is the operator's limit
    remedy = None if limited else _REMEDIES.get(failure.reason)
    return failure if remedy is None else replace(failure, remedy=remedy)


def make(premises: Premises) -> ComposedEngine:
    if premises.image is not None:
        launcher = CommandLauncher("", image=premises.image, lacking=premises.lacking)
    else:
        launcher = CommandLauncher(premises.search_path)
    return program_engine(launcher, premises, health=HEALTH)


def program_engine(launcher: Launcher, premises: Premises, *, health: str) -> ComposedEngine:
    """Of a program that is known by one path; `health`, where its service names none."""
    talker = HealthPathTalker(
        premises.http,
        premises.health or health,
        metrics=premises.metrics,
        busy=premises.busy,
    )
    return ComposedEngine(
        launcher=launcher,
        talker=talker,
        classify=partial(classify_program, memory_mb=premises.memory_mb),
    )
