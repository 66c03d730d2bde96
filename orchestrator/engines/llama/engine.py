"""llama.cpp's server, made for a service: a binary here, an image, a container or one elsewhere."""

from functools import partial

from orchestrator.engines.composed import ComposedEngine
from orchestrator.engines.defined_elsewhere import ExternalLauncher, NamedContainerLauncher
from orchestrator.engines.llama.container import PROGRAM, LlamaImageLauncher
from orchestrator.engines.llama.local import LlamaBinaryLauncher
from orchestrator.engines.llama.log import classify
from orchestrator.engines.llama.router import LlamaRouterTalker
from orchestrator.engines.llama.talker import LlamaTalker
from orchestrator.engines.premises import Premises
from orchestrator.ports import Launcher


def make(premises: Premises) -> ComposedEngine:
    talker = LlamaRouterTalker if premises.external else LlamaTalker
    return ComposedEngine(
        launcher=_launcher(premises),
        talker=talker(premises.http),
        classify=partial(classify, memory_mb=premises.memory_mb),
    )


def _launcher(premises: Premises) -> Launcher:
    if premises.external:
        return ExternalLauncher()
    if premises.container is not None:
        return NamedContainerLauncher(premises.container, premises.lacking)
    if premises.image is not None:
        return LlamaImageLauncher(
            premises.image,
            program=premises.program or PROGRAM,
            models_dir=premises.models_dir,
            hub_home=premises.hub_home,
            physical_cores=premises.physical_cores,
            lacking=premises.lacking,
            file_problem=premises.file_problem,
            env=premises.env,
            closed=premises.closed,
        )
    return LlamaBinaryLauncher(
        premises.programs,
        closed=premises.closed,
        physical_cores=premises.physical_cores,
        file_problem=premises.file_problem,
        env=premises.env,
    )
