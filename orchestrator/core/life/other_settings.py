"""A model that runs, and is asked for with other settings: it leaves as any victim would."""

from orchestrator.core.life import free_room, outages
from orchestrator.core.life.drains import OTHER_SETTINGS, ask_to_leave
from orchestrator.core.life.evictions import let_go
from orchestrator.core.life.grants import deny_line
from orchestrator.core.life.questions import is_due
from orchestrator.core.life.queue import Line
from orchestrator.core.life.state import State
from orchestrator.core.values.messages import Effect
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import ForOtherSettings, Resident


def make_way(state: State, line: Line, resident: Resident, now_s: float) -> list[Effect]:
    """Ask it to leave, or tell those who wait why it does not."""
    if not line.evicts:
        return free_room.deny_other_settings(state, line, resident)
    if resident.name in state.pinned:
        return deny_line(
            state,
            line,
            Refusal(
                code=RefusalCode.PINNED,
                detail=f"{resident.name} is pinned with other settings.",
                remedy="Unpin it, or ask for the settings it runs with.",
            ),
        )
    if (silence := state.silent.get(resident.spec.service)) is not None:
        return deny_line(state, line, outages.refusal(line.model, silence))
    if now_s < resident.settled_until_s:
        return []
    if not resident.in_use:
        cause = ForOtherSettings(until_s=None)
        return let_go(state, resident, cause, now_s, OTHER_SETTINGS)
    asks = line.priority > resident.priority or is_due(state, line, now_s)
    if not asks or resident.resists(resident.name, now_s):
        return []
    cause = ForOtherSettings(now_s + state.rules.drain_timeout_s)
    return ask_to_leave(state, resident, cause, now_s, OTHER_SETTINGS)
