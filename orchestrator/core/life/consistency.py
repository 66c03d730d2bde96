"""What is true of every state between two events. Tests ask after every event, the daemon never.

A new state or wish belongs here with the answer to: who ends it if the other side never comes?
"""

from collections import Counter
from collections.abc import Iterator

from orchestrator.core.life.state import State
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.residents import (
    COMING,
    ForNewcomer,
    ForOtherSettings,
    ForUnload,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName


def consistent(state: State) -> list[str]:
    """Every contradiction in the state, as a sentence; none if it is sound."""
    return [
        *_residents(state),
        *_kept(state),
        *_reservations(state),
        *_leases(state),
        *_callers(state),
        *_devices(state),
    ]


def _residents(state: State) -> Iterator[str]:
    for resident in state.ledger.residents:
        who, causes = resident.instance, resident.leaving
        if resident.state is ResidentState.DRAINING and not causes:
            yield f"{who} drains, and no cause is left for which it should"
        if resident.look is not None and resident.state is not ResidentState.DRAINING:
            yield f"{who} is {resident.state}, and asked whether it is idle"
        if resident.state in (ResidentState.READY, ResidentState.LOADING) and causes:
            yield f"{who} is {resident.state}, and yet to leave: {causes}"
        for cause in causes:
            if isinstance(cause, ForNewcomer) and cause.model not in state.reservations:
                yield f"{who} leaves for {cause.model}, which has no reservation"
        if resident.state is ResidentState.DRAINING:
            yield from _drains(state, resident)
    for model in state.habits.keys() - state.catalogue.keys():
        yield f"{model} is no model, and it is known how it was used"
    for model in state.evicted_for.keys() - state.catalogue.keys():
        if state.ledger.resident(model) is None:
            yield f"{model} is no model, and it is known who left for it"
    for instance in {*state.repayments, *state.baselines}:
        if state.by_instance(instance) is None:
            yield f"{instance} has left the table, and something is still kept of it"


def _drains(state: State, resident: Resident) -> Iterator[str]:
    who, causes = resident.instance, resident.leaving
    newcomers = [cause.model for cause in causes if isinstance(cause, ForNewcomer)]
    if not resident.in_use and resident.look is None:  # else its answer decides
        if len(newcomers) < len(causes):
            yield f"{who} is idle and still there, though it was asked to leave: {causes}"
        elif not any(_has_busy_victim(state, model) for model in newcomers):
            yield f"{who} and all who leave with it are idle, and none was told to go"
    of_its_own = any(isinstance(cause, ForUnload) for cause in causes)
    if resident.name in state.pinned and not of_its_own:
        yield f"{who} is pinned, and drains without an unload of its own"
    restarts = any(isinstance(cause, ForOtherSettings) for cause in causes)
    if restarts and not _is_wanted_otherwise(state, resident):
        yield f"{who} drains for other settings, and no caller who lets it leave wants them"


def _is_wanted_otherwise(state: State, resident: Resident) -> bool:
    line = state.queue.line(resident.name)
    return line is not None and line.wants_other_than(resident)


def _kept(state: State) -> Iterator[str]:
    """What comes by itself is a caller's from the moment that one asks for it."""
    for resident in state.ledger.residents:
        line = state.queue.line(resident.name)
        awaited = line is not None and not line.ours and resident.movable
        if resident.unasked and (awaited or resident.in_use):
            yield f"callers want or have {resident.instance}, and it counts as asked for by none"
    for model in state.sent_away:
        if not state.keeps(model):
            yield f"{model} is to stay away, and would not come back by itself"
        if (line := state.queue.line(model)) is not None and line.ours:
            yield f"{model} is to stay away, and is wished for by nobody but us"


def _has_busy_victim(state: State, newcomer: ModelName) -> bool:
    reservation = state.reservations.get(newcomer)
    victims = () if reservation is None else reservation.victims
    return any(
        (victim := state.by_instance(instance)) is not None
        and (victim.in_use or victim.look is not None)
        for instance in victims
    )


def _reservations(state: State) -> Iterator[str]:
    for model, reservation in state.reservations.items():
        newcomer = state.ledger.resident(model)
        if newcomer is None or newcomer.state is not ResidentState.RESERVED:
            yield f"room is reserved for {model}, which is not there to take it"
        line, undecided = state.queue.line(model), not reservation.departing
        if line is None:
            yield f"room is reserved for {model}, which no caller waits for"
        elif reservation.victims and undecided and not line.evicts:
            yield f"residents are to leave for {model}, and none of its callers lets them"
        elif reservation.victims and undecided and line.priority < reservation.urgency.priority:
            yield f"residents are to leave for {model} by the priority of one who has left"
        victims = [there for each in reservation.victims if (there := state.by_instance(each))]
        in_vain = newcomer and not state.ledger.could_have(newcomer.placement, victims)
        if victims and undecided and in_vain:
            yield f"{', '.join(reservation.victims)} would leave in vain for {model}"
        for instance in reservation.waiting_for:
            if instance not in reservation.victims:
                yield f"{model} waits for {instance}, which is no victim of its plan"
            if state.by_instance(instance) is None:
                yield f"{model} waits for {instance}, which has left already"
    for resident in state.ledger.residents:
        if resident.state is ResidentState.RESERVED and resident.name not in state.reservations:
            yield f"{resident.instance} is reserved, and no reservation knows of it"


def _leases(state: State) -> Iterator[str]:
    counts = Counter(lease.instance for lease in state.leases.values())
    for instance in counts:
        if state.by_instance(instance) is None:
            yield f"{instance} is leased, and has left the table"
    for resident in state.ledger.residents:
        if resident.lease_count != counts[resident.instance]:
            there = counts[resident.instance]
            yield f"{resident.instance} counts {resident.lease_count} leases, there are {there}"
    for ticket, lease in state.lease_of.items():
        if lease not in state.leases:
            yield f"ticket {ticket} is known for {lease}, which has ended"
        elif ticket not in state.claims.get(lease, {}):
            yield f"ticket {ticket} is known for {lease}, on which it has no claim"
    for held in state.leases.values():
        room = state.by_instance(held.instance)
        if held.kind is LeaseKind.ROOM and room is not None and room.key != held.key:
            yield f"{held.id} is charged to {held.key}, and its room to {room.key}"
    for lease in state.claims.keys() - state.leases.keys():
        yield f"{lease} has ended, and what was granted of it is still kept"


def _callers(state: State) -> Iterator[str]:
    for wish in state.queue.wishes():
        if wish.request.ticket not in state.queue:
            yield f"ticket {wish.request.ticket} waits in a line that does not know it"
    for model, tickets in state.pinned_by.items():
        if model not in state.pinned or not tickets:
            yield f"{model} was pinned by loads {tickets}, and is not pinned by them"
    for model in state.retried:
        there = state.ledger.resident(model)
        if state.queue.line(model) is None and (there is None or there.state not in COMING):
            yield f"{model} is tried once more, and no caller waits for it"
    for ticket, unload in state.unloads.items():
        if state.ledger.resident(unload.model) is None:
            yield f"unload {ticket} waits for {unload.model}, which has left"


def _devices(state: State) -> Iterator[str]:
    """Promised room may still be its victims'; what has begun to fill fits, if we began it."""
    for device in state.ledger.devices:
        total_bytes = state.ledger.reading(device).total_bytes
        begun_bytes = sum(
            resident.placement.on(device)
            for resident in state.ledger.on(device)
            if resident.state is not ResidentState.RESERVED and not resident.unpromised
        )
        if total_bytes is not None and begun_bytes > total_bytes:
            yield f"{device} has {total_bytes} bytes, and {begun_bytes} are charged"
