"""How a wish is received and comes true: at once for a ready model, else from its line."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.life.charges import too_much_to_lease
from orchestrator.core.life.evictions import cancel_reservation, evict
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.life.state import State
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.messages import (
    Deny,
    Effect,
    Grant,
    Requested,
    Uncheck,
    Withdrawn,
)
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.specs import ModelName, ModelSpec

SHUTDOWN_RETRY_S = 5.0  # a restart takes less
WAIT_S_MAX = 3600.0  # no request waits longer than this, whatever the queue


def bound_s(state: State, spec: ModelSpec) -> float:
    """After so many seconds a new wish is granted or refused: the wait, and the lines before it."""
    rules = state.rules
    turn_s = rules.drain_timeout_s + rules.release_timeout_s + rules.min_residency_s + spec.load_s
    return min(rules.patience_for(spec.load_s) + turn_s * (state.queue.line_count + 1), WAIT_S_MAX)


def receive(state: State, request: Requested, now_s: float) -> list[Effect]:
    """Serve a ready model in the same call; else stand in line."""
    resident = state.ledger.resident(request.spec.name)
    if (
        resident is not None
        and resident.state is ResidentState.READY
        and resident.silent_since_s is None
        and resident.serves(request.spec)
    ):
        return grant(state, Wish(request, now_s, now_s), resident, now_s, already_loaded=True)
    if state.shutting_down:
        return [Deny(request.ticket, shutting_down())]
    if len(state.queue) >= state.rules.queue_length_max:
        return [Deny(request.ticket, _queue_full(state))]
    ends_by_s = now_s + bound_s(state, request.spec)
    if request.deadline_s is not None:
        ends_by_s = min(ends_by_s, request.deadline_s)
    state.queue.add(Wish(request, now_s, ends_by_s))
    state.sent_away.discard(request.spec.name)
    if resident is not None and resident.unasked:
        state.ledger.put(replace(resident, unasked=False))
    state.ledger.touch()  # who waits shows in the status at once
    return []


def grant(
    state: State, wish: Wish, resident: Resident, now_s: float, *, already_loaded: bool
) -> list[Effect]:
    """The wish came true. With a lease, if one was asked for; one per owner and model."""
    request = wish.request
    beyond = too_much_to_lease(state, request.hold, request.key, request.bounds, resident)
    if beyond is not None:
        return [Deny(request.ticket, beyond)]
    if not wish.restores:
        state.sent_away.discard(resident.name)
        resident = replace(
            resident.used(now_s),
            priority=max(resident.priority, request.priority),
            leased_s=now_s,
        )
    if request.ttl_s is not None and not state.keeps(resident.name):
        resident = replace(resident, ttl_s=request.ttl_s)
    state.ledger.put(resident)
    effects: list[Effect] = []
    if request.pin:
        effects += state.pin_for(resident.name, request.ticket)
    lease = _lease_for(state, request, resident, now_s)
    if lease is not None:
        effects += state.add_lease(lease, resident, request.ticket)
        resident = state.current(resident)
    evicted = () if already_loaded else state.evicted_for.get(resident.name, ())
    return [
        *effects,
        Grant(
            ticket=request.ticket,
            resident=resident,
            lease=lease,
            evicted=evicted,
            already_loaded=already_loaded,
            pinned=request.pin,
        ),
    ]


def _lease_for(state: State, request: Requested, resident: Resident, now_s: float) -> Lease | None:
    if request.hold is None:
        return None
    expires_s = None if request.lease_s is None else now_s + request.lease_s
    if request.owner is not None:
        for held in state.leases_on(resident.instance):
            if (held.owner, held.kind, held.key) == (request.owner, request.hold, request.key):
                return replace(held, expires_s=expires_s, priority=request.priority)
    return Lease(
        id=LeaseId(f"{resident.instance}-t{request.ticket}"),
        ticket=request.ticket,
        instance=resident.instance,
        model=resident.name,
        kind=request.hold,
        owner=request.owner,
        priority=request.priority,
        granted_s=now_s,
        expires_s=expires_s,
        key=request.key,
    )


def deny_line(state: State, line: Line, refusal: Refusal) -> list[Effect]:
    return deny(state, list(line.wishes.values()), refusal)


def deny(state: State, wishes: Sequence[Wish], refusal: Refusal) -> list[Effect]:
    """Refuse some of those who wait for one model."""
    if not wishes:
        return []
    for wish in wishes:
        state.queue.remove(wish.request.ticket)
    state.ledger.touch()
    return [
        Decide(
            kind=DecisionKind.REFUSE,
            model=wishes[0].model,
            text=refusal.detail,
            why=refusal.code,
            remedy=refusal.remedy,
        ),
        *(Deny(wish.request.ticket, refusal) for wish in wishes),
    ]


def shutting_down() -> Refusal:
    return Refusal(
        code=RefusalCode.SHUTTING_DOWN,
        detail="The orchestrator is shutting down.",
        remedy="Retry when it is up again; models keep running meanwhile unless told otherwise.",
        retry_after_s=SHUTDOWN_RETRY_S,
    )


def _queue_full(state: State) -> Refusal:
    return Refusal(
        code=RefusalCode.QUEUE_FULL,
        detail=f"{len(state.queue)} requests wait already "
        f"(scheduling.queue_length_max = {state.rules.queue_length_max}).",
        remedy="Retry later, or raise scheduling.queue_length_max.",
        retry_after_s=state.rules.min_residency_s or 1.0,
    )


def withdraw(state: State, event: Withdrawn, now_s: float) -> list[Effect]:
    """The caller left. Before the grant it leaves the line; after it, what it gave comes back."""
    ticket = event.ticket
    if state.unloads.pop(ticket, None) is not None:
        return []
    if event.load_goes_on and state.queue.disown(ticket):
        return []
    wish = state.queue.remove(ticket)
    if wish is not None:
        state.ledger.touch()
        return abandon_if_unwanted(state, wish.model, now_s)
    return [*state.take_back(ticket, now_s), *state.unpin_for(ticket)]


def abandon_if_unwanted(state: State, model: ModelName, now_s: float) -> list[Effect]:
    """No caller waits for this load any more (R4): promised room is given up, a load finishes
    unless the operator wants it cancelled.
    """
    resident = state.ledger.resident(model)
    if state.queue.line(model) is not None:
        return []
    if resident is None:
        return [Uncheck(model)] if state.rules.cancel_abandoned else []
    if resident.state is ResidentState.RESERVED:
        return cancel_reservation(state, resident)
    if resident.in_use:
        return []  # one that outlived the daemon, whose leases did too
    if resident.state is ResidentState.LOADING and state.rules.cancel_abandoned:
        return evict(state, resident, now_s, "nobody waits for it any more")
    return []
