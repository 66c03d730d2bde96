"""Unloads that callers asked for: begun, waited for, finished or refused."""

from dataclasses import replace

from orchestrator.core.life.drains import ask_to_leave
from orchestrator.core.life.evictions import STOP_RETRIED, evict, let_go, retry_stop
from orchestrator.core.life.state import State
from orchestrator.core.values.leases import Lease
from orchestrator.core.values.messages import Deny, Effect, Finish, Uncheck, UnloadRequested
from orchestrator.core.values.refusals import Blocker, Refusal, RefusalCode
from orchestrator.core.values.residents import COMING, SERVING, ForUnload, Resident, ResidentState
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.tickets import Ticket, UnloadStatus


def begin_unload(state: State, unload: UnloadRequested, now_s: float) -> list[Effect]:
    """Release the owner's lease first; leave only if no other caller holds the model."""
    resident = state.ledger.resident(unload.model)
    whole = unload.owner is None and unload.lease is None
    was_coming = state.queue.line(unload.model) is not None
    if whole and (resident is None or unload.force):
        state.send_away(unload.model)
    if resident is None:
        not_here = _finish(unload.ticket, UnloadStatus.NOT_LOADED)
        if not unload.force:
            comes = state.queue.line(unload.model) is not None
            return [Uncheck(unload.model), not_here] if was_coming and not comes else [not_here]
        return [*_deny_waiting(state, unload.model, "came"), Uncheck(unload.model), not_here]
    if resident.state is ResidentState.RELEASING:
        state.unloads[unload.ticket] = unload
        cause = ForUnload(unload.ticket, unload.deadline_s)
        state.ledger.put(replace(resident, leaving=(*resident.leaving, cause)))
        return []
    effects: list[Effect] = []
    if unload.owner is not None or unload.lease is not None:
        theirs = [lease.id for lease in state.leases_on(resident.instance) if _is_of(lease, unload)]
        for lease_id in theirs:
            effects += state.end_lease(lease_id, now_s)
        unload = replace(unload, ended=tuple(theirs))
        resident = state.current(resident)
        if (resident.in_use or state.keeps(resident.name)) and not unload.force:
            return [*effects, _released(state, unload, resident)]
    state.unloads[unload.ticket] = unload
    if unload.force:
        effects += _force_out(state, resident, now_s)
    elif resident.state is ResidentState.STUCK:
        effects += retry_stop(state, resident, now_s)
    return effects


def _is_of(lease: Lease, unload: UnloadRequested) -> bool:
    return lease.id == unload.lease or (lease.owner is not None and lease.owner == unload.owner)


def _force_out(state: State, resident: Resident, now_s: float) -> list[Effect]:
    if resident.state is ResidentState.STUCK:
        return retry_stop(state, resident, now_s)
    if resident.state is ResidentState.UNLOADING:
        return []
    effects: list[Effect] = []
    if resident.state in COMING:
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
    """Move every pending unload on: ask, evict, or give up at its deadline."""
    effects: list[Effect] = []
    for ticket, unload in list(state.unloads.items()):
        if ticket not in state.unloads:
            continue  # finished with the one before
        resident = state.ledger.resident(unload.model)
        assert resident is not None, "a resident is forgotten together with its unloads"
        cause = ForUnload(ticket, unload.deadline_s)
        if _may_go(state, resident):
            state.send_away(resident.name)
            effects += let_go(state, resident, cause, now_s, "it was asked to unload")
        elif resident.in_use and (unload.owner is not None or unload.lease is not None):
            del state.unloads[ticket]
            effects.append(_released(state, unload, resident))
        elif now_s >= unload.deadline_s and resident.state is not ResidentState.RELEASING:
            del state.unloads[ticket]
            effects.append(Deny(ticket, still_in_use(state, resident)))
        elif resident.state in SERVING:
            effects += ask_to_leave(state, resident, cause, now_s, "it was asked to unload")
    return effects


def _may_go(state: State, resident: Resident) -> bool:
    """It is idle; and while it is on its way in, no caller waits for it either."""
    if resident.state in COMING:
        line = state.queue.line(resident.name)
        return (line is None or line.ours) and not resident.in_use
    return resident.state in SERVING and not resident.in_use


def still_in_use(state: State, resident: Resident) -> Refusal:
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
        remedy=STOP_RETRIED if stuck else "Wait for them, release their leases, or force it.",
        blockers=tuple(
            Blocker(device=device, held_bytes=share, why=why, model=resident.name)
            for device, share in resident.placement.shares
        ),
    )


def _released(state: State, unload: UnloadRequested, resident: Resident) -> Finish:
    """The owner's lease has ended; the model is in use by others."""
    left = sum(1 for _ in state.leases_on(resident.instance))
    finish = _finish(unload.ticket, UnloadStatus.RELEASED, left)
    return replace(finish, released=unload.ended)


def _finish(ticket: Ticket, status: UnloadStatus, remaining_leases: int = 0) -> Finish:
    return Finish(
        ticket=ticket,
        status=status,
        freed_bytes=0,
        verified=True,
        remaining_leases=remaining_leases,
    )
