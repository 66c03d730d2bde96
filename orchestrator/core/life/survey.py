"""The scheduler's state as a value that can be shown."""

from orchestrator.core.life.keeping import why_away
from orchestrator.core.life.questions import is_due, question
from orchestrator.core.life.queue import Line
from orchestrator.core.life.state import State
from orchestrator.core.room.explanation import explain
from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.snapshot import Snapshot, Waiting

LINES_EXPLAINED_MAX = 16  # what a person reads; the lines behind them wait for those before


def survey(state: State, now_s: float) -> Snapshot:
    return Snapshot(
        now_s=now_s,
        version=state.ledger.version,
        accounts=tuple(state.ledger.accounts()),
        residents=tuple(state.ledger.residents),
        leases=tuple(state.leases.values()),
        queue=tuple(
            _waiting(state, line, position, now_s)
            for position, line in enumerate(state.queue.lines())
        ),
        pinned=frozenset(state.pinned),
        breakers=dict(state.breakers),
        away=why_away(state, now_s),
        silent=dict(state.silent),
        restart_hung_s=state.rules.restart_hung_s,
    )


def _waiting(state: State, line: Line, position: int, now_s: float) -> Waiting:
    waits_for, possible_s = _waits_for(state, line, position, now_s)
    return Waiting(
        model=line.model,
        priority=line.priority,
        callers=sum(1 for wish in line.wishes.values() if not wish.restores),
        waited_s=now_s - line.arrived_s,
        bound_s=line.first.ends_by_s - line.arrived_s,
        waits_for=waits_for,
        possible_s=possible_s,
    )


def _waits_for(state: State, line: Line, position: int, now_s: float) -> tuple[str, float | None]:
    """In words, and until when, if that is known."""
    resident = state.ledger.resident(line.model)
    if resident is not None:
        ready_s = resident.state_since_s + resident.spec.load_s
        loads = resident.state is ResidentState.LOADING and ready_s > now_s
        return _waits_for_resident(state, resident), ready_s if loads else None
    if line.waits_for_files:
        return line.bringing or "its files to be looked at", None
    if position >= LINES_EXPLAINED_MAX:
        return "those before it in the queue", None
    due = " It is due: those in its way drain." if is_due(state, line, now_s) else ""
    refusal = explain(question(state, line, now_s), state.ledger)
    return refusal.detail + due, refusal.possible_s


def _waits_for_resident(state: State, resident: Resident) -> str:
    reservation = state.reservations.get(resident.name)
    if resident.silent_since_s is not None:
        return "its server to answer again"
    if resident.state is ResidentState.LOADING:
        return "its load"
    if resident.state is not ResidentState.RESERVED or reservation is None:
        return f"its earlier instance, which is {resident.state}"
    if not reservation.departing:
        names = sorted(reservation.victims.values())
        return f"{', '.join(names)} to finish what they serve"
    waited_for = sorted(
        name
        for instance, name in reservation.victims.items()
        if instance in reservation.waiting_for
    )
    return f"{', '.join(waited_for)} to leave" if waited_for else "the device to give bytes back"
