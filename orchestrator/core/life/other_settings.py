"""A model that runs, and is asked for with other settings: it leaves as any victim would."""

from collections.abc import Sequence

from orchestrator.core.life import free_room, outages
from orchestrator.core.life.drains import OTHER_SETTINGS, ask_to_leave
from orchestrator.core.life.evictions import let_go
from orchestrator.core.life.files import check_first
from orchestrator.core.life.grants import deny
from orchestrator.core.life.questions import question_instead
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.life.setbacks import breaker_open, give_up
from orchestrator.core.life.state import State
from orchestrator.core.room.explanation import explain
from orchestrator.core.room.planner import find, fitting
from orchestrator.core.room.question import Question
from orchestrator.core.values.messages import Effect
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import ForOtherSettings, Resident


def make_way(
    state: State, line: Line, others: Sequence[Wish], resident: Resident, now_s: float
) -> list[Effect]:
    """Ask it to leave, or tell those who want other settings why it does not. Who waits in the same
    line for the settings that it has makes that no more urgent, and does not hear of it.
    """
    evicting = [wish for wish in others if wish.evicts]
    if not evicting:
        return free_room.deny_other_settings(state, others, resident)
    if resident.name in state.pinned:
        refusal = Refusal(
            code=RefusalCode.PINNED,
            detail=f"{resident.name} is pinned with other settings.",
            remedy="Unpin it, or ask for the settings it runs with.",
        )
        return deny(state, others, refusal)
    if (silence := state.silent.get(resident.spec.service)) is not None:
        return deny(state, others, outages.refusal(line.model, silence))
    asked = question_instead(state, line, evicting, resident, now_s)
    pressing = asked.urgency.priority > resident.priority or asked.urgency.due
    drains = pressing and not resident.resists(resident.name, now_s)
    leaves = now_s >= resident.settled_until_s and (drains or not resident.in_use)
    if leaves or not line.possible:
        if refused := _never(state, line, others, asked):
            return refused
        line.possible = True
    if not leaves:
        return []
    if not line.checked:
        return [] if line.waits_for_files else check_first(line, asked.spec)
    if not resident.in_use:
        cause = ForOtherSettings(until_s=None)
        return let_go(state, resident, cause, now_s, OTHER_SETTINGS)
    cause = ForOtherSettings(now_s + state.rules.drain_timeout_s)
    return ask_to_leave(state, resident, cause, now_s, OTHER_SETTINGS)


def _never(state: State, line: Line, others: Sequence[Wish], asked: Question) -> list[Effect]:
    """What it is told, or given instead, that could not be started if this one had left (R1)."""
    breaker = state.breakers.get(line.model)
    if breaker is not None and breaker.refuses(asked.now_s) and not breaker.cause_outside:
        return deny(state, others, breaker_open(line.model, breaker, asked.now_s))
    if asked.spec.footprint.unknown or find(asked, state.ledger) is not None:
        return []
    refusal = explain(asked, state.ledger)
    if not refusal.lasting:
        return []
    fallback = fitting(asked, state.ledger)
    if fallback is not None:
        return give_up(state, asked.spec, fallback, refusal.detail)
    like = [wish for wish in others if asked.spec.launches_like(wish.request.spec)]
    return deny(state, like, refusal)
