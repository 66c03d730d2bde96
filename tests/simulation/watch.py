"""What is seen of a day: asked of the checks after every event of every life, and counted."""

from collections import Counter
from dataclasses import dataclass, field

from orchestrator.core.life.grants import bound_s
from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.life.state import State
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.messages import (
    Bringing,
    Check,
    Checked,
    Deny,
    Effect,
    Event,
    Evict,
    Grant,
    Recovered,
    Requested,
    Ticked,
    Uncheck,
    UnloadRequested,
)
from orchestrator.core.values.residents import TRANSITIONS, InstanceId, Resident, ResidentState
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.tickets import Ticket
from tests.simulation.checks import (
    CHECKS,
    LOAD_S_MAX,
    LOADS_MAX,
    RELEASE_LATE_S,
    STANDING,
    Before,
    Moment,
)
from tests.simulation.world import World

BOUND_LATE_S = 30.0  # a load that is under way at the bound ends first


class Finding(AssertionError):
    """Something that must hold does not."""


@dataclass
class Open:
    """A ticket that has not ended."""

    asked_s: float
    ends_by_s: float
    event: Requested | UnloadRequested

    def wants_other_than(self, granted: Grant) -> bool:
        """Whether it asked for other settings, as it was put."""
        there, asked = granted.resident, self.event
        if there.spec.plain_room or isinstance(asked, UnloadRequested):
            return False
        return not there.serves(asked.spec)


@dataclass
class Watch:
    events: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str]] = field(default_factory=list)  # which check, and what it says
    tickets: dict[Ticket, Open] = field(default_factory=dict)
    forced: set[InstanceId] = field(default_factory=set)
    looked_at: set[ModelName] = field(default_factory=set)  # whose files are being looked at
    untold: set[InstanceId] = field(default_factory=set)  # stopped before they were known as ready
    standing: dict[str, int] = field(default_factory=dict)  # complaints, and for how many ticks
    lives: int = 0
    crashes: int = 0
    release_s_max: float = 0.0
    drain_s_max: float = 0.0
    recovering: bool = False
    world: World | None = None

    @property
    def count(self) -> int:
        return self.events.total()

    def found(self, check: str, text: str) -> None:
        self.findings.append((check, text))
        raise Finding(f"{check}: {text}")

    def life_begins(self, state: State, world: World) -> None:
        self.lives += 1
        self.world = world
        self._allow(state)

    def life_ends(self, *, crashed: bool) -> None:
        self.crashes += crashed
        self.standing.clear()
        self.looked_at.clear()
        if not crashed and self.tickets:
            self.findings.append(("ticket dropped", f"nobody answered {sorted(self.tickets)}"))
        self.tickets.clear()

    def _allow(self, state: State) -> None:
        """The largest of the numbers that were in force: what began under them ends by them."""
        self.release_s_max = max(self.release_s_max, state.rules.release_timeout_s)
        self.drain_s_max = max(self.drain_s_max, state.rules.drain_timeout_s)

    # --- around one event --------------------------------------------------------------------

    def before(self, state: State, event: Event, now_s: float) -> Before:
        self.recovering = isinstance(event, Recovered)
        if isinstance(event, Requested):
            bound = bound_s(state, event.spec) + BOUND_LATE_S + LOADS_MAX * LOAD_S_MAX
            self.tickets[event.ticket] = Open(now_s, now_s + bound, event)
        elif isinstance(event, UnloadRequested):
            ends_by_s = event.deadline_s + self.release_s_max + RELEASE_LATE_S
            self.tickets[event.ticket] = Open(now_s, ends_by_s, event)
        elif isinstance(event, Bringing):
            for ticket in self.tickets.values():
                if isinstance(ticket.event, Requested) and ticket.event.spec.name == event.model:
                    later_s = now_s + bound_s(state, ticket.event.spec) + BOUND_LATE_S
                    ticket.ends_by_s = max(ticket.ends_by_s, later_s + LOADS_MAX * LOAD_S_MAX)
        return Before(
            residents={resident.instance: resident for resident in state.ledger.residents},
            leases=dict(state.leases),
            lease_of=dict(state.lease_of),
            pinned=frozenset(state.pinned),
            unloads=dict(state.unloads),
        )

    def after(
        self, before: Before, state: State, event: Event, effects: list[Effect], now_s: float
    ) -> None:
        self._allow(state)
        self.events[type(event).__name__] += 1
        if isinstance(event, Checked):
            self.looked_at.discard(event.model)
        for effect in effects:
            self.effects[type(effect).__name__] += 1
            if isinstance(effect, Check):
                self.looked_at.add(effect.spec.name)
            elif isinstance(effect, Uncheck):
                self.looked_at.discard(effect.model)
            elif isinstance(effect, Deny):
                self.refusals[effect.refusal.code] += 1
            elif isinstance(effect, Evict):
                going = effect.resident.instance
                if effect.force:
                    self.forced.add(going)
                known = before.residents.get(going)
                if known is not None and known.state is ResidentState.LOADING:
                    self.untold.add(going)
        moment = Moment(self, before, state, event, effects, now_s)
        for check in CHECKS:
            for text in check(moment):
                self.found(check.__name__.strip("_"), f"{text}, after {event}")
        if isinstance(event, Ticked):
            self._stand(moment)

    def _stand(self, moment: Moment) -> None:
        standing = {text: check.__name__ for check in STANDING for text in check(moment)}
        self.standing = {text: self.standing.get(text, 0) + 1 for text in standing}
        for text, ticks in self.standing.items():
            if ticks > 2:
                self.found(standing[text].strip("_"), f"{text}, for {ticks} ticks")

    def moved(self, before: Resident, after: Resident) -> None:
        self.moves[f"{before.state}-{after.state}"] += 1
        if after.state not in TRANSITIONS[before.state] and not self.recovering:
            self.found("transitions", f"{after.instance} went from {before.state} to {after.state}")


class WatchedLedger(Ledger):
    """Sees every write of a resident."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def put(self, resident: Resident) -> None:
        before = self.resident(resident.name)
        super().put(resident)
        if before is not None and before.instance == resident.instance:
            if before.state is not resident.state:
                self._watch.moved(before, resident)
        elif before is not None and not self._watch.recovering:
            self._watch.found("residents", f"{resident.instance} took the place of {before}")


class WatchedScheduler(Scheduler):
    watch: Watch

    def handle(self, event: Event, *, now_s: float) -> list[Effect]:
        before = self.watch.before(self.state, event, now_s)
        try:
            effects = super().handle(event, now_s=now_s)
        except Finding:
            raise
        except Exception as error:
            self.watch.findings.append(("raised", f"{error!r} after {event}"))
            raise
        self.watch.after(before, self.state, event, effects, now_s)
        return effects
