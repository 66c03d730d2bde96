"""How residents leave: drained, evicted, verified gone, their bytes given back (R3, R5, R10)."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core.leases import Ticket
from orchestrator.core.messages import (
    Decide,
    DecisionKind,
    Deny,
    Effect,
    Evict,
    Finish,
    Remember,
    Uncheck,
    UnloadRequested,
    UnloadStatus,
)
from orchestrator.core.refusals import Blocker, Refusal, RefusalCode
from orchestrator.core.residents import SERVING, InstanceId, Resident, ResidentState
from orchestrator.core.specs import ModelName
from orchestrator.core.state import Repayment, Reservation, State
from orchestrator.core.vram import to_mb

STUCK_RETRY_S = 30.0  # a stop that failed is tried again; container engines recover by themselves
# A driver that has not given bytes back after so long has lost them to somebody else.
RELEASE_GIVEN_UP_S = 300.0
# Bytes come back within 1.5 s. When most are back and the rest has not moved for so long, the
# rest is somebody else's, who took it meanwhile.
REPAYMENT_STEADY_S = 3.0
_STOP_RETRIED = (
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


# --- unloads ---------------------------------------------------------------------------------


def begin_unload(state: State, unload: UnloadRequested, now_s: float) -> list[Effect]:
    """Release the owner's lease first; leave only if nobody else holds the model."""
    resident = state.ledger.resident(unload.model)
    if resident is None:
        nobody_here = _finish(unload.ticket, UnloadStatus.NOT_LOADED)
        if not unload.force:
            return [nobody_here]
        return [*_deny_waiting(state, unload.model, "came"), Uncheck(unload.model), nobody_here]
    if resident.state is ResidentState.RELEASING:
        state.unloads[unload.ticket] = unload
        return []
    effects: list[Effect] = []
    if unload.owner is not None or unload.lease is not None:
        for lease in list(state.leases_on(resident.instance)):
            if lease.id == unload.lease or (
                lease.owner is not None and lease.owner == unload.owner
            ):
                effects += state.end_lease(lease.id, now_s)
        resident = state.current(resident)
        if resident.in_use and not unload.force:
            left = sum(1 for _ in state.leases_on(resident.instance))
            return [*effects, _finish(unload.ticket, UnloadStatus.RELEASED, left)]
    state.unloads[unload.ticket] = unload
    if unload.force:
        effects += _force_out(state, resident, now_s)
    elif resident.state is ResidentState.STUCK:
        effects += retry_stop(state, resident, now_s)
    return effects


def _force_out(state: State, resident: Resident, now_s: float) -> list[Effect]:
    if resident.state is ResidentState.STUCK:
        return retry_stop(state, resident, now_s)
    if resident.state is ResidentState.UNLOADING:
        return []
    effects: list[Effect] = []
    if resident.state in (ResidentState.RESERVED, ResidentState.LOADING):
        effects += _deny_waiting(state, resident.name, "loaded")
    return effects + evict(state, resident, now_s, "unloaded by force", force=True)


def _deny_waiting(state: State, model: ModelName, did: str) -> list[Effect]:
    refusal = Refusal(
        code=RefusalCode.CONFLICT,
        detail=f"{model} was unloaded by force while it {did}.",
        remedy="Load it again.",
    )
    return [Deny(ticket, refusal) for ticket in state.queue.dissolve(model)]


def progress_unloads(state: State, now_s: float) -> list[Effect]:
    """Move every pending unload on: drain, evict, or give up at its deadline."""
    effects: list[Effect] = []
    for ticket, unload in list(state.unloads.items()):
        resident = state.ledger.resident(unload.model)
        if resident is None:
            continue  # finished where it was forgotten
        if resident.state is ResidentState.READY and resident.in_use:
            effects += drain(state, resident, now_s, "it was asked to unload")
            resident = state.current(resident)
        if now_s >= unload.deadline_s and resident.state is not ResidentState.RELEASING:
            del state.unloads[ticket]
            effects.append(Deny(ticket, _still_in_use(state, resident)))
            effects += resume_all(state, {resident.instance: resident.name})
            continue
        if _may_go(state, resident):
            effects += evict(state, resident, now_s, "it was asked to unload")
    return effects


def _may_go(state: State, resident: Resident) -> bool:
    """Nobody uses it; and while it is on its way in, nobody waits for it either."""
    if resident.state in (ResidentState.RESERVED, ResidentState.LOADING):
        return state.queue.line(resident.name) is None and not resident.in_use
    return resident.state in SERVING and not resident.in_use


def _still_in_use(state: State, resident: Resident) -> Refusal:
    holders = sorted({lease.owner or "a request" for lease in state.leases_on(resident.instance)})
    stuck = resident.state in (ResidentState.STUCK, ResidentState.UNLOADING)
    why = (
        f"it is {resident.state}: {resident.why_leaving.rstrip('.')}"
        if stuck
        else f"in use by {', '.join(holders) or 'a caller that reaches its server directly'}"
    )
    return Refusal(
        code=RefusalCode.CONFLICT if stuck else RefusalCode.IN_USE,
        detail=f"{resident.name} was not unloaded in time: {why}.",
        remedy=_STOP_RETRIED if stuck else "Wait for them, release their leases, or force it.",
        blockers=tuple(
            Blocker(device=device, held_bytes=share, why=why, model=resident.name)
            for device, share in resident.placement.shares
        ),
    )


def finish_unloads(state: State, resident: Resident, *, verified: bool) -> list[Effect]:
    """Tell everybody who waited for this resident to be gone."""
    done = [ticket for ticket, each in state.unloads.items() if each.model == resident.name]
    for ticket in done:
        del state.unloads[ticket]
    freed = resident.placement.total_bytes
    return [
        Finish(
            ticket=ticket,
            status=UnloadStatus.UNLOADED,
            freed_bytes=freed,
            verified=verified,
            remaining_leases=0,
        )
        for ticket in done
    ]


def _finish(ticket: Ticket, status: UnloadStatus, remaining_leases: int = 0) -> Finish:
    return Finish(
        ticket=ticket,
        status=status,
        freed_bytes=0,
        verified=True,
        remaining_leases=remaining_leases,
    )


# --- drains of a reservation -----------------------------------------------------------------


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


# --- after the stop --------------------------------------------------------------------------


def stopped(state: State, resident: Resident, now_s: float) -> list[Effect]:
    """It is verified gone; now the device owes us its bytes (R3)."""
    effects = state.drop_leases(resident)
    gone = state.move(state.current(resident), ResidentState.RELEASING, now_s)
    return [*effects, Remember(gone)]


def release_returned(state: State, now_s: float) -> list[Effect]:
    """Forget those whose bytes are back; say so, once, of those whose bytes are late."""
    effects: list[Effect] = []
    for resident in list(state.ledger.residents):
        if resident.state is not ResidentState.RELEASING:
            continue
        waited_s = now_s - resident.state_since_s
        if not _read_since(state, resident):
            continue
        owed_bytes = state.ledger.owed_bytes(resident)
        repayment = state.repayments.setdefault(resident.instance, Repayment(owed_bytes, now_s))
        if owed_bytes < repayment.owed_bytes:
            repayment.owed_bytes, repayment.since_s = owed_bytes, now_s
        steady_s = now_s - repayment.since_s
        rest_is_foreign = (
            steady_s >= REPAYMENT_STEADY_S and owed_bytes <= resident.placement.total_bytes // 2
        )
        if owed_bytes == 0 or rest_is_foreign:
            effects += _gone(state, resident, verified=True)
        elif waited_s >= RELEASE_GIVEN_UP_S:
            effects += _gone(state, resident, verified=False)
        elif waited_s >= state.rules.release_timeout_s and not repayment.told:
            repayment.told = True
            effects.append(_say_owed(resident, owed_bytes, waited_s))
    return effects


def _read_since(state: State, resident: Resident) -> bool:
    """Whether its devices were read after it had gone; one that cannot be read owes nothing."""
    return all(
        not state.ledger.knows(device)
        or state.ledger.reading(device).read_s >= resident.state_since_s
        for device in resident.placement.devices
    )


def _say_owed(resident: Resident, owed_bytes: int, waited_s: float) -> Decide:
    return Decide(
        kind=DecisionKind.STUCK,
        model=resident.name,
        text=f"{resident.name} is gone, but after {waited_s:.0f} s the device still owes "
        f"{to_mb(owed_bytes)} MB. They stay charged; nobody else is evicted for them.",
        why="the driver still counts them as used",
        remedy="Look for a process that holds them (nvidia-smi), or reset the GPU.",
    )


def release_rooms(state: State) -> list[Effect]:
    """Plain room whose lease has ended is room again."""
    effects: list[Effect] = []
    for resident in list(state.ledger.residents):
        if (
            resident.spec.plain_room
            and resident.state is ResidentState.READY
            and not resident.in_use
        ):
            effects += _gone(state, resident, verified=True)
    return effects


def _gone(state: State, resident: Resident, *, verified: bool) -> list[Effect]:
    text = (
        f"{resident.name} left; {to_mb(resident.placement.total_bytes)} MB are back."
        if verified
        else f"{resident.name} left; its bytes never came back and count as foreign now."
    )
    return [
        *state.forget(resident),
        Decide(kind=DecisionKind.EVICTED, model=resident.name, text=text),
        *finish_unloads(state, resident, verified=verified),
    ]


def stop_failed(state: State, resident: Resident, detail: str, now_s: float) -> list[Effect]:
    """Stopped is only what is gone: it stays charged, and nobody waits for it in vain (R10)."""
    stuck = state.move(resident, ResidentState.STUCK, now_s, detail)
    effects: list[Effect] = [
        Remember(stuck),
        Decide(
            kind=DecisionKind.STUCK,
            model=stuck.name,
            text=f"{stuck.name} could not be stopped: {detail} It stays charged with "
            f"{to_mb(stuck.placement.total_bytes)} MB; nothing is started on top of it.",
            why=detail,
            remedy=_STOP_RETRIED,
        ),
    ]
    for model, reservation in list(state.reservations.items()):
        if stuck.instance in reservation.waiting_for:
            newcomer = state.ledger.resident(model)
            assert newcomer is not None, "a reservation has its resident"
            effects += cancel_reservation(state, newcomer)
    for ticket, unload in list(state.unloads.items()):
        if unload.model == stuck.name:
            del state.unloads[ticket]
            effects.append(Deny(ticket, _still_in_use(state, stuck)))
    return effects


def retry_stop(state: State, resident: Resident, now_s: float) -> list[Effect]:
    going = state.move(resident, ResidentState.UNLOADING, now_s)
    return [Remember(going), Evict(going, force=True)]
