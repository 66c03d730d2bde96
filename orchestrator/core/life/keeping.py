"""Models that are kept loaded: they come back by themselves, into free room, while nobody waits.

Nothing of this is a state that somebody must end: it is asked anew at each tick, and what it makes
is a wish with a bound, that no resident leaves for and that gives way to every caller.
"""

from collections.abc import Iterator

from orchestrator.core.life import outages
from orchestrator.core.life.evictions import evict
from orchestrator.core.life.questions import question
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.life.setbacks import RESTORE_WAIT_S
from orchestrator.core.life.state import State
from orchestrator.core.room.planner import Plan, plan, possible
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.messages import Effect, Requested
from orchestrator.core.values.residents import ON_HANG, SERVING, ResidentState
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.tickets import Ticket

_RESTS = frozenset({ResidentState.READY, ResidentState.DRAINING, ResidentState.STUCK})


def note_stirring(state: State, now_s: float) -> None:
    """Remember when a caller last waited, or a resident last was on its way in or out."""
    moves = any(
        resident.state not in _RESTS and not resident.spec.plain_room
        for resident in state.ledger.residents
    )
    waits = any(not line.ours for line in state.queue.lines())
    if state.stirred_s is None or moves or waits:
        state.stirred_s = now_s


def bring_back(state: State, now_s: float) -> list[Effect]:
    """Wish for the most important one that could come. One at a time: it changes the room."""
    quiet = state.stirred_s is not None and now_s - state.stirred_s >= state.rules.quiet_s
    if state.shutting_down or not quiet or state.queue.line_count:
        return []
    for spec in sorted(_away(state), key=lambda spec: (-spec.priority, spec.name)):
        if not in_the_way(state, spec, now_s):
            state.queue.add(_wish(state, spec, now_s))
            text = f"Bringing {spec.name} back: it is kept loaded, there is room and nobody waits."
            return [Decide(kind=DecisionKind.RESTORE, model=spec.name, text=text)]
    return []


def restart_hung(state: State, now_s: float) -> list[Effect]:
    """Stop servers that have been silent for as long as the operator bears, and wish them back.

    Whoever waits for one goes on waiting, for its load; one that is to be unloaded just leaves. It
    counts against its breaker: one that hangs after every start is not started for ever.
    """
    bound_s = state.rules.restart_hung_s
    effects: list[Effect] = []
    for resident in list(state.ledger.residents):
        since_s = resident.silent_since_s
        hangs = resident.state in SERVING and since_s is not None
        if bound_s is None or since_s is None or not hangs or now_s - since_s < bound_s:
            continue
        if resident.spec.service in state.silent:
            continue  # what it runs on does not answer either: nothing can be stopped there
        why = f"its server has not answered for {now_s - since_s:.0f} s"
        failure = Failure(reason=FailureReason.EXITED, detail=f"{why}, and was stopped.")
        breaker = state.breakers.get(resident.name, Breaker())
        state.breakers[resident.name] = breaker.after(failure, now_s)
        effects += evict(state, resident, now_s, f"{why} {ON_HANG}", force=True)
        spec = state.catalogue.get(resident.name)
        unloaded = any(unload.model == resident.name for unload in state.unloads.values())
        if unloaded or resident.name in state.sent_away:
            state.send_away(resident.name)
        elif spec is not None and spec.failed is None and not state.shutting_down:
            state.queue.add(_wish(state, state.believe(spec), now_s))
    return effects


def why_away(state: State, now_s: float) -> dict[ModelName, str]:
    """Of each model that should be kept loaded and is not: what it waits for."""
    return {
        spec.name: in_the_way(state, spec, now_s)
        or "it comes back when nobody has waited and nothing has moved for "
        f"{state.rules.quiet_s:g} s"
        for spec in _away(state)
    }


def in_the_way(state: State, spec: ModelSpec, now_s: float) -> str:
    """Why it does not come back; empty if it could."""
    breaker, silence = state.breakers.get(spec.name), state.silent.get(spec.service)
    if spec.failed is not None:
        return spec.failed.detail
    if spec.name in state.sent_away:
        return "it was unloaded, and comes back when it is next asked for"
    if state.queue.line(spec.name) is not None:
        return "it is on its way"
    if silence is not None:
        return outages.reason(silence)
    if breaker is not None and breaker.refuses(now_s):
        wait_s = breaker.retry_after_s(now_s)
        return (
            f"it failed {breaker.failures} time(s) in a row, and is tried again in {wait_s:.0f} s"
        )
    return "" if spec.footprint.unknown or _has_room(state, spec, now_s) else "there is no room"


def _away(state: State) -> Iterator[ModelSpec]:
    return (
        state.believe(spec)
        for spec in state.catalogue.values()
        if spec.keep_loaded and state.ledger.resident(spec.name) is None
    )


def _has_room(state: State, spec: ModelSpec, now_s: float) -> bool:
    """Also with what it may give up, where it would never fit otherwise."""
    line = Line(spec.name)
    line.add(Wish(_request(spec, Ticket(0)), now_s, now_s, restores=True))
    asked = possible(question(state, line, now_s), state.ledger)
    return isinstance(plan(asked, state.ledger), Plan)


def _wish(state: State, spec: ModelSpec, now_s: float) -> Wish:
    state.internal_tickets -= 1
    request = _request(spec, Ticket(state.internal_tickets))
    return Wish(request, now_s, now_s + RESTORE_WAIT_S, restores=True)


def _request(spec: ModelSpec, ticket: Ticket) -> Requested:
    return Requested(ticket=ticket, spec=spec, priority=spec.priority)
