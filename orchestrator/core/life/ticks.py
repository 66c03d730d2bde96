"""What follows from time and from readings: expiries, bounds, idle models, devices that fail."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.core.life import drains, evictions, grants, keeping
from orchestrator.core.life.attribution import watch
from orchestrator.core.life.outages import refusal_by_server
from orchestrator.core.life.questions import question
from orchestrator.core.life.queue import Line
from orchestrator.core.life.state import State
from orchestrator.core.room.explanation import explain
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import Deny, Effect
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.residents import COMING, ForIdleness, InstanceId, ResidentState
from orchestrator.core.values.vram import DeviceId, DeviceState, Reading

TICK_LATE_S = 2.0  # ticks come at least every second: a later one means that we were stopped
FORGIVEN_AFTER_S = 60.0  # a model that has served so long is no longer under suspicion
LINES_EXPLAINED_MAX = 16  # of those who wait, at each tick
GRACE_S_MAX = 60.0  # what a stopped daemon grants at most to renewals that wait in its sockets


def tick(state: State, now_s: float) -> list[Effect]:
    """Expire what has ended, refuse who has waited too long, let idle models go."""
    gap_s = now_s - state.ticked_s if state.ticked_s is not None else 0.0
    state.ticked_s = now_s
    if gap_s > TICK_LATE_S:
        _grant_grace(state, now_s, min(gap_s, GRACE_S_MAX))
        _forget_idle_time(state, now_s, gap_s)
    effects = _expire_leases(state, now_s)
    effects += _refuse_overdue(state, now_s)
    _explain_again(state)
    _forgive(state, now_s)
    effects += _let_idle_go(state, now_s)
    effects += keeping.restart_hung(state, now_s)
    effects += keeping.bring_back(state, now_s)
    effects += drains.end_overdue_looks(state, now_s)
    return effects + _retry_stuck(state, now_s)


def observe(
    state: State,
    readings: Sequence[Reading],
    held: Mapping[InstanceId, Mapping[DeviceId, int]],
) -> list[Effect]:
    """Take readings in, and say when a device stops or starts answering."""
    known = set(state.ledger.devices)
    effects: list[Effect] = []
    for reading in readings:
        device = reading.device
        before = state.ledger.reading(device.id).state if device.id in known else DeviceState.OK
        if reading.state is not before:
            answers = reading.state is DeviceState.OK
            effects.append(
                Decide(
                    kind=DecisionKind.DEVICE,
                    text=f"{device.id} ({device.name}) "
                    + (
                        "answers again."
                        if answers
                        else f"is {reading.state}: {reading.problem} Nothing is planned on it."
                    ),
                    why=reading.state,
                )
            )
    state.ledger.observe(readings, held)
    watch(state)
    return effects


def _grant_grace(state: State, now_s: float, grace_s: float) -> None:
    """No lease could be renewed while we did not run: none expires unheard."""
    for lease in list(state.leases.values()):
        if lease.expires_s is not None and lease.expires_s < now_s + grace_s:
            state.leases[lease.id] = replace(lease, expires_s=now_s + grace_s)


def _forget_idle_time(state: State, now_s: float, gap_s: float) -> None:
    """Use was not seen while we did not run: that time was not idle."""
    for resident in list(state.ledger.residents):
        if resident.state is ResidentState.READY:
            used_s = min(now_s, resident.last_used_s + gap_s)
            state.ledger.put(replace(resident, last_used_s=used_s))


def _expire_leases(state: State, now_s: float) -> list[Effect]:
    effects: list[Effect] = []
    for lease in list(state.leases.values()):
        if lease.expires_s is not None and lease.expires_s <= now_s:
            what = "VRAM" if lease.kind is LeaseKind.ROOM else lease.model
            effects += state.end_lease(lease.id, now_s)
            effects.append(
                Decide(
                    kind=DecisionKind.EXPIRE,
                    model=lease.model,
                    text=f"The lease of {lease.owner or 'nobody'} on {what} expired.",
                    key=lease.key,
                    remedy="Renew a lease before its `expires_at`, or ask for a longer one.",
                )
            )
    return effects


def _refuse_overdue(state: State, now_s: float) -> list[Effect]:
    """Every ticket ends within its bound. One whose load is under way ends with the load."""
    effects: list[Effect] = []
    for line in state.queue.lines():
        overdue = [wish for wish in line.wishes.values() if wish.ends_by_s <= now_s]
        if not overdue:
            continue
        resident = state.ledger.resident(line.model)
        coming = resident is not None and resident.state in COMING
        ending = [
            wish
            for wish in overdue
            if not coming or (wish.request.deadline_s or now_s + 1) <= now_s
        ]
        if not ending:
            continue
        refusal = (
            explain(question(state, line, now_s), state.ledger)
            if resident is None or resident.silent_since_s is None
            else refusal_by_server(resident, now_s)
        )
        for wish in ending:
            state.queue.remove(wish.request.ticket)
            state.ledger.touch()
            effects.append(Deny(wish.request.ticket, refusal))
        if any(not wish.restores for wish in ending):
            effects.append(_say_overdue(line, len(ending), refusal))
        effects += grants.abandon_if_unwanted(state, line.model, now_s)
    return effects


def _say_overdue(line: Line, callers: int, refusal: Refusal) -> Decide:
    return Decide(
        kind=DecisionKind.REFUSE,
        model=line.model,
        text=f"{callers} caller(s) of {line.model} waited as long as anybody may. {refusal.detail}",
        why=refusal.code,
        remedy=refusal.remedy,
    )


def _explain_again(state: State) -> None:
    """What is in the way of those who wait may stay longer than it was said."""
    for line in state.queue.lines()[:LINES_EXPLAINED_MAX]:
        if line.earliest_s:
            line.explained = False


def _forgive(state: State, now_s: float) -> None:
    """A model that came up and stayed up has mended; one that dies after each start has not."""
    for model in list(state.breakers):
        resident = state.ledger.resident(model)
        if (
            resident is not None
            and resident.state is ResidentState.READY
            and resident.ready_s is not None
            and now_s - resident.ready_s >= FORGIVEN_AFTER_S
        ):
            del state.breakers[model]


def _let_idle_go(state: State, now_s: float) -> list[Effect]:
    effects: list[Effect] = []
    for resident in list(state.ledger.residents):
        gone = resident.spec.found and resident.name not in state.catalogue
        ttl_s = 0.0 if gone else resident.ttl_s
        if (
            resident.state is ResidentState.READY
            and ttl_s is not None
            and (gone or not state.keeps(resident.name))
            and not resident.in_use
            and resident.name not in state.pinned
            and now_s - resident.last_used_s >= ttl_s
            and state.queue.line(resident.name) is None
        ):
            why = f"idle for {now_s - resident.last_used_s:.0f} s (ttl {ttl_s:.0f} s)"
            why = f"its file {resident.spec.file} is gone" if gone else why
            effects += evictions.let_go(state, resident, ForIdleness(), now_s, why)
    return effects


def _retry_stuck(state: State, now_s: float) -> list[Effect]:
    effects: list[Effect] = []
    for resident in list(state.ledger.residents):
        if (
            resident.state is ResidentState.STUCK
            and now_s - resident.state_since_s >= evictions.STUCK_RETRY_S
        ):
            effects += evictions.retry_stop(state, resident, now_s)
    return effects
