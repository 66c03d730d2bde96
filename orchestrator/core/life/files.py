"""A model's files are looked at, and brought if need be, before a resident leaves for it (R1)."""

from dataclasses import replace

from orchestrator.core.life.grants import bound_s
from orchestrator.core.life.queue import Line
from orchestrator.core.life.setbacks import cannot_start, mended
from orchestrator.core.life.state import State
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.messages import Bringing, Check, Checked, Effect
from orchestrator.core.values.specs import ModelSpec

_SIZE_UNKNOWN = Failure(
    reason=FailureReason.MODEL_FILE,
    detail="What it takes could not be found out.",
    remedy="Say it: vram_mb of the model.",
)


def check_first(line: Line) -> list[Effect]:
    """No resident leaves for a model that could not start anyway."""
    line.check_began, line.checked = True, False
    return [Check(line.spec)]


def hear_of_files(state: State, event: Bringing | Checked, now_s: float) -> list[Effect]:
    line = state.queue.line(event.model)
    if line is None:
        return []
    if state.ledger.resident(event.model) is not None:
        if isinstance(event, Checked):
            line.check_began = line.checked  # others started it: if it goes, it is looked at anew
        return []
    if isinstance(event, Bringing):
        return _bringing(state, line, event, now_s)
    return _checked(state, line, event, now_s)


def _bringing(state: State, line: Line, event: Bringing, now_s: float) -> list[Effect]:
    """Who waits for it sees how far it is, and is not refused for it meanwhile."""
    first = not line.bringing
    line.bringing = event.progress
    state.queue.extend_deadline(event.model, now_s + bound_s(state, line.spec))
    state.ledger.touch()
    if not first:
        return []
    return [
        Decide(
            kind=DecisionKind.BRING,
            model=event.model,
            text=f"{event.model} is not complete: {line.spec.hub or event.progress} is brought "
            "here first.",
            why="nobody leaves for it before it is here",
        )
    ]


def _keep_size(state: State, found: ModelSpec) -> None:
    """Of a model as configured: our own wishes for it begin with what is known."""
    known = state.catalogue.get(found.name)
    if known is None or not known.footprint.unknown or known.hub != found.hub:
        return
    if known.wanted == found.wanted:
        sized = replace(known, footprint=found.footprint)
        state.catalogue = {**state.catalogue, found.name: sized}


def _checked(state: State, line: Line, event: Checked, now_s: float) -> list[Effect]:
    """Its line goes on from here, or hears at once why it never will."""
    if event.failure is not None:
        return cannot_start(state, line, event.failure, now_s)
    found = event.spec or line.spec
    if found.footprint.unknown:
        return cannot_start(state, line, _SIZE_UNKNOWN, now_s)
    # What a model takes is found out first: before it is brought, room for it is looked for.
    line.checked = not line.spec.footprint.unknown
    line.check_began = line.checked
    if line.checked:
        mended(state, line.model)
    state.queue.supply(found)
    _keep_size(state, found)
    state.ledger.touch()
    if not (line.checked and line.bringing):
        return []
    line.bringing, line.brought_s = "", now_s
    return [
        Decide(kind=DecisionKind.BRING, model=event.model, text=f"{event.model} has all it needs.")
    ]
