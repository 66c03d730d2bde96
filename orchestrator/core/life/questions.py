"""What a line asks of the planner: how urgently, at whose expense."""

from orchestrator.core.life.charges import payer, quota_of
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.life.state import State
from orchestrator.core.room.eviction import Urgency
from orchestrator.core.room.question import Question


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
    paying = payer(state, line)
    return Question(
        spec=line.spec,
        urgency=urgency(state, line, now_s),
        rules=state.rules,
        now_s=now_s,
        ahead_s=state.ahead_s,
        pinned=frozenset(state.pinned),
        silent=frozenset(state.silent),
        policy=state.policy,
        leases_end=state.leases_end_s,
        quota=quota_of(state, paying.key, paying.bounds),
        evicts=line.evicts,
    )
