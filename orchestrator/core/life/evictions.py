"""How residents are made to leave: drained while they serve, then told to go (R5)."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core.life.state import Reservation, State
from orchestrator.core.values.messages import (
    Decide,
    DecisionKind,
    Effect,
    Evict,
    Remember,
)
from orchestrator.core.values.residents import SERVING, InstanceId, Resident, ResidentState
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import to_mb

STUCK_RETRY_S = 30.0  # a stop that failed is tried again; container engines recover by themselves
STOP_RETRIED = (
    f"It is stopped as soon as that works, tried every {STUCK_RETRY_S:.0f} s; else do so by hand."
)


def evict(
    state: State, resident: Resident, now_s: float, why: str, *, force: bool = False
) -> list[Effect]:
    """Tell a resident to go. Whoever is still served there is cut only by `force` (R5)."""
    assert force or not resident.in_use, f"{resident.instance} is in use"
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
        ),
        Evict(going, force),
    ]


def cancel_reservation(state: State, resident: Resident) -> list[Effect]:
    """Give up promised room. Victims that were told to go still go; the others stay."""
    reservation = state.reservations.pop(resident.name, None)
    effects = state.forget(resident)
    return effects + (resume_all(state, reservation.victims) if reservation else [])


def drain(state: State, resident: Resident, now_s: float, why: str) -> list[Effect]:
    """Grant nothing more on it; it leaves when the last one there has finished."""
    draining = state.move(resident, ResidentState.DRAINING, now_s, why)
    return [
        Decide(
            kind=DecisionKind.DRAIN,
            model=resident.name,
            text=f"{resident.name} serves what it has begun and takes nothing new: {why}.",
            why=why,
        ),
        Remember(draining),
    ]


def resume_all(state: State, victims: Mapping[InstanceId, ModelName]) -> list[Effect]:
    """Let residents that were asked to drain serve again, unless somebody else waits for them."""
    effects: list[Effect] = []
    for instance, model in victims.items():
        resident = state.ledger.resident(model)
        if (
            resident is not None
            and resident.instance == instance
            and resident.state is ResidentState.DRAINING
            and not wanted_gone(state, resident)
        ):
            ready = replace(resident, state=ResidentState.READY, why_leaving="")
            state.ledger.put(ready)
            effects.append(Remember(ready))
    return effects


def wanted_gone(state: State, resident: Resident) -> bool:
    return any(
        resident.instance in reservation.victims for reservation in state.reservations.values()
    ) or any(unload.model == resident.name for unload in state.unloads.values())


def progress_drains(state: State, now_s: float) -> list[Effect]:
    """All victims of a plan go together, once all are idle; or none does, and we plan again."""
    effects: list[Effect] = []
    for model, reservation in list(state.reservations.items()):
        if reservation.departing:
            continue
        victims = [
            resident
            for instance, name in reservation.victims.items()
            if (resident := state.ledger.resident(name)) and resident.instance == instance
        ]
        busy = [resident for resident in victims if resident.in_use]
        if not busy:
            effects += depart(state, model, reservation, now_s)
        elif now_s >= reservation.drain_until_s:
            newcomer = state.ledger.resident(model)
            assert newcomer is not None, "a reservation has its resident"
            state.stubborn.setdefault(model, set()).update(each.instance for each in busy)
            names = ", ".join(each.name for each in busy)
            effects.append(
                Decide(
                    kind=DecisionKind.DRAIN,
                    model=model,
                    text=f"{names} did not fall idle within "
                    f"{state.rules.drain_timeout_s:.0f} s; planning again for {model}.",
                    why="a running request is never cut",
                )
            )
            effects += cancel_reservation(state, newcomer)
    return effects


def depart(state: State, model: ModelName, reservation: Reservation, now_s: float) -> list[Effect]:
    """The victims go now. From here on the plan is carried through."""
    reservation.departing = True
    effects: list[Effect] = []
    for instance, name in reservation.victims.items():
        resident = state.ledger.resident(name)
        if resident is None or resident.instance != instance:
            continue
        reservation.waiting_for.add(resident.instance)
        if resident.state in SERVING or resident.state is ResidentState.LOADING:  # started again
            draining = resident.state is ResidentState.DRAINING
            why = (
                resident.why_leaving
                if draining
                else f"{model} needs the room; {resident.why_leaving or 'it is idle'}"
            )
            effects += evict(state, resident, now_s, why)
    return effects


def retry_stop(state: State, resident: Resident, now_s: float) -> list[Effect]:
    going = state.move(resident, ResidentState.UNLOADING, now_s)
    return [Remember(going), Evict(going, force=True)]
