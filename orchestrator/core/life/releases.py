"""After the stop: the device owes the bytes until it gives them back (R3, R10)."""

from orchestrator.core.life.evictions import STOP_RETRIED, cancel_reservation
from orchestrator.core.life.state import Repayment, State
from orchestrator.core.life.unloads import finish_unloads, still_in_use
from orchestrator.core.values.messages import Decide, DecisionKind, Deny, Effect, Remember
from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.vram import to_mb

# A driver that has not given bytes back after so long has lost them to somebody else.
RELEASE_GIVEN_UP_S = 300.0
# Bytes come back within 1.5 s. When most are back and the rest has not moved for so long, the
# rest is somebody else's, who took it meanwhile.
REPAYMENT_STEADY_S = 3.0


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
            remedy=STOP_RETRIED,
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
            effects.append(Deny(ticket, still_in_use(state, stuck)))
    return effects
