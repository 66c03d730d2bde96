"""Who does not answer. What runs on such a runtime is believed in, and nothing is started there;
a server that hangs is given to no caller before it answers again.
"""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core.life.evictions import retry_stop
from orchestrator.core.life.state import State
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Failure, FailureReason, Silence
from orchestrator.core.values.messages import Effect, RuntimesHeard, ServerHeard
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import ON_HANG, SERVING, Resident, ResidentState
from orchestrator.core.values.specs import ModelName, ServiceName

RETRY_S = 5.0  # an engine that is restarted is back in about as long


def hear(state: State, event: RuntimesHeard, now_s: float) -> list[Effect]:
    """Say once who fell silent and who answers again; stops that failed meanwhile are retried."""
    before, state.silent = state.silent, dict(event.silent)
    if before or state.silent:
        state.ledger.touch()  # for how long shows in the status
    was, now = _by_who(before), _by_who(state.silent)
    effects: list[Effect] = [_say_silent(now[who]) for who in now if who not in was]
    effects += [
        Decide(kind=DecisionKind.RUNTIME, text=f"{who} answers again.")
        for who in was
        if who not in now
    ]
    for resident in list(state.ledger.residents):
        service = resident.spec.service
        answers_again = service in before and service not in state.silent
        if answers_again and resident.state is ResidentState.STUCK:
            effects += retry_stop(state, resident, now_s)
    return effects


def hear_server(state: State, event: ServerHeard) -> list[Effect]:
    """Say once that it fell silent, and once that it answers again. Those who wait are settled."""
    resident = state.by_instance(event.instance)
    if resident is None or resident.state not in SERVING:
        return []
    was_silent, is_silent = resident.silent_since_s is not None, event.silent_since_s is not None
    if was_silent == is_silent:
        return []
    state.ledger.put(replace(resident, silent_since_s=event.silent_since_s))
    name = resident.name
    if not is_silent:
        return [
            Decide(kind=DecisionKind.SERVER, model=name, text=f"{name}'s server answers again.")
        ]
    return [
        Decide(
            kind=DecisionKind.SERVER,
            model=name,
            text=f"{name}'s server runs and does not answer. Loads of it wait until it does.",
            remedy=_make_it_leave(name),
        )
    ]


def mark_server(resident: Resident, now_s: float) -> str:
    """What is said of a resident whose server does not answer; empty if it does."""
    since_s = resident.silent_since_s
    return "" if since_s is None else f"Its server has not answered for {now_s - since_s:.0f} s."


def what_comes(resident: Resident, now_s: float, restart_s: float | None) -> str:
    """What is done about a server that does not answer, as the operator wants it."""
    if resident.silent_since_s is None:
        return ""
    if restart_s is None:
        return "It is waited for, and given no requests meanwhile (on_hang: report)."
    left_s = max(0.0, resident.silent_since_s + restart_s - now_s)
    return f"If that lasts, it is restarted by force in {left_s:.0f} s {ON_HANG}."


def refusal_by_server(resident: Resident, now_s: float) -> Refusal:
    """It is loaded, and of no use to a caller now."""
    return Refusal(
        code=RefusalCode.SERVER_SILENT,
        detail=f"{resident.name} is loaded. {mark_server(resident, now_s)}",
        remedy=_make_it_leave(resident.name),
        retry_after_s=RETRY_S,
    )


def _make_it_leave(model: ModelName) -> str:
    return (
        f"Look at its log (GET /models/{model}/logs). If it does not come back, unload it with "
        "`force` and load it again."
    )


def mark(silence: Silence) -> str:
    """What is said of a resident whose runtime does not answer."""
    return f"{silence.who} {_for_how_long(silence)}; this is its last known state."


def reason(silence: Silence) -> str:
    """Why work that needs it should not be sent."""
    return f"{silence.who} {_for_how_long(silence)}; nothing is started there."


def refusal(model: ModelName, silence: Silence) -> Refusal:
    """No resident leaves, and no caller waits, for what cannot be started now."""
    detail = f"{model} cannot be started: {silence.problem}"
    return Refusal(
        code=RefusalCode.RUNTIME_UNAVAILABLE,
        detail=detail,
        remedy="Retry when it answers again; models that run go on meanwhile.",
        retry_after_s=RETRY_S,
        failure=Failure(
            reason=FailureReason.RUNTIME_UNAVAILABLE, detail=silence.problem, transient=True
        ),
    )


def _for_how_long(silence: Silence) -> str:
    return f"has not answered for {silence.for_s:.0f} s"


def _by_who(silent: Mapping[ServiceName, Silence]) -> dict[str, Silence]:
    """Several services may run on one engine."""
    return {silence.who: silence for silence in silent.values()}


def _say_silent(silence: Silence) -> Decide:
    return Decide(
        kind=DecisionKind.RUNTIME,
        text=f"{silence.who} does not answer. What runs there keeps its last known state; "
        "nothing is started there until it answers again.",
        why=silence.problem,
        remedy="It is asked all the time, and found again by itself.",
    )
