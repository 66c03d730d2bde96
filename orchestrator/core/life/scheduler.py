"""Turns events into effects. Holds the state; touches nothing.

Rule 1: every change of state happens inside `handle`, which cannot await.
Rule 2: every ticket ends in exactly one Grant, Finish or Deny, or in its own Withdrawn.
"""

from dataclasses import replace
from typing import assert_never

from orchestrator.core.life import (
    drains,
    evictions,
    files,
    grants,
    keeping,
    loads,
    outages,
    releases,
    setbacks,
    ticks,
    unloads,
)
from orchestrator.core.life.state import State
from orchestrator.core.room.eviction import Policy, least_regretted
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.networks import NO_NETWORKS, Networks
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.leases import Lease
from orchestrator.core.values.messages import (
    Bringing,
    CatalogueChanged,
    Checked,
    Deny,
    Died,
    DropLease,
    Effect,
    Event,
    Evict,
    ForgetPin,
    KeepLease,
    Loaded,
    LoadFailed,
    PinChanged,
    Recovered,
    Released,
    Renewed,
    Requested,
    RulesChanged,
    RuntimesHeard,
    Sampled,
    SavePin,
    ServerHeard,
    ShutdownBegan,
    StopFailed,
    Stopped,
    Ticked,
    Uncheck,
    UnloadRequested,
    UseAnswered,
    UseSeen,
    Withdrawn,
)
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import LEAVING, SERVING, InstanceId, Resident, ResidentState
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs

RESTART_GRACE_S = 60.0  # what a holder has to renew a lease after we were down


class Scheduler:
    def __init__(
        self,
        catalogue: ModelSpecs,
        ledger: Ledger,
        rules: Rules,
        policy: Policy = least_regretted,
        networks: Networks = NO_NETWORKS,
    ) -> None:
        self.state = State(
            rules=rules, ledger=ledger, policy=policy, catalogue=catalogue, networks=networks
        )
        self.state.pinned = {name for name, spec in catalogue.items() if spec.pinned}

    def handle(self, event: Event, *, now_s: float) -> list[Effect]:
        """Everything that follows from one fact. Ready models are served in this very call."""
        effects = self._take(event, now_s)
        if not isinstance(event, Requested):
            effects += settle(self.state, now_s)
        elif (line := self.state.queue.line(event.spec.name)) and event.ticket in self.state.queue:
            effects += loads.consider(self.state, line, now_s)  # nothing changed for other lines
            effects += loads.start_cleared(self.state, now_s)
        while back := setbacks.forget_tries(self.state, now_s):  # each ends with a try less
            effects += back + settle(self.state, now_s)
        return effects

    @property
    def hurried(self) -> bool:
        """Whether a wish waits for the devices: then they are read many times a second."""
        return bool(self.state.reservations) or any(
            resident.state is ResidentState.RELEASING for resident in self.state.ledger.residents
        )

    def new_instance(self, model: ModelName, now_s: float) -> InstanceId:
        """A name for a life that did not begin here."""
        return self.state.new_instance(model, now_s)

    def _take(self, event: Event, now_s: float) -> list[Effect]:  # noqa: C901, PLR0911, PLR0912 - one flat list
        state = self.state
        match event:
            case Requested():
                return grants.receive(state, event, now_s)
            case Withdrawn():
                return grants.withdraw(state, event, now_s)
            case Released(lease):
                return state.end_lease(lease, now_s)
            case Renewed():
                return _renew(state, event)
            case UnloadRequested(ticket=ticket) if state.shutting_down:
                return [Deny(ticket, grants.shutting_down())]
            case UnloadRequested():
                return unloads.begin_unload(state, event, now_s)
            case Sampled(readings, held):
                return ticks.observe(state, readings, held)
            case RuntimesHeard():
                return outages.hear(state, event, now_s)
            case ServerHeard():
                return outages.hear_server(state, event)
            case Ticked():
                return ticks.tick(state, now_s)
            case PinChanged(model, pinned):
                return _pin(state, model, pinned=pinned)
            case RulesChanged():
                return _take_rules(state, event)
            case CatalogueChanged(specs):
                return _take_catalogue(state, specs, now_s)
            case Bringing() | Checked():
                return files.hear_of_files(state, event, now_s)
            case Recovered():
                return _recover(state, event, now_s)
            case ShutdownBegan(stop_residents):
                return _shut_down(state, now_s, stop_residents=stop_residents)
            case Loaded():
                return loads.loaded(state, event, now_s)
            case LoadFailed(instance, failure):
                return _load_failed(state, instance, failure, now_s)
            case Stopped(instance):
                return _stopped(state, instance, now_s)
            case StopFailed(instance, detail):
                return _stop_failed(state, instance, detail, now_s)
            case Died(instance, failure):
                return _died(state, instance, failure, now_s)
            case UseSeen():
                return _see_use(state, event, now_s)
            case UseAnswered():
                return drains.hear_use(state, event, now_s)
            case _:
                assert_never(event)


def settle(state: State, now_s: float) -> list[Effect]:
    """Ask what follows now: who has gone, who may go, who stays, who may come, who may start."""
    effects = releases.release_returned(state, now_s)
    effects += unloads.progress_unloads(state, now_s)
    effects += drains.progress_drains(state, now_s)
    effects += drains.resume_kept(state, now_s)
    effects += loads.consider_lines(state, now_s)
    effects += releases.release_rooms(state)
    effects += loads.start_cleared(state, now_s)
    keeping.note_stirring(state, now_s)
    return effects + drains.resume_kept(state, now_s)  # whose callers were refused meanwhile


# --- what came of effects: facts about a life that is over change nothing ----------------------


def _load_failed(
    state: State, instance: InstanceId, failure: Failure, now_s: float
) -> list[Effect]:
    resident = state.by_instance(instance)
    if resident is None or resident.state is not ResidentState.LOADING:
        return []
    return setbacks.load_failed(state, resident, failure, now_s)


def _stopped(state: State, instance: InstanceId, now_s: float) -> list[Effect]:
    resident = state.by_instance(instance)
    told = (ResidentState.UNLOADING, ResidentState.STUCK)
    if resident is None or resident.state not in told:
        return []
    return releases.stopped(state, resident, now_s)


def _stop_failed(state: State, instance: InstanceId, detail: str, now_s: float) -> list[Effect]:
    resident = state.by_instance(instance)
    if resident is None:
        return []
    if resident.state is ResidentState.LOADING:
        return setbacks.load_stuck(state, resident, detail, now_s)
    if resident.state is not ResidentState.UNLOADING:
        return []
    return releases.stop_failed(state, resident, detail, now_s)


def _died(state: State, instance: InstanceId, failure: Failure, now_s: float) -> list[Effect]:
    resident = state.by_instance(instance)
    if resident is None or resident.state in LEAVING:
        return []
    return setbacks.died(state, resident, failure, now_s)


def _see_use(state: State, event: UseSeen, now_s: float) -> list[Effect]:
    """Use that did not come through us counts like any other (R13)."""
    resident = state.by_instance(event.instance)
    if resident is None or resident.state not in SERVING:
        return []
    if event.busy or event.used:
        state.sent_away.discard(resident.name)
    seen = resident.seen_in_use(now_s, busy=event.busy, used=event.used)
    if seen is not resident:
        state.ledger.put(seen)
    return []


# --- what callers and the operator change ------------------------------------------------------


def _renew(state: State, event: Renewed) -> list[Effect]:
    lease = state.leases.get(event.lease)
    if lease is None:
        return []
    renewed = replace(lease, expires_s=event.expires_s)
    state.hear_of(renewed)
    return [KeepLease(renewed)]


def _pin(state: State, model: ModelName, *, pinned: bool) -> list[Effect]:
    state.set_pin(model, pinned=pinned)
    state.queue.explain_again()
    state.ledger.touch()
    said = "is pinned: it leaves only by force or its own unload" if pinned else "is unpinned"
    return [
        SavePin(model, pinned),
        Decide(kind=DecisionKind.PIN, model=model, text=f"{model} {said}."),
    ]


def _take_rules(state: State, event: RulesChanged) -> list[Effect]:
    state.rules = event.rules
    state.ledger.rule(headroom_bytes=event.headroom_bytes, budget_bytes=event.budget_bytes)
    state.queue.explain_again()
    return []


def _take_catalogue(state: State, specs: ModelSpecs, now_s: float) -> list[Effect]:
    """What runs goes on; a model that changed is started anew when it is next asked for."""
    changed = [
        name
        for name in {**specs, **state.catalogue}  # in their order, in each process the same
        if not _says_the_same(specs.get(name), state.catalogue.get(name))
    ]
    effects = [effect for name in changed for effect in _take_pin(state, name, specs.get(name))]
    for name in changed:
        state.breakers.pop(name, None)
        state.sent_away.discard(name)
    for name in list(state.breakers):
        setbacks.mended(state, name)  # whoever reloads has mended something: it is looked at anew
    state.catalogue = specs
    state.habits = {name: habit for name, habit in state.habits.items() if name in specs}
    for name in changed:
        if name not in specs and state.ledger.resident(name) is None:
            state.evicted_for.pop(name, None)
    if changed:
        state.ledger.touch()  # lists that were made before show it no more
    state.queue.explain_again()
    for line in state.queue.lines():
        if line.model in changed and line.model not in specs and not line.spec.plain_room:
            refusal = Refusal(
                code=RefusalCode.UNKNOWN_MODEL,
                detail=_gone(line.spec),
                remedy="GET /models lists what there is.",
            )
            effects += [*grants.deny_line(state, line, refusal), Uncheck(line.model)]
            effects += grants.abandon_if_unwanted(state, line.model, now_s)
    return effects


def _gone(spec: ModelSpec) -> str:
    if spec.found:
        return f"{spec.name} is no model any more: its file {spec.file} is gone."
    return f"{spec.name} was taken out of the catalogue."


def _take_pin(state: State, model: ModelName, spec: ModelSpec | None) -> list[Effect]:
    """A pin that was made by the API stays, unless the file says something new about it."""
    before = state.catalogue.get(model)
    wanted = spec is not None and spec.pinned
    if spec is not None and wanted == (before is not None and before.pinned):
        return []
    state.set_pin(model, pinned=wanted)
    return [ForgetPin(model)]


def _says_the_same(now: ModelSpec | None, before: ModelSpec | None) -> bool:
    """That a model's file was found on its hub meanwhile is nothing that the operator changed."""
    if now is None or before is None:
        return now is before
    if now.awaits_file or before.awaits_file:
        now, before = (replace(spec, file=None, mmproj=None) for spec in (now, before))
    if now.footprint.unknown or before.footprint.unknown:
        now, before = (replace(spec, footprint=UNKNOWN) for spec in (now, before))
    return now == before


def _recover(state: State, event: Recovered, now_s: float) -> list[Effect]:
    """Take over what outlived us. Who was on the way out goes on its way out (R11)."""
    effects: list[Effect] = []
    for model, pinned in event.pins.items():
        state.set_pin(model, pinned=pinned)
    leased = {lease.instance for lease in event.leases}
    for resident in sorted(event.residents, key=lambda found: found.unpromised):  # these make room
        line = state.queue.line(resident.name)
        awaited = line is not None and not line.ours
        state.ledger.put(replace(resident, unasked=False) if awaited else resident)
        state.repayments.pop(resident.instance, None)
        for device in resident.placement.devices:
            state.ledger.unsettle(device)
        effects.append(
            Decide(
                kind=DecisionKind.ADOPT,
                model=resident.name,
                text=f"{resident.name} could not be looked at; it is believed to be as it was last "
                f"seen, {resident.state}."
                if resident.instance in event.unseen
                else f"{resident.name} was found as {resident.state} and taken over.",
                why=event.why,
            )
        )
        if resident.state is ResidentState.UNLOADING:
            effects.append(Evict(resident, force=True))
        elif resident.instance in leased:
            pass  # whatever room there is: in use means in use (R5)
        elif resident.state is ResidentState.LOADING and _has_no_room(state, resident):
            why = "others started it, and its room is another model's"
            effects += evictions.evict(state, resident, now_s, why)
    for lease in event.leases:
        holder = state.by_instance(lease.instance)
        if holder is not None and holder.state not in LEAVING:
            effects += state.add_lease(_with_grace(lease, now_s), holder, None)
        else:
            said = f"The lease of {lease.owner or 'nobody'} on {lease.model} ended with it"
            text = f"{said} while the orchestrator did not run."
            effects.append(DropLease(lease.id))
            effects.append(Decide(kind=DecisionKind.EXPIRE, model=lease.model, text=text))
    state.ticked_s = now_s
    return effects


def _has_no_room(state: State, resident: Resident) -> bool:
    """Others started it, and what we have begun to load beside it would run out of memory."""
    if not resident.unpromised:
        return False
    for device in resident.placement.devices:
        begun_bytes = sum(
            there.placement.on(device)
            for there in state.ledger.on(device)
            if there.state is not ResidentState.RESERVED
        )
        if state.ledger.readable(device) and begun_bytes > state.ledger.limit_bytes(device):
            return True
    return False


def _with_grace(lease: Lease, now_s: float) -> Lease:
    """Its holder could not reach us while we were down: it lives for one more minute at least."""
    if lease.expires_s is None:
        return lease
    return replace(lease, expires_s=max(lease.expires_s, now_s + RESTART_GRACE_S))


def _shut_down(state: State, now_s: float, *, stop_residents: bool) -> list[Effect]:
    effects: list[Effect] = []
    if not state.shutting_down:
        said = "The orchestrator shuts down: who waits is refused."
        effects.append(Decide(kind=DecisionKind.SHUTDOWN, text=said))
    state.shutting_down = True
    for line in state.queue.lines():
        effects += grants.deny_line(state, line, grants.shutting_down())
        effects += grants.abandon_if_unwanted(state, line.model, now_s)
    effects += [Deny(ticket, grants.shutting_down()) for ticket in state.unloads]
    state.unloads.clear()
    if stop_residents:
        for resident in list(state.ledger.residents):
            if resident.state not in LEAVING:
                why = "the orchestrator shuts down"
                effects += evictions.evict(state, resident, now_s, why, force=True)
    return effects
