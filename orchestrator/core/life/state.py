"""Everything the scheduler knows. Changed only inside `Scheduler.handle`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.core.life.queue import Queue
from orchestrator.core.room.eviction import Policy, Urgency, least_regretted
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.networks import Networks
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Breaker, Failure, Silence
from orchestrator.core.values.leases import Lease, LeaseEnds, LeaseId, LeaseKind
from orchestrator.core.values.messages import (
    DropLease,
    Effect,
    Finish,
    Forget,
    KeepLease,
    SavePin,
    UnloadRequested,
)
from orchestrator.core.values.residents import InstanceId, Resident, ResidentState
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, ServiceName
from orchestrator.core.values.tickets import Ticket, UnloadStatus
from orchestrator.core.values.vram import DeviceId


@dataclass(slots=True)
class Reservation:
    """Room promised to a model whose victims have not all left yet."""

    victims: dict[InstanceId, ModelName]
    drain_until_s: float
    urgency: Urgency  # of the wish, when it was planned
    drains: bool = False  # a victim in use is waited for; else another plan is made
    departing: bool = False  # the victims were told to go: too late to change our mind
    late_until_s: float = 0.0  # bytes of a victim are late: no other victim makes up for them
    waiting_for: set[InstanceId] = field(default_factory=set)


@dataclass(slots=True)
class Repayment:
    """How a device gives back the bytes of a resident that is gone."""

    owed_bytes: int
    since_s: float  # when it was last seen to fall


@dataclass(frozen=True, slots=True)
class Baseline:
    """What devices read before a load began: if no other resident moves, the growth is its own."""

    version: int  # of the ledger
    used_bytes: Mapping[DeviceId, int]
    free_bytes: Mapping[DeviceId, int] = field(default_factory=dict)  # for it alone
    foreign_bytes: Mapping[DeviceId, int] = field(default_factory=dict)
    # While it loads: the most that was in use, and how many more bytes became foreign.
    highest_bytes: Mapping[DeviceId, int] = field(default_factory=dict)
    taken_bytes: Mapping[DeviceId, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Habit:
    """How a model was used when it left: it is wanted again as often as before."""

    use_began_s: float | None = None
    use_gap_s: float | None = None


# What was granted of one lease, in order: to which ticket, and how the lease stood then. None is
# a holder who has heard of it: it has renewed the lease, or the grant is long past.
Claims = dict[Ticket | None, Lease]
CLAIMS_MAX = 256  # of one lease: so many callers of one owner may leave in the same moment


@dataclass(slots=True)
class State:
    rules: Rules
    ledger: Ledger
    policy: Policy = least_regretted
    catalogue: ModelSpecs = field(default_factory=dict)
    networks: Networks = field(default_factory=dict)  # as long as the daemon lives
    # What was learned of a model, for wishes of our own: callers' come with it.
    believe: Callable[[ModelSpec], ModelSpec] = field(default=lambda spec: spec)
    ahead_s: float = 0.0  # the wall clock is, of `now_s`: for instants that are told in words
    queue: Queue = field(default_factory=Queue)
    leases: dict[LeaseId, Lease] = field(default_factory=dict)
    lease_of: dict[Ticket, LeaseId] = field(default_factory=dict)  # of each claim's ticket
    claims: dict[LeaseId, Claims] = field(default_factory=dict)
    reservations: dict[ModelName, Reservation] = field(default_factory=dict)
    evicted_for: dict[ModelName, tuple[ModelName, ...]] = field(default_factory=dict)
    unloads: dict[Ticket, UnloadRequested] = field(default_factory=dict)
    breakers: dict[ModelName, Breaker] = field(default_factory=dict)
    pinned: set[ModelName] = field(default_factory=set)
    # Kept models that a caller unloaded: until they are next asked for, or written otherwise.
    sent_away: set[ModelName] = field(default_factory=set)
    stirred_s: float | None = None  # when a caller last waited or a resident last moved
    # By loads alone, and no operator has said so since: by which ones.
    pinned_by: dict[ModelName, set[Ticket]] = field(default_factory=dict)
    retried: dict[ModelName, Failure] = field(default_factory=dict)  # whose second try this is
    repayments: dict[InstanceId, Repayment] = field(default_factory=dict)
    baselines: dict[InstanceId, Baseline] = field(default_factory=dict)  # of loads under way
    # whose runtime does not answer
    silent: dict[ServiceName, Silence] = field(default_factory=dict)
    shutting_down: bool = False
    ticked_s: float | None = None
    habits: dict[ModelName, Habit] = field(default_factory=dict)  # of models that have left
    instance_count: int = 0
    look_count: int = 0
    internal_tickets: int = 0

    # --- residents -----------------------------------------------------------------------------

    def by_instance(self, instance: InstanceId) -> Resident | None:
        """The resident of that life, if it is still the one in the table."""
        model = ModelName(instance.rpartition("-")[0])
        resident = self.ledger.resident(model)
        return resident if resident is not None and resident.instance == instance else None

    def new_instance(self, model: ModelName, now_s: float) -> InstanceId:
        """A name that no earlier life of the model had, also before a restart."""
        self.instance_count += 1
        return InstanceId(f"{model}-{int(now_s * 1000):x}{self.instance_count:x}")

    def move(self, resident: Resident, to: ResidentState, now_s: float, why: str = "") -> Resident:
        moved = resident.become(to, now_s)
        if why:
            moved = replace(moved, why_leaving=why)
        self.ledger.put(moved)
        return moved

    def current(self, resident: Resident) -> Resident:
        """The same life as it stands in the table now."""
        found = self.by_instance(resident.instance)
        assert found is not None, f"{resident.instance} has left the table"
        return found

    def forget(self, resident: Resident, *, kept_bytes: int = 0, note: str = "") -> list[Effect]:
        """It is gone; callers who waited for that hear so. `kept_bytes` did not come back."""
        effects = self.drop_leases(resident)
        if resident.use_began_s is not None and resident.name in self.catalogue:
            self.habits[resident.name] = Habit(resident.use_began_s, resident.use_gap_s)
        if resident.name not in self.catalogue:
            self.evicted_for.pop(resident.name, None)
        self.ledger.drop(resident.name)
        for device in resident.placement.devices:
            self.ledger.settle(device)
        self.repayments.pop(resident.instance, None)
        self.baselines.pop(resident.instance, None)
        for reservation in self.reservations.values():
            reservation.waiting_for.discard(resident.instance)
        if (line := self.queue.line(resident.name)) is not None:
            line.explained = False  # it was there, or was to be: who waits on is planned for anew
        held = resident.state is not ResidentState.RESERVED
        freed_bytes = resident.placement.total_bytes - kept_bytes if held else 0
        effects.append(Forget(resident.instance))
        for ticket, unload in list(self.unloads.items()):
            if unload.model == resident.name:
                del self.unloads[ticket]
                effects.append(
                    Finish(
                        ticket=ticket,
                        status=UnloadStatus.UNLOADED,
                        freed_bytes=freed_bytes,
                        verified=True,
                        remaining_leases=0,
                        note=note,
                    )
                )
        return effects

    def set_pin(self, model: ModelName, *, pinned: bool) -> None:
        (self.pinned.add if pinned else self.pinned.discard)(model)
        self.pinned_by.pop(model, None)

    def pin_for(self, model: ModelName, ticket: Ticket) -> list[Effect]:
        """A load pins it: until the pin is taken back, or for good once an operator has said so."""
        if model not in self.pinned:
            self.pinned.add(model)
            self.pinned_by[model] = {ticket}
            return [SavePin(model, pinned=True)]
        if (tickets := self.pinned_by.get(model)) is not None:
            tickets.add(ticket)
            if len(tickets) > CLAIMS_MAX:
                del self.pinned_by[model]  # who asked first has long heard of it
        return []

    def unpin_for(self, ticket: Ticket) -> list[Effect]:
        """That load's caller never heard of its pin: it ends, unless others have pinned it too."""
        effects: list[Effect] = []
        for model, tickets in list(self.pinned_by.items()):
            if ticket in tickets:
                tickets.remove(ticket)
                if not tickets:
                    self.set_pin(model, pinned=False)
                    effects.append(SavePin(model, pinned=False))
        return effects

    def keeps(self, model: ModelName) -> bool:
        """Whether it is to be kept loaded."""
        spec = self.catalogue.get(model)
        return spec is not None and spec.keep_loaded

    def send_away(self, model: ModelName) -> None:
        """A caller wants it unloaded: it does not come back by itself, nor is on its way back."""
        if self.keeps(model):
            self.sent_away.add(model)
        self.queue.remove_ours(model)

    # --- leases --------------------------------------------------------------------------------

    def leases_on(self, instance: InstanceId) -> Iterator[Lease]:
        return (lease for lease in self.leases.values() if lease.instance == instance)

    def leases_end(self) -> LeaseEnds:
        return LeaseEnds(self.leases.values())

    def add_lease(self, lease: Lease, resident: Resident, ticket: Ticket | None) -> list[Effect]:
        """For the caller with that ticket; None: its holder has heard of it in an earlier life."""
        known = lease.id in self.leases
        self.leases[lease.id] = lease
        if not known:
            held = resident.lease_count + 1
            self.ledger.put(replace(resident, lease_count=held, unasked=False))
        claims = self.claims.setdefault(lease.id, {})
        claims[ticket] = lease
        if ticket is not None:
            self.lease_of[ticket] = lease.id
        if len(claims) > CLAIMS_MAX:
            claims.pop(None, None)
            oldest, heard = next(iter(claims.items()))
            self.claims[lease.id] = {None: heard, **claims}
            self._forget_claim(lease.id, oldest)
        return [] if lease.kind is LeaseKind.REQUEST else [KeepLease(lease)]

    def hear_of(self, lease: Lease) -> None:
        """Its holder has used it: no caller who leaves takes it along any more."""
        self._forget_claims(lease.id)
        self.leases[lease.id] = lease
        self.claims[lease.id] = {None: lease}

    def take_back(self, ticket: Ticket, now_s: float) -> list[Effect]:
        """The lease of a grant of which its caller never heard, as far as no other holds it."""
        lease_id = self.lease_of.pop(ticket, None)
        if lease_id is None:
            return []
        lease, claims = self.leases[lease_id], self.claims[lease_id]
        del claims[ticket]
        if claims:
            last = next(reversed(claims.values()))
            self.leases[lease_id] = last
            return [] if last == lease else [KeepLease(last)]
        effects = self.end_lease(lease_id, now_s)
        if effects:
            said = f"The lease of {lease.owner or 'nobody'} on {lease.model} ended"
            text = f"{said}: its caller left before it had heard of it."
            effects.append(Decide(kind=DecisionKind.EXPIRE, model=lease.model, text=text))
        return effects

    def end_lease(self, lease_id: LeaseId, now_s: float) -> list[Effect]:
        """Ending what has ended already is not an error."""
        lease = self.leases.pop(lease_id, None)
        if lease is None:
            return []
        self._forget_claims(lease_id)
        resident = self.by_instance(lease.instance)
        if resident is not None:
            left = resident.lease_count - 1
            self.ledger.put(replace(resident.touched(now_s), lease_count=left, leased_s=now_s))
        return [] if lease.kind is LeaseKind.REQUEST else [DropLease(lease_id)]

    def _forget_claims(self, lease_id: LeaseId) -> None:
        for ticket in list(self.claims.get(lease_id, {})):
            self._forget_claim(lease_id, ticket)
        self.claims.pop(lease_id, None)

    def _forget_claim(self, lease_id: LeaseId, ticket: Ticket | None) -> None:
        del self.claims[lease_id][ticket]
        if ticket is not None:
            del self.lease_of[ticket]

    def drop_leases(self, resident: Resident) -> list[Effect]:
        """The resident goes, whatever lease held it."""
        ended = list(self.leases_on(resident.instance))
        for lease in ended:
            del self.leases[lease.id]
            self._forget_claims(lease.id)
        if ended:
            self.ledger.put(replace(resident, lease_count=0))
        effects: list[Effect] = [
            DropLease(lease.id) for lease in ended if lease.kind is not LeaseKind.REQUEST
        ]
        if effects:
            effects.append(
                Decide(
                    kind=DecisionKind.EXPIRE,
                    model=resident.name,
                    text=f"{resident.name}: {len(effects)} lease(s) ended with it.",
                )
            )
        return effects
