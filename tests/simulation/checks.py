"""What must hold in a day: after every event, or from one tick to the next but one.

A check looks at the state before an event, the event, and what came of it. It says in a sentence
what is wrong, or nothing. A new promise is one more function in `CHECKS`; or in `STANDING`, where it
may be broken for a tick or two, and not for three.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core.life.charges import charged
from orchestrator.core.life.consistency import consistent
from orchestrator.core.life.drains import OTHER_SETTINGS
from orchestrator.core.life.loads import LINES_CONSIDERED_MAX
from orchestrator.core.life.questions import question
from orchestrator.core.life.releases import LATE_BYTES_S
from orchestrator.core.life.state import State
from orchestrator.core.room.networks import holders, lack
from orchestrator.core.room.placement import bytes_on, usable_devices
from orchestrator.core.room.planner import find
from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.messages import (
    Deny,
    Died,
    DropLease,
    Effect,
    Event,
    Evict,
    Finish,
    Grant,
    LoadFailed,
    Recovered,
    Released,
    ShutdownBegan,
    Stopped,
    Ticked,
    UnloadRequested,
    Withdrawn,
)
from orchestrator.core.values.residents import (
    LEAVING,
    ForNewcomer,
    InstanceId,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.tickets import Ticket, UnloadStatus
from tests.simulation.catalogue import BOUNDS

if TYPE_CHECKING:
    from tests.simulation.watch import Watch

LOAD_S_MAX = 150.0  # a start, its deadline, a stop that hangs
LOADS_MAX = 3  # of one wish: after an out-of-memory twice more, with more room and with less asked
STOP_S_MAX = 60.0
RELEASE_LATE_S = 30.0


@dataclass(frozen=True)
class Before:
    residents: dict[InstanceId, Resident]
    leases: dict[LeaseId, Lease]
    lease_of: dict[Ticket, LeaseId]
    pinned: frozenset[ModelName]
    unloads: dict[Ticket, UnloadRequested]


@dataclass(frozen=True)
class Moment:
    watch: "Watch"
    before: Before
    state: State
    event: Event
    effects: list[Effect]
    now_s: float


# --- what holds after every event ----------------------------------------------------------------


def _consistent(moment: Moment) -> Iterator[str]:
    world = moment.watch.world
    guessed = world is not None and bool(world.guessed)
    for text in consistent(moment.state):
        if not (guessed and text.endswith("are charged")):
            yield text


def _quotas(moment: Moment) -> Iterator[str]:
    """What a key has a model reserved for lies within its quota, and within that of the key that
    it was made with; growth beyond it is learned. It is the key of one who may have it loaded so.
    """
    for resident in moment.state.ledger.residents:
        new = resident.instance not in moment.before.residents
        if not new or resident.state is not ResidentState.RESERVED:
            continue
        line = moment.state.queue.line(resident.name)
        if line is not None and resident.key not in {wish.request.key for wish in line.deciding}:
            yield f"{resident.instance} is reserved for {resident.key}, who does not decide on it"
        for bound in BOUNDS.get(resident.key or "", ()):
            held_bytes = sum(charged(moment.state, bound.keys).values())
            if held_bytes > bound.limit_bytes and not isinstance(moment.event, Recovered):
                keys = ", ".join(sorted(bound.keys))
                yield f"{resident.instance} is reserved for {resident.key}: too much for {keys}"


def _networks(moment: Moment) -> Iterator[str]:
    """Who is promised a network of its own has one, once those have left who are to."""
    state = moment.state
    if isinstance(moment.event, Recovered):
        return
    victims = {each for one in state.reservations.values() for each in one.victims}
    for resident in state.ledger.residents:
        new = resident.instance not in moment.before.residents
        if not new or resident.state is not ResidentState.RESERVED:
            continue
        others = holders(resident.spec, state.ledger, state.networks)
        staying = [other.name for other in others if other.instance not in victims]
        if lack(resident.spec, state.ledger, state.networks) > len(others) - len(staying):
            yield f"{resident.instance} is reserved, and {staying} have all the networks"


def _tickets(moment: Moment) -> Iterator[str]:
    """Each ends in exactly one Grant, Finish or Deny, or in its own Withdrawn; a Grant with what it
    asked for when it came.
    """
    tickets = moment.watch.tickets
    for effect in moment.effects:
        if isinstance(effect, Grant | Deny | Finish) and effect.ticket >= 0:
            ended = tickets.pop(effect.ticket, None)
            if ended is None:
                yield f"ticket {effect.ticket} ended, which had ended or never began: {effect}"
            elif moment.now_s > ended.ends_by_s:
                late_s = moment.now_s - ended.ends_by_s
                yield f"ticket {effect.ticket} ended {late_s:.0f} s too late: {ended}"
            if ended is not None and isinstance(effect, Grant) and ended.wants_other_than(effect):
                yield f"ticket {effect.ticket} is granted {effect.resident}, and asked for {ended}"
    if isinstance(moment.event, Withdrawn):
        tickets.pop(moment.event.ticket, None)
    for ticket in tickets:
        if ticket not in moment.state.queue and ticket not in moment.state.unloads:
            yield f"ticket {ticket} is nowhere, and did not end"


def _lease_ends(moment: Moment) -> Iterator[str]:
    """A lease ends by its release, its time, its own unload, or with a resident that is gone."""
    for lease in moment.before.leases.values():
        if lease.id not in moment.state.leases and not _may_end(moment, lease):
            yield f"{lease.id} of {lease.owner} ended, and nobody ended it"


def _may_end(moment: Moment, lease: Lease) -> bool:
    match moment.event:
        case Released(released):
            ended = released == lease.id
        case Withdrawn(ticket):
            ended = moment.before.lease_of.get(ticket) == lease.id
        case Ticked():
            ended = lease.expires_s is not None and lease.expires_s <= moment.now_s
        case UnloadRequested(model=model, owner=owner, lease=named):
            mine = lease.id == named or (owner is not None and lease.owner == owner)
            ended = model == lease.model and mine
        case ShutdownBegan():
            ended = True
        case Died(instance) | LoadFailed(instance) | Stopped(instance):
            ended = instance == lease.instance
        case _:
            ended = False
    return ended or lease.instance in moment.watch.forced


def _lease_outlives(moment: Moment) -> Iterator[str]:
    """A lease that was written down is found again with the model that it holds, or its row goes."""
    event = moment.event
    if isinstance(event, Recovered):
        serving = {r.instance for r in event.residents if r.state not in LEAVING}
        for lease in event.leases:
            if lease.instance in serving and lease.id not in moment.state.leases:
                yield f"{lease.id} outlived the daemon, and is forgotten"
            if lease.id not in moment.state.leases and DropLease(lease.id) not in moment.effects:
                yield f"{lease.id} has ended, and stays written down"


def _evictions(moment: Moment) -> Iterator[str]:
    """Only the idle go, and the pinned by their own unload; by force goes what is told to."""
    for effect in moment.effects:
        if not isinstance(effect, Evict):
            continue
        going = effect.resident
        line = moment.state.queue.line(going.name)
        if going.why_leaving == OTHER_SETTINGS and line is not None and not line.checked:
            yield f"{going.instance} leaves for settings whose files nobody has looked at"
        before = moment.before.residents.get(going.instance)
        if effect.force:
            if not _may_force(moment, going, before):
                yield f"{going.instance} is stopped by force, and nobody asked for that"
            continue
        holders = [
            lease.id
            for lease in moment.before.leases.values()
            if lease.instance == going.instance and not _may_end(moment, lease)
        ]
        if holders:
            yield f"{going.instance} is evicted while {holders} hold it"
        if before is None:
            continue
        told = getattr(moment.event, "instance", None) == going.instance
        if before.busy and not told and before.state not in LEAVING:
            yield f"{going.instance} is evicted while its server is busy"
        if _pinned_here(moment, going.name, before) and not _own_unload(moment, going.name):
            yield f"{going.instance} is evicted although it is pinned"


def _may_force(moment: Moment, going: Resident, before: Resident | None) -> bool:
    event = moment.event
    if isinstance(event, ShutdownBegan | Recovered):
        return True
    if isinstance(event, UnloadRequested) and event.model == going.name:
        return event.force or (before is not None and before.state is ResidentState.STUCK)
    if before is None:
        return False
    since_s, bound_s = before.silent_since_s, moment.state.rules.restart_hung_s
    hung = since_s is not None and bound_s is not None and moment.now_s - since_s >= bound_s
    return hung or before.state is ResidentState.STUCK  # its stop is tried again


def _pinned_here(moment: Moment, model: ModelName, before: Resident) -> bool:
    arrived = before.state in (ResidentState.READY, ResidentState.DRAINING)
    return arrived and model in moment.before.pinned and model in moment.state.pinned


def _own_unload(moment: Moment, model: ModelName) -> bool:
    if isinstance(moment.event, UnloadRequested) and moment.event.model == model:
        return True
    return any(unload.model == model for unload in moment.before.unloads.values())


def _grants(moment: Moment) -> Iterator[str]:
    """What is granted runs."""
    for effect in moment.effects:
        if not isinstance(effect, Grant):
            continue
        resident = effect.resident
        if resident.state is not ResidentState.READY:
            yield f"{resident.instance} is granted and {resident.state}"
        if moment.watch.world is not None and resident.instance in moment.watch.world.stopped:
            yield f"{resident.instance} is granted, and was stopped"
        if effect.lease is not None and effect.lease.id not in moment.state.leases:
            yield f"{resident.instance} is granted with {effect.lease.id}, which does not exist"


def _unloaded_is_gone(moment: Moment) -> Iterator[str]:
    """What is told to be unloaded does not run, unless others have started it again meanwhile."""
    world = moment.watch.world
    for effect in moment.effects:
        if isinstance(effect, Finish) and effect.status is UnloadStatus.UNLOADED and world:
            for instance in {*moment.before.residents} & {*world.running} & world.asked_for:
                if moment.state.by_instance(instance) is None:
                    yield f"{instance} is told to be unloaded, and runs"


CHECKS: tuple[Callable[[Moment], Iterator[str]], ...] = (
    _consistent,
    _quotas,
    _networks,
    _tickets,
    _lease_ends,
    _lease_outlives,
    _evictions,
    _grants,
    _unloaded_is_gone,
)

# --- what may be wrong at one tick, and not at three ------------------------------------------


def _overdue(moment: Moment) -> Iterator[str]:
    """Who waits longer than promised waits for a load that is under way."""
    for wish in moment.state.queue.wishes():
        resident = moment.state.ledger.resident(wish.model)
        coming = resident is not None and resident.state in (
            ResidentState.RESERVED,
            ResidentState.LOADING,
        )
        waits_for_load = coming and wish.request.deadline_s is None
        if wish.ends_by_s < moment.now_s and not waits_for_load:
            there = "not there" if resident is None else resident.state
            yield f"ticket {wish.request.ticket} for {wish.model}, {there}, is over its bound"
    for ticket, opened in moment.watch.tickets.items():
        if moment.now_s > opened.ends_by_s:
            yield f"ticket {ticket} should have ended by {opened.ends_by_s:.0f}"


def _drains(moment: Moment) -> Iterator[str]:
    """A cause to leave ends at its bound, or with the look that is under way then."""
    for resident in moment.state.ledger.residents:
        if resident.look is not None and resident.look.until_s < moment.now_s:
            yield f"{resident.instance} is looked at, and should not be any more: {resident.look}"
        if resident.state is ResidentState.DRAINING and resident.look is None:
            for cause in resident.leaving:
                if getattr(cause, "until_s", moment.now_s) < moment.now_s:
                    yield f"{resident.instance} drains, and should not any more: {cause}"


def _ages(moment: Moment) -> Iterator[str]:
    """No state but READY and STUCK lasts."""
    watch = moment.watch
    longest = {
        ResidentState.RESERVED: watch.drain_s_max
        + STOP_S_MAX
        + watch.release_s_max
        + LATE_BYTES_S
        + LOADS_MAX * LOAD_S_MAX,
        ResidentState.LOADING: LOAD_S_MAX,
        ResidentState.UNLOADING: STOP_S_MAX,
        ResidentState.RELEASING: watch.release_s_max + RELEASE_LATE_S,
    }
    for resident in moment.state.ledger.residents:
        most_s = longest.get(resident.state)
        if most_s is not None and moment.now_s - resident.state_since_s > most_s:
            yield f"{resident.instance} is {resident.state} for more than {most_s:.0f} s"


def _planless(moment: Moment) -> Iterator[str]:
    """Whoever waits and could have room has it: by the planner's own word, asked afresh."""
    state, now_s = moment.state, moment.now_s
    for line in state.queue.lines()[:LINES_CONSIDERED_MAX]:
        if state.ledger.resident(line.model) is not None or line.waits_for_files:
            continue
        if find(question(state, line, now_s), state.ledger) is not None:
            yield f"{line.model} waits since {line.arrived_s:.0f}, and there is a plan for it"


def _looked_at(moment: Moment) -> Iterator[str]:
    """Who waits for files waits for a look at them that is under way."""
    for line in moment.state.queue.lines():
        if line.waits_for_files and line.model not in moment.watch.looked_at:
            yield f"{line.model} waits for its files, and nobody looks at them"


def _in_the_way(moment: Moment) -> Iterator[str]:
    """The idle that nothing protects are not in the way of the first who waits; counted anew."""
    state, now_s = moment.state, moment.now_s
    for line in state.queue.lines()[:1]:
        spec = line.spec
        if state.ledger.resident(line.model) is not None or line.waits_for_files or not line.evicts:
            continue
        if spec.footprint.host_bytes or spec.footprint.unknown:
            continue
        if lack(spec, state.ledger, state.networks):
            continue  # it waits for a network
        for device in usable_devices(spec, state.ledger):
            if not state.ledger.readable(device):
                continue
            idle_bytes = sum(
                state.ledger.occupied_bytes(resident, device)
                for resident in state.ledger.on(device)
                if _unprotected(state, resident, line.priority, now_s)
            )
            needed_bytes = bytes_on(spec, state.ledger, device)
            if needed_bytes <= min(
                state.ledger.free_bytes(device) + idle_bytes, state.ledger.limit_bytes(device)
            ):
                yield f"{line.model} waits since {line.arrived_s:.0f}: the idle on {device} would do"


def _unprotected(state: State, resident: Resident, priority: int, now_s: float) -> bool:
    idle = resident.state is ResidentState.READY and not resident.lease_count and not resident.busy
    rests = (
        resident.unasked
        or priority >= resident.priority
        or (now_s - resident.last_used_s >= state.rules.protect_idle_s)
    )
    settled = priority > resident.priority or now_s >= resident.settled_until_s
    held = resident.name in state.pinned or resident.spec.service in state.silent
    return idle and rests and settled and not held and not resident.spec.plain_room


def _other_settings(moment: Moment) -> Iterator[str]:
    """An idle model that is asked for with other settings makes room for them."""
    state = moment.state
    for line in state.queue.lines():
        resident = state.ledger.resident(line.model)
        if resident is None or not line.wants_other_than(resident):
            continue
        held = resident.name in state.pinned or resident.spec.service in state.silent
        settled = moment.now_s >= resident.settled_until_s
        idle = resident.state is ResidentState.READY and not resident.in_use
        if idle and settled and not held and not line.waits_for_files:
            yield f"{resident.instance} is idle, and asked for with other settings"


def _back(moment: Moment) -> Iterator[str]:
    """A wish of ours, to bring a model back, ends when the model serves, however it was started."""
    state = moment.state
    for wish in state.queue.wishes():
        resident = state.ledger.resident(wish.model)
        if resident is None or resident.silent_since_s is not None or not wish.restores:
            continue
        if resident.state is ResidentState.READY:
            yield f"{resident.instance} is back, and is still to be brought back"


def _modest(moment: Moment) -> Iterator[str]:
    """Callers who let no resident leave are served or refused as soon as nobody is on the way."""
    state = moment.state
    going = any(
        resident.state in (ResidentState.UNLOADING, ResidentState.RELEASING)
        for resident in state.ledger.residents
    )
    for line in state.queue.lines():
        alone = not line.evicts and state.ledger.resident(line.model) is None
        if alone and not going and not line.waits_for_files and not line.ours:
            yield f"{line.model} is asked for into free room only, and still waits"


def _kept(moment: Moment) -> Iterator[str]:
    """What is kept loaded is back as soon as it was quiet for a while and there is room."""
    state, now_s = moment.state, moment.now_s
    quiet = state.stirred_s is not None and now_s - state.stirred_s > state.rules.quiet_s
    if not quiet or state.shutting_down or state.queue.line_count:
        return
    for spec in map(state.believe, state.catalogue.values()):
        away = spec.keep_loaded and state.ledger.resident(spec.name) is None
        if not away or spec.name in state.sent_away or spec.footprint.unknown:
            continue
        breaker = state.breakers.get(spec.name)
        held_back = spec.service in state.silent or (breaker and breaker.refuses(now_s))
        if held_back or spec.failed is not None or lack(spec, state.ledger, state.networks):
            continue
        for device in usable_devices(spec, state.ledger):
            needed_bytes = bytes_on(spec, state.ledger, device)
            beside = bool(spec.footprint.host_bytes) or not state.ledger.readable(device)
            if not beside and needed_bytes <= state.ledger.free_bytes(device):
                yield f"{spec.name} is kept loaded, has room on {device}, and is away"


def _unasked(moment: Moment) -> Iterator[str]:
    """What came by itself and still loads is in nobody's way."""
    state = moment.state
    for line in state.queue.lines()[:1]:
        there = state.ledger.resident(line.model) is not None
        if line.ours or there or line.waits_for_files or not line.evicts:
            continue
        short = lack(line.spec, state.ledger, state.networks)
        alike = holders(line.spec, state.ledger, state.networks)
        for resident in state.ledger.residents:
            if short > int(resident in alike):
                continue  # its network would not do
            loads = resident.unasked and resident.state is ResidentState.LOADING
            (device, *others) = resident.placement.devices
            if not loads or others or device not in usable_devices(line.spec, state.ledger):
                continue
            free_bytes = state.ledger.free_bytes(device) + resident.placement.total_bytes
            needed_bytes = bytes_on(line.spec, state.ledger, device)
            held = resident.name in state.pinned or resident.spec.service in state.silent
            if not held and not line.spec.footprint.host_bytes and needed_bytes <= free_bytes:
                yield f"{line.model} waits for {resident.instance}, for which nobody asked"


def _hung(moment: Moment) -> Iterator[str]:
    """A server that is silent for longer than the operator bears is stopped."""
    bound_s = moment.state.rules.restart_hung_s
    for resident in moment.state.ledger.residents:
        since_s = resident.silent_since_s
        held = resident.spec.service in moment.state.silent or resident.state in LEAVING
        if bound_s is None or since_s is None or held:
            continue
        if moment.now_s - since_s > bound_s + 1:
            yield f"{resident.instance} hangs since {since_s:.0f}"


def _newcomers(moment: Moment) -> Iterator[str]:
    """A drain for a newcomer goes on only as long as one of its victims is in use."""
    for resident in moment.state.ledger.residents:
        for cause in resident.leaving:
            if isinstance(cause, ForNewcomer) and resident.state is ResidentState.DRAINING:
                reservation = moment.state.reservations.get(cause.model)
                if reservation is None or reservation.departing:
                    yield f"{resident.instance} drains for {cause.model}, whose plan is over"


STANDING: tuple[Callable[[Moment], Iterator[str]], ...] = (
    _overdue,
    _drains,
    _ages,
    _planless,
    _looked_at,
    _in_the_way,
    _other_settings,
    _back,
    _modest,
    _kept,
    _unasked,
    _hung,
    _newcomers,
)
