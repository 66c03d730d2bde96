"""The llama.cpp inside the xllamacpp wheel, made for a service."""

from orchestrator.engines.composed import ComposedEngine
from orchestrator.engines.llama.log import classify
from orchestrator.engines.llama.talker import LlamaTalker
from orchestrator.engines.premises import Premises
from orchestrator.engines.xllamacpp.launcher import XLlamaCppLauncher


def make(premises: Premises) -> ComposedEngine:
    launcher = XLlamaCppLauncher(
        physical_cores=premises.physical_cores,
        file_problem=premises.file_problem,
        closed=premises.closed,
    )
    return ComposedEngine(launcher=launcher, talker=LlamaTalker(premises.http), classify=classify)
