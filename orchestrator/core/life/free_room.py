"""Wishes for which no resident may have to leave: into free room at once, or refused at once."""

from collections.abc import Sequence

from orchestrator.core.life.evictions import cancel_reservation
from orchestrator.core.life.grants import deny
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.life.state import State
from orchestrator.core.room.explanation import explain, for_free_room_only
from orchestrator.core.room.question import Question
from orchestrator.core.values.messages import Effect
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import Resident, ResidentState

# Their bytes come back within a bound: room that is on its way is waited for.
_GOING = frozenset({ResidentState.UNLOADING, ResidentState.RELEASING})


def deny_without_room(state: State, line: Line, asked: Question) -> list[Effect]:
    """Callers who let no resident leave hear at once that there is no room. Our own wishes wait.

    What never fits is refused, or goes on with less, as for anybody.
    """
    if line.ours or any(resident.state in _GOING for resident in state.ledger.residents):
        return []
    refusal = explain(asked, state.ledger)
    if refusal.lasting:
        return []
    return deny(state, line.deciding, for_free_room_only(refusal))


def deny_other_settings(state: State, others: Sequence[Wish], resident: Resident) -> list[Effect]:
    """It runs, and would have to leave for the settings that these want."""
    return deny(
        state,
        others,
        Refusal(
            code=RefusalCode.CONFLICT,
            detail=f"{resident.name} runs with other settings, and no resident may leave for this "
            "load (`evict: never`).",
            remedy="Ask for the settings it runs with, or leave `evict` out.",
        ),
    )


def cancel_unasked(state: State) -> list[Effect]:
    """Promised room of models that come by themselves is a caller's, if one needs it."""
    return [
        effect
        for resident in list(state.ledger.residents)
        if resident.unasked and resident.state is ResidentState.RESERVED
        for effect in cancel_reservation(state, resident)
    ]
