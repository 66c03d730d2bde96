"""How residents are told to leave: once their servers have said that they are idle (R5)."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.life.state import State
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.messages import AskUse, Effect, Evict, Remember
from orchestrator.core.values.residents import (
    SERVING,
    ForNewcomer,
    Leaving,
    Look,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import to_mb

LOOK_S_MAX = 15.0  # the disk and two looks at a server that hangs take less: else no answer comes
STUCK_RETRY_S = 30.0  # a stop that failed is tried again; container engines recover by themselves
STOP_RETRIED = (
    f"It is stopped as soon as that works, tried every {STUCK_RETRY_S:.0f} s; else do so by hand."
)


def let_go(
    state: State, resident: Resident, cause: Leaving, now_s: float, why: str
) -> list[Effect]:
    """Make an idle resident leave, unless its server says that it is in use."""
    assert not resident.in_use, f"{resident.instance} is in use"
    if not must_be_asked(resident):
        return evict(state, resident, now_s, why)
    effects = take_aside(state, resident, cause, now_s, why)
    if resident.look is not None:
        return effects  # its answer is on the way
    return effects + ask(state, (resident.name,), now_s)


def must_be_asked(resident: Resident) -> bool:
    """Whether a server could be at work for a client that nobody has seen yet (R13)."""
    return resident.state in SERVING and not resident.spec.plain_room


def take_aside(
    state: State, resident: Resident, cause: Leaving, now_s: float, why: str
) -> list[Effect]:
    """Grant nothing more on it, and write that down: its stop will not wait for the disk."""
    if resident.state is ResidentState.DRAINING and cause in resident.leaving:
        return []
    leaving = (*resident.leaving, cause)
    aside = replace(resident, leaving=leaving, why_leaving=why)
    if resident.state is ResidentState.DRAINING:
        state.ledger.put(aside)
        return []
    return [Remember(state.move(aside, ResidentState.DRAINING, now_s))]


def ask(state: State, models: Sequence[ModelName], now_s: float) -> list[Effect]:
    """Ask the servers of those models, all at once, whether they are idle."""
    state.look_count += 1
    look = Look(state.look_count, now_s + LOOK_S_MAX)
    asked = []
    for model in models:
        resident = state.ledger.resident(model)
        assert resident is not None, "only residents are asked"
        asked.append(replace(resident, look=look))
        state.ledger.put(asked[-1])
    return [AskUse(look.number, tuple(asked))]


def evict(
    state: State,
    resident: Resident,
    now_s: float,
    why: str,
    *,
    force: bool = False,
    asked: bool = False,
) -> list[Effect]:
    """Tell a resident to go. A request that it still serves is cut only by `force` (R5).

    `asked`: its server has just said that it is idle.
    """
    assert force or not resident.in_use, f"{resident.instance} is in use"
    assert force or asked or not must_be_asked(resident), f"{resident.instance} was not asked"
    effects = state.drop_leases(resident)
    resident = state.current(resident)
    if resident.state is ResidentState.RESERVED:
        return effects + cancel_reservation(state, resident)
    if resident.spec.plain_room:
        return effects + state.forget(resident)
    going = state.move(resident, ResidentState.UNLOADING, now_s, why)
    verb = "Stopping" if force else "Evicting"
    return [
        *effects,
        Remember(going),
        Decide(
            kind=DecisionKind.EVICT,
            model=going.name,
            text=f"{verb} {going.name} ({to_mb(going.placement.total_bytes)} MB): {why}.",
            why=why,
            key=_newcomers_key(state, resident),
        ),
        Evict(going, force, asked),
    ]


def _newcomers_key(state: State, leaving: Resident) -> str | None:
    """Whose wish makes it leave; None: nobody's model needs its room, or the wish had no key."""
    newcomers = (cause.model for cause in leaving.leaving if isinstance(cause, ForNewcomer))
    found = map(state.ledger.resident, newcomers)
    return next((newcomer.key for newcomer in found if newcomer is not None), None)


def retry_stop(state: State, resident: Resident, now_s: float) -> list[Effect]:
    """Try a stop that failed once more."""
    going = state.move(resident, ResidentState.UNLOADING, now_s)
    return [Remember(going), Evict(going, force=True)]


def cancel_reservation(state: State, resident: Resident) -> list[Effect]:
    """Give up promised room. Victims that were told to go still go; the others stay."""
    state.reservations.pop(resident.name, None)
    return state.forget(resident)
