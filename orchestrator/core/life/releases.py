"""After the stop: the device owes the bytes until it gives them back (R3, R10)."""

from orchestrator.core.life.evictions import STOP_RETRIED, cancel_reservation
from orchestrator.core.life.state import Repayment, State
from orchestrator.core.life.unloads import still_in_use
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.messages import Deny, Effect, Remember
from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.vram import to_mb

# Bytes come back within 1.5 s. When most are back and the rest has not moved for so long, another
# process has taken the rest meanwhile.
REPAYMENT_STEADY_S = 3.0
# A driver that has not given bytes back within the bound may still do so: a newcomer that waits for
# them waits so much longer before another resident has to leave instead.
LATE_BYTES_S = 270.0


def stopped(state: State, resident: Resident, now_s: float) -> list[Effect]:
    """It is verified gone; now the device owes us its bytes (R3)."""
    effects = state.drop_leases(resident)
    gone = state.move(state.current(resident), ResidentState.RELEASING, now_s)
    return [*effects, Remember(gone)]


def release_returned(state: State, now_s: float) -> list[Effect]:
    """Forget residents whose bytes are back; after a bound, also one whose bytes are not.

    A process that is verified gone owns nothing: what did not come back by then is foreign.
    """
    effects: list[Effect] = []
    for resident in list(state.ledger.residents):
        if resident.state is not ResidentState.RELEASING or not _read_since(state, resident):
            continue
        owed_bytes = state.ledger.owed_bytes(resident)
        repayment = state.repayments.setdefault(resident.instance, Repayment(owed_bytes, now_s))
        if owed_bytes < repayment.owed_bytes:
            repayment.owed_bytes, repayment.since_s = owed_bytes, now_s
        steady_s = now_s - repayment.since_s
        mostly_back = owed_bytes <= resident.placement.total_bytes // 2
        if owed_bytes == 0 or (mostly_back and steady_s >= REPAYMENT_STEADY_S):
            effects += _gone(state, resident)
        elif now_s - resident.state_since_s >= state.rules.release_timeout_s:
            for reservation in state.reservations.values():
                if resident.instance in reservation.waiting_for:
                    reservation.late_until_s = now_s + LATE_BYTES_S
            effects += _gone(state, resident, kept_bytes=owed_bytes)
    return effects


def _read_since(state: State, resident: Resident) -> bool:
    """Whether its devices were read after it had gone; one that cannot be read owes nothing."""
    return all(
        not state.ledger.knows(device)
        or state.ledger.reading(device).read_s >= resident.state_since_s
        for device in resident.placement.devices
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
            effects += _gone(state, resident)
    return effects


def _gone(state: State, resident: Resident, *, kept_bytes: int = 0) -> list[Effect]:
    size_mb = to_mb(resident.placement.total_bytes)
    if not kept_bytes:
        text = f"{resident.name} left; {size_mb} MB are back."
        left = Decide(kind=DecisionKind.EVICTED, model=resident.name, text=text)
        return [*state.forget(resident), left]
    where = ", ".join(resident.placement.devices)
    note = (
        f"{to_mb(kept_bytes)} of {size_mb} MB did not come back within "
        f"{state.rules.release_timeout_s:.0f} s: they count as foreign on {where} now."
    )
    return [
        *state.forget(resident, kept_bytes=kept_bytes, note=note),
        Decide(
            kind=DecisionKind.EVICTED,
            model=resident.name,
            text=f"{resident.name} left; {note}",
            why="its process is verified gone, and the driver still counts the bytes as used",
            remedy="nvidia-smi shows which processes hold them.",
        ),
    ]


def stop_failed(state: State, resident: Resident, detail: str, now_s: float) -> list[Effect]:
    """Stopped is only what is gone: it stays charged; no newcomer waits for it (R10)."""
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
