"""A model's files are looked at, and brought if need be, before a resident leaves for it (R1)."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.life.grants import bound_s
from orchestrator.core.life.queue import Line, Wish
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


def check_first(line: Line, spec: ModelSpec) -> list[Effect]:
    """No resident leaves for a model that could not start anyway."""
    line.looked_at, line.checked = spec, False
    return [Check(spec)]


def hear_of_files(state: State, event: Bringing | Checked, now_s: float) -> list[Effect]:
    line = state.queue.line(event.model)
    if line is None:
        return []
    there = state.ledger.resident(event.model)
    if there is not None and not line.wants_other_than(there):
        if isinstance(event, Checked) and not line.checked:
            line.looked_at = None  # others started it: if it goes, it is looked at anew
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


def _concerned(state: State, line: Line) -> Sequence[Wish]:
    """Those who wait for such a start; not those whom the model that runs would serve."""
    there = state.ledger.resident(line.model)
    return list(line.wishes.values()) if there is None else line.others_than(there)


def _checked(state: State, line: Line, event: Checked, now_s: float) -> list[Effect]:
    """Its line goes on from here, or hears at once why it never will."""
    looked_at = line.looked_at or line.spec
    found = event.spec or looked_at
    failure = event.failure or (_SIZE_UNKNOWN if found.footprint.unknown else None)
    if failure is not None:
        line.looked_at = (
            None  # who waits on for the model that runs has it looked at anew if it goes
        )
        return cannot_start(state, _concerned(state, line), failure, now_s)
    # What a model takes is found out first: before it is brought, room for it is looked for.
    line.checked = not looked_at.footprint.unknown
    if line.checked:
        mended(state, line.model)
    else:
        line.looked_at = None
    state.queue.supply(found)
    _keep_size(state, found)
    state.ledger.touch()
    if not (line.checked and line.bringing):
        return []
    line.bringing, line.brought_s = "", now_s
    return [
        Decide(kind=DecisionKind.BRING, model=event.model, text=f"{event.model} has all it needs.")
    ]
