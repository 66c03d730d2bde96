"""A model that runs, and is asked for with other settings: it leaves as any victim would."""

from collections.abc import Sequence

from orchestrator.core.life import free_room, outages
from orchestrator.core.life.drains import OTHER_SETTINGS, ask_to_leave
from orchestrator.core.life.evictions import let_go
from orchestrator.core.life.grants import deny
from orchestrator.core.life.questions import has_waited_enough
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.life.state import State
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
    if now_s < resident.settled_until_s:
        return []
    if not resident.in_use:
        cause = ForOtherSettings(until_s=None)
        return let_go(state, resident, cause, now_s, OTHER_SETTINGS)
    priority = max(wish.request.priority for wish in evicting)
    asks = priority > resident.priority or has_waited_enough(state, line, evicting[0], now_s)
    if not asks or resident.resists(resident.name, now_s):
        return []
    cause = ForOtherSettings(now_s + state.rules.drain_timeout_s)
    return ask_to_leave(state, resident, cause, now_s, OTHER_SETTINGS)
