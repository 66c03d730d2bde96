"""What happens when a load fails: told, learned, tried once more, the victims brought back (R9)."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.learning.shortfall import Shortfall
from orchestrator.core.life.grants import deny, deny_line
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.life.releases import stop_failed, stopped
from orchestrator.core.life.state import State
from orchestrator.core.room.placement import layer_devices
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.messages import Effect, Learn, Requested
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import COMING, LEAVING, Resident, ResidentState
from orchestrator.core.values.specs import Fallback, ModelName, ModelSpec
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import DeviceId

# Another start may do better: with more room, or on another port. One, whatever it fails for.
TRIED_ONCE_MORE = frozenset({FailureReason.OUT_OF_MEMORY, FailureReason.PORT})
RESTORE_WAIT_S = 60.0  # a victim that could not come back by then waits to be asked for again


def load_failed(state: State, resident: Resident, failure: Failure, now_s: float) -> list[Effect]:
    """Nothing of it runs. Tell those who waited, or try once more where that may help (R9)."""
    effects = stopped(state, resident, now_s)
    name = resident.name
    line = state.queue.line(name)
    victims = state.evicted_for.pop(name, ())
    if failure.reason is FailureReason.CANCELLED:
        return effects + _restore(state, victims, name, now_s)
    retry = failure.reason in TRIED_ONCE_MORE and name not in state.retried
    learned = _learn_out_of_memory(state, resident, failure)
    again = _again(resident, failure, learned) if retry and line is not None else ""
    effects += [_say_failed(resident, failure, again), *learned]
    if retry and line is not None:
        state.retried[name] = failure
        state.evicted_for[name] = victims
        return effects
    wanted = None if line is None else _who_wants(line, resident)
    if wanted and failure.reason is FailureReason.OUT_OF_MEMORY and wanted.fallbacks:
        state.retried[name] = failure
        state.evicted_for[name] = victims
        relief = _relief(state, wanted, resident)
        return effects + give_up(state, wanted, relief, failure.detail)
    state.retried.pop(name, None)
    breaker = state.breakers.get(name, Breaker()).after(failure, now_s)
    state.breakers[name] = breaker
    if line is not None:
        effects += deny_line(state, line, _refused(name, failure, breaker, now_s))
    return effects + _restore(state, victims, name, now_s)


def forget_tries(state: State, now_s: float) -> list[Effect]:
    """A second try is made for those who wait, and ends with its load: what they have left behind
    is not held against the first try of others. Where it never began, who left for the first comes
    back.
    """
    effects: list[Effect] = []
    for model in list(state.retried):
        there = state.ledger.resident(model)
        comes = there is not None and there.state in COMING
        if not comes and state.queue.line(model) is None:
            del state.retried[model]
            if there is None or there.state in LEAVING:
                effects += _restore(state, state.evicted_for.pop(model, ()), model, now_s)
    return effects


def _who_wants(line: Line, failed: Resident) -> ModelSpec | None:
    """What is waited for of what failed; None: all wait for other settings of it."""
    specs = (wish.request.spec for wish in line.wishes.values())
    return next((spec for spec in specs if failed.spec.launches_like(spec)), None)


def _again(resident: Resident, failure: Failure, learned: Sequence[Learn]) -> str:
    if failure.reason is not FailureReason.OUT_OF_MEMORY:
        return " Trying once more."
    if not learned:
        return " Others took of its room meanwhile: trying once more."
    grew = any(lesson.footprint != resident.spec.footprint for lesson in learned)
    return " Trying once more with more room." if grew else " Trying once more."


def _say_failed(resident: Resident, failure: Failure, again: str) -> Decide:
    return Decide(
        kind=DecisionKind.FAIL,
        model=resident.name,
        text=f"{resident.name} did not come up ({failure.reason}): {failure.detail}{again}",
        why=failure.reason,
        remedy=failure.remedy,
    )


def _learn_out_of_memory(state: State, resident: Resident, failure: Failure) -> list[Learn]:
    """Reserve more next time, but never more than there is: then it could not even be tried.

    Nothing is learned where its devices did not have what it was promised: then others took of
    its room, and what was believed of it may be right.
    """
    if failure.reason is not FailureReason.OUT_OF_MEMORY:
        return []
    layers = layer_devices(resident.placement, state.ledger)
    shortfall = _shortfall(state, resident, layers, failure)
    if not shortfall.promise_kept:
        return []
    believed = resident.spec.footprint
    in_use = resident.ready_s is not None
    lacked_bytes = shortfall.lacked_bytes * len(layers)
    left_bytes = min(state.ledger.limit_bytes(on) - resident.placement.on(on) for on in layers)
    more_bytes = min(lacked_bytes, max(left_bytes, 0) * len(layers))
    footprint = believed.raised(more_bytes, in_use=in_use)
    spec = replace(
        resident.spec,
        footprint=footprint,
        predicted=resident.spec.predicted or believed,
        # What the prediction did not know of, it did not know of with lesser settings either.
        fallbacks=tuple(
            replace(fallback, footprint=fallback.footprint.raised(lacked_bytes, in_use=in_use))
            for fallback in resident.spec.fallbacks
        ),
    )
    state.queue.respecify(spec)
    return [
        Learn(
            model=resident.name,
            spec=spec,
            footprint=footprint,
            placement=resident.placement,
            load_s=None,
        )
    ]


def _shortfall(
    state: State, resident: Resident, layers: Sequence[DeviceId], failure: Failure
) -> Shortfall:
    """Where the layers are spread, the device that held most must do, as everywhere else."""
    ledger, began = state.ledger, state.baselines.get(resident.instance)
    held = {on: ledger.last_held_bytes(resident, on) for on in layers}
    seen = [(size, on) for on, size in held.items() if size]
    spare_bytes = None
    if began is not None and all(on in began.free_bytes for on in layers):
        spare_bytes = min(
            began.free_bytes[on] - began.taken_bytes.get(on, 0) - resident.placement.on(on)
            for on in layers
        )
    return Shortfall(
        promised_bytes=resident.placement.on(max(seen)[1] if seen else layers[0]),
        raised_bytes=resident.spec.footprint.raised_bytes // len(layers),
        held_bytes=max(seen)[0] if seen else None,
        asked_bytes=failure.asked_bytes,
        spare_bytes=spare_bytes,
    )


def _relief(state: State, spec: ModelSpec, failed: Resident) -> Fallback:
    """The first lesser settings that do with what did not suffice; else the least of all."""
    kind = state.ledger.reading(failed.placement.devices[0]).device.kind
    had_bytes = failed.spec.footprint.layer_bytes(kind)
    enough = (
        fallback for fallback in spec.fallbacks if fallback.footprint.layer_bytes(kind) <= had_bytes
    )
    return next(enough, spec.fallbacks[-1])


def give_up(state: State, spec: ModelSpec, fallback: Fallback, because: str) -> list[Effect]:
    """Go on with lesser settings, as the operator allows, and say so."""
    state.queue.respecify(spec.degraded(fallback))
    given_up = ", ".join(fallback.given_up)
    return [
        Decide(
            kind=DecisionKind.DEGRADE,
            model=spec.name,
            text=f"{spec.name} goes on with less ({given_up}): {because}",
            why=given_up,
            remedy="Its `degrade` list allows it; without it, the load would be refused.",
        )
    ]


def _restore(
    state: State, victims: Sequence[ModelName], newcomer: ModelName, now_s: float
) -> list[Effect]:
    """Bring victims back that left in vain, into room that is free anyway."""
    if not state.rules.restore_victims or state.shutting_down:
        return []
    effects: list[Effect] = []
    for name in victims:
        spec = state.catalogue.get(name)
        if spec is None or spec.failed or state.ledger.resident(name) is not None:
            continue
        if name in state.sent_away:
            continue  # a caller has unloaded it meanwhile
        state.internal_tickets -= 1
        request = Requested(
            ticket=Ticket(state.internal_tickets),
            spec=state.believe(spec),
            priority=spec.priority,
        )
        wish = Wish(request, now_s, now_s + RESTORE_WAIT_S, restores=True)
        if state.queue.line(name) is None:
            state.queue.add(wish)
            effects.append(
                Decide(
                    kind=DecisionKind.RESTORE,
                    model=name,
                    text=f"Bringing {name} back: {newcomer}, for which it left, did not come up.",
                )
            )
    return effects


def _refused(model: ModelName, failure: Failure, breaker: Breaker, now_s: float) -> Refusal:
    return Refusal(
        code=RefusalCode.RUNTIME_UNAVAILABLE if failure.transient else RefusalCode.LOAD_FAILED,
        detail=f"{model} did not come up ({failure.reason}): {failure.detail}",
        remedy=failure.remedy,
        retry_after_s=breaker.retry_after_s(now_s) or None,
        failure=failure,
    )


def breaker_open(model: ModelName, breaker: Breaker, now_s: float) -> Refusal:
    cause = breaker.cause
    assert cause is not None, "a breaker opens for a cause"
    wait_s = breaker.retry_after_s(now_s)
    again = "whenever it is asked for" if cause.outside else f"in {wait_s:.0f} s"
    return Refusal(
        code=RefusalCode.BREAKER_OPEN,
        detail=f"{model} failed {breaker.failures} time(s) in a row, last with {cause.reason}: "
        f"{cause.detail} It is {'looked at' if cause.outside else 'tried'} again {again}.",
        remedy=cause.remedy or "Mend the cause; a changed configuration is tried at once.",
        retry_after_s=wait_s,
        failure=cause,
    )


def mended(state: State, model: ModelName) -> None:
    """What was in its way beside its server is not there any more: it may try at once."""
    breaker = state.breakers.get(model)
    if breaker is None or not breaker.cause_outside:
        return
    left = breaker.mended()
    if left is None:
        del state.breakers[model]
    else:
        state.breakers[model] = left
    state.ledger.touch()


def cannot_start(
    state: State, wishes: Sequence[Wish], failure: Failure, now_s: float
) -> list[Effect]:
    """It was looked at before a resident left for it: those who want it so hear the cause."""
    model = wishes[0].model
    refusal, state.breakers[model] = objection(state, model, failure, now_s)
    return deny(state, wishes, refusal)


def objection(
    state: State, model: ModelName, failure: Failure, now_s: float
) -> tuple[Refusal, Breaker]:
    """What callers hear of what such a look found, and the breaker from then on."""
    breaker = state.breakers.get(model, Breaker())
    if breaker.refuses(now_s) and breaker.cause == failure:
        return breaker_open(model, breaker, now_s), breaker
    breaker = breaker.after(failure, now_s)
    return _refused(model, failure, breaker, now_s), breaker


def ran_out_of_memory(state: State, model: ModelName) -> bool:
    """Whether this is its second try because the first had too little memory."""
    before = state.retried.get(model)
    return before is not None and before.reason is FailureReason.OUT_OF_MEMORY


def out_of_memory_for_good(state: State, line: Line, now_s: float) -> list[Effect]:
    """The second try would need more than there is: the callers hear the cause, not a size."""
    failure = state.retried[line.model]
    breaker = state.breakers.get(line.model, Breaker()).after(failure, now_s)
    state.breakers[line.model] = breaker
    return deny_line(state, line, _refused(line.model, failure, breaker, now_s))


def load_stuck(state: State, resident: Resident, detail: str, now_s: float) -> list[Effect]:
    """It did not come up and cannot be stopped either: charged, and its callers are told."""
    failure = Failure(reason=FailureReason.NOT_READY_IN_TIME, detail=detail)
    breaker = state.breakers.get(resident.name, Breaker()).after(failure, now_s)
    state.breakers[resident.name] = breaker
    line = state.queue.line(resident.name)
    effects = (
        deny_line(state, line, _refused(resident.name, failure, breaker, now_s)) if line else []
    )
    return effects + stop_failed(state, resident, detail, now_s)


def died(state: State, resident: Resident, failure: Failure, now_s: float) -> list[Effect]:
    """A server that was ready is gone. The next request starts it anew, unless it keeps dying."""
    if resident.state is ResidentState.LOADING:
        return load_failed(state, resident, failure, now_s)
    breaker = state.breakers.get(resident.name, Breaker()).after(failure, now_s)
    state.breakers[resident.name] = breaker
    return [
        *_learn_out_of_memory(state, resident, failure),
        Decide(
            kind=DecisionKind.DIED,
            model=resident.name,
            text=f"{resident.name} has ended: {failure.detail}"
            if failure.reason is FailureReason.STOPPED
            else f"{resident.name} ended by itself ({failure.reason}): {failure.detail}",
            why=failure.reason,
            remedy=failure.remedy,
        ),
        *stopped(state, resident, now_s),
    ]
