"""An engine of your own: what it declares, what it launches, and how its servers are asked.

This one runs a program that knows nothing of models, Python's file server. Put your own in its
place: `launch` says what is run, `HealthPathTalker` asks a path until it answers.
"""

import sys

from orchestrator.config.engine_kind import EngineKind
from orchestrator.config.sections import RuntimeName
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.command import classify_program
from orchestrator.engines.composed import ComposedEngine
from orchestrator.engines.health_path import HealthPathTalker
from orchestrator.engines.premises import Premises
from orchestrator.ports import HOST_TOKEN, PORT_TOKEN, Launch

KIND = EngineKind(
    name="file_server",
    about="Python's own file server.",
    maker="file_server_engine:make",
    runtimes=(RuntimeName.PROCESS,),
    service_keys=frozenset({"health"}),
    tells_use=False,
)


class FileServerLauncher:
    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=(sys.executable, "-P", "-m", "http.server", "--bind", HOST_TOKEN, PORT_TOKEN),
            devices=placement.devices,
        )

    async def check(self, spec: ModelSpec) -> Failure | None:
        """What would keep it from coming up, found before any other model leaves for it."""
        if sys.executable:
            return None
        return Failure(
            reason=FailureReason.BINARY_MISSING,
            detail=f"{spec.name} needs a Python, and it is not known where that is.",
            remedy="Start the daemon by the full path of its program.",
        )


def make(premises: Premises) -> ComposedEngine:
    return ComposedEngine(
        launcher=FileServerLauncher(),
        talker=HealthPathTalker(premises.http, premises.health or "/"),
        classify=classify_program,
    )
