"""What happened lately, kept in memory: decisions, and who held how much of which device.

The conductor tells (`publish`, `note`), listeners subscribe. Telling never waits and never fails
for a listener's sake: one that does not keep up is told that it missed something (`Gap`) and
starts again from a fresh snapshot.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.vram import DeviceId, MiB
from orchestrator.records import DecisionRecord

DECISIONS_MAX = 500  # a busy day's worth for a page; the registry keeps the rest
SPANS_MAX = 500  # ended ones: about an hour of a chart on a machine that swaps all the time
CHANGES_MAX = 1024  # how far back a listener that reconnects is caught up without a snapshot
UNHEARD_MAX = 256  # changes a listener may be behind before it is told to start afresh
# Desktops and drivers breathe; a smaller change of foreign bytes is not a new holder.
FOREIGN_STEP_BYTES = 256 * MiB
FOREIGN_BYTES_MIN = 64 * MiB  # less is not worth a line in a chart


class Holder(StrEnum):
    RESIDENT = "resident"
    LEASE = "lease"  # of plain VRAM
    FOREIGN = "foreign"


_ROOM = LeaseKind.ROOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """So many bytes of one device were held from one instant to another."""

    id: int
    holder: Holder
    name: str  # the model, the lease's owner, or "" where it is not known
    device: DeviceId
    held_bytes: int
    from_s: float
    until_s: float | None = None  # None: holds them still


class Place(NamedTuple):
    instance: str  # "" for foreign bytes
    device: DeviceId


class Holding(NamedTuple):
    holder: Holder
    name: str
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Decided:
    sequence: int
    record: DecisionRecord


@dataclass(frozen=True, slots=True)
class Spanned:
    """A span began or ended."""

    sequence: int
    span: Span


@dataclass(frozen=True, slots=True)
class Noted:
    """Something in the snapshot changed. Several in a row arrive as one, the latest."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes were dropped because the listener took none: what it knows is out of date."""


Numbered = Decided | Spanned
Change = Numbered | Noted | Gap


class Subscription:
    """The changes since it began, in order. Ends when the history is closed."""

    def __init__(self) -> None:
        self._unheard: deque[Change] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Change:
        while not self._unheard:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._unheard.popleft()

    def tell(self, change: Change) -> None:
        if isinstance(change, Noted) and self._unheard and isinstance(self._unheard[-1], Noted):
            self._unheard.pop()
        if len(self._unheard) >= UNHEARD_MAX:
            self._unheard.clear()
            change = Gap()
        self._unheard.append(change)
        self._arrived.set()

    def close(self) -> None:
        self._closed = True
        self._arrived.set()


class History:
    """Belongs to one event loop; every method but the iteration returns at once."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch  # names this life of the daemon, so that old positions are not mistaken
        self._sequence = 0
        self._decisions: deque[DecisionRecord] = deque(maxlen=DECISIONS_MAX)
        self._ended: deque[Span] = deque(maxlen=SPANS_MAX)
        self._open: dict[Place, Span] = {}
        self._spans_made = 0
        self._seen: object = None
        self._changes: deque[Numbered] = deque(maxlen=CHANGES_MAX)
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @property
    def sequence(self) -> int:
        """The number of the last decision or span; what comes later has a higher one."""
        return self._sequence

    def decisions(self) -> tuple[DecisionRecord, ...]:
        """Oldest first."""
        return tuple(self._decisions)

    def spans(self) -> tuple[Span, ...]:
        """Ended ones in the order of their ends, then those that last."""
        return (*self._ended, *self._open.values())

    def since(self, sequence: int) -> tuple[Numbered, ...] | None:
        """What came after `sequence`; None if that is not known any more, or not yet."""
        if not 0 <= sequence <= self._sequence:
            return None
        oldest = self._changes[0].sequence if self._changes else self._sequence + 1
        if sequence < oldest - 1:
            return None
        return tuple(change for change in self._changes if change.sequence > sequence)

    def publish(self, record: DecisionRecord) -> None:
        self._decisions.append(record)
        self._tell_numbered(lambda sequence: Decided(sequence, record))

    def note(self, snapshot: Snapshot) -> None:
        """Take a new state: spans begin and end as it says."""
        if self._holds_anew(snapshot):
            self._follow(snapshot)
        for subscription in self._subscriptions:
            subscription.tell(Noted(snapshot))

    def _holds_anew(self, snapshot: Snapshot) -> bool:
        """Most changes are of leases and instants, and come with every request: a quick look."""
        seen = (
            [
                (resident.instance, resident.state, resident.placement)
                for resident in snapshot.residents
            ],
            [account.foreign_bytes for account in snapshot.accounts],
        )
        changed = seen != self._seen
        self._seen = seen
        return changed

    def _follow(self, snapshot: Snapshot) -> None:
        held = holdings(snapshot, self._open)
        for place, span in list(self._open.items()):
            if held.get(place) != Holding(span.holder, span.name, span.held_bytes):
                self._end(place, snapshot.now_s)
        for place, holding in held.items():
            if place not in self._open:
                self._begin(place, holding, snapshot.now_s)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        subscription = Subscription()
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.close()
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """Let every listener finish: nothing will happen any more."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    def _tell_numbered(self, change: Callable[[int], Numbered]) -> None:
        self._sequence += 1
        numbered = change(self._sequence)
        self._changes.append(numbered)
        for subscription in self._subscriptions:
            subscription.tell(numbered)

    def _begin(self, place: Place, holding: Holding, now_s: float) -> None:
        self._spans_made += 1
        span = Span(
            id=self._spans_made,
            holder=holding.holder,
            name=holding.name,
            device=place.device,
            held_bytes=holding.held_bytes,
            from_s=now_s,
        )
        self._open[place] = span
        self._tell_numbered(lambda sequence: Spanned(sequence, span))

    def _end(self, place: Place, now_s: float) -> None:
        span = replace(self._open.pop(place), until_s=now_s)
        self._ended.append(span)
        self._tell_numbered(lambda sequence: Spanned(sequence, span))


def holdings(snapshot: Snapshot, known: Mapping[Place, Span]) -> dict[Place, Holding]:
    """Who holds what now; foreign bytes only move from what is `known` by whole steps."""
    held: dict[Place, Holding] = {}
    owners = {lease.instance: lease.owner or "" for lease in snapshot.leases if lease.kind is _ROOM}
    for resident in snapshot.residents:
        room = resident.spec.plain_room
        holder = Holder.LEASE if room else Holder.RESIDENT
        name = owners.get(resident.instance, "") if room else resident.name
        for device, share in resident.placement.shares:
            held[Place(resident.instance, device)] = Holding(holder, name, share)
    for account in snapshot.accounts:
        place = Place("", account.reading.device.id)
        before = known[place].held_bytes if place in known else 0
        now = account.foreign_bytes
        if now is not None and now >= FOREIGN_BYTES_MIN and abs(now - before) < FOREIGN_STEP_BYTES:
            now = before
        if now is not None and now >= FOREIGN_BYTES_MIN:
            held[place] = Holding(Holder.FOREIGN, "", now)
    return held
