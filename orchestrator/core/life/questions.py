"""What a line asks of the planner: how urgently, at whose expense."""

from collections.abc import Sequence

from orchestrator.core.life.charges import payer, quota_of
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.life.state import State
from orchestrator.core.room.eviction import Urgency
from orchestrator.core.room.question import Question
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.specs import ModelName


def is_due(state: State, line: Line, now_s: float) -> bool:
    return has_waited_enough(state, line, line.first, now_s)


def has_waited_enough(state: State, line: Line, wish: Wish, now_s: float) -> bool:
    """Its patience with others begins when the files of its model are here."""
    waited_s = now_s - max(wish.arrived_s, line.brought_s)
    return waited_s >= state.rules.patience_for(wish.request.spec.load_s)


def urgency(state: State, line: Line, now_s: float) -> Urgency:
    return Urgency(
        priority=line.priority,
        due=is_due(state, line, now_s),
        wisher=line.model,
    )


def question(state: State, line: Line, now_s: float) -> Question:
    """What the line asks for a place."""
    asked = urgency(state, line, now_s)
    return _question(state, line.deciding, asked, now_s)


def question_instead(
    state: State, line: Line, others: Sequence[Wish], resident: Resident, now_s: float
) -> Question:
    """What callers for whom it may leave ask instead of a resident with other settings."""
    asked = Urgency(
        priority=max(wish.request.priority for wish in others),
        due=has_waited_enough(state, line, others[0], now_s),
        wisher=line.model,
    )
    return _question(state, others, asked, now_s, beside=resident.name)


def _question(
    state: State,
    wishes: Sequence[Wish],
    asked: Urgency,
    now_s: float,
    beside: ModelName | None = None,
) -> Question:
    paying = payer(state, wishes, beside=beside)
    return Question(
        spec=wishes[0].request.spec,
        urgency=asked,
        rules=state.rules,
        now_s=now_s,
        ahead_s=state.ahead_s,
        pinned=frozenset(state.pinned),
        silent=frozenset(state.silent),
        policy=state.policy,
        leases_end=state.leases_end(),
        quota=quota_of(state, paying.key, paying.bounds, beside=beside),
        evicts=wishes[0].evicts,
        networks=state.networks,
    )
