"""Who waits for what, in order: priority, then arrival (R6). One line per model (R4)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from orchestrator.core.values.messages import Requested
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.tickets import Ticket


@dataclass(frozen=True, slots=True)
class Wish:
    """One ticket with the instant of its arrival and the instant by which it must end."""

    request: Requested
    arrived_s: float
    ends_by_s: float
    restores: bool = False  # ours: brings back who left, into free room only

    @property
    def model(self) -> ModelName:
        return self.request.spec.name

    @property
    def evicts(self) -> bool:
        """Whether a resident may have to leave for it."""
        return self.say is Say.EVICTING

    @property
    def say(self) -> "Say":
        if self.restores:
            return Say.OURS
        return Say.EVICTING if self.request.evicts else Say.MODEST


class Say(IntEnum):
    """How much a wish has to say in its line: the rest come along with the first that are there."""

    EVICTING = 0  # a caller for whom residents may leave
    MODEST = 1  # a caller for whom none may
    OURS = 2


class Line:
    """All wishes for one model. They join the same load.

    Which settings it is loaded with, how urgently and on whose account is said by those with most
    to say: nobody is made to leave by the priority, the age or the quota of who lets nobody leave.
    """

    def __init__(self, model: ModelName) -> None:
        self.model = model
        self.wishes: dict[Ticket, Wish] = {}
        self._tickets: dict[Say, dict[Ticket, None]] = {say: {} for say in Say}
        self._priorities: dict[Say, Counter[int]] = {say: Counter() for say in Say}
        self.explained = False  # whether it was told already why it waits
        self.possible = False  # what it wants instead of what runs could be started, as was found
        self.earliest_s = 0.0  # there is no room before that, as it was explained
        self.looked_at: ModelSpec | None = None  # at whose files a look began
        self.checked = False  # whether it could start, as far as its files tell
        self.bringing = ""  # what it needs and is on its way here, in words
        self.brought_s = 0.0  # when that had arrived: its patience with others counts from then

    def add(self, wish: Wish) -> None:
        self.wishes[wish.request.ticket] = wish
        self._tickets[wish.say][wish.request.ticket] = None
        self._priorities[wish.say][wish.request.priority] += 1

    def remove(self, ticket: Ticket) -> Wish:
        wish = self.wishes.pop(ticket)
        del self._tickets[wish.say][ticket]
        counts, priority = self._priorities[wish.say], wish.request.priority
        counts[priority] -= 1
        if not counts[priority]:
            del counts[priority]
        return wish

    @property
    def _say(self) -> Say:
        """Of those who decide."""
        return next(say for say, tickets in self._tickets.items() if tickets)

    @property
    def deciding(self) -> Sequence[Wish]:
        return [self.wishes[ticket] for ticket in self._tickets[self._say]]

    @property
    def priority(self) -> int:
        """Of the most important wish among those who decide."""
        return max(self._priorities[self._say])

    @property
    def first(self) -> Wish:
        """The oldest of those who decide."""
        return self.wishes[next(iter(self._tickets[self._say]))]

    @property
    def last(self) -> Wish:
        return next(reversed(self.wishes.values()))

    @property
    def spec(self) -> ModelSpec:
        return self.first.request.spec

    @property
    def waits_for_files(self) -> bool:
        """Whether nothing is decided before a look at its files has ended."""
        return self.looked_at is not None and not self.checked

    @property
    def arrived_s(self) -> float:
        return self.first.arrived_s

    def others_than(self, resident: Resident) -> list[Wish]:
        """Callers who wait for settings that the resident does not run with."""
        return [
            wish
            for wish in self.wishes.values()
            if not wish.restores and not resident.serves(wish.request.spec)
        ]

    def wants_other_than(self, resident: Resident) -> bool:
        """Whether one of these would have it leave."""
        return any(
            wish.evicts and not resident.serves(wish.request.spec) for wish in self.wishes.values()
        )

    @property
    def ours(self) -> bool:
        """Whether no caller waits in it."""
        return self._say is Say.OURS

    @property
    def evicts(self) -> bool:
        return self._say is Say.EVICTING


class Queue:
    def __init__(self) -> None:
        self._lines: dict[ModelName, Line] = {}
        self._model_of: dict[Ticket, ModelName] = {}
        self._in_order: list[Line] | None = None  # until a wish comes or goes

    def __len__(self) -> int:
        return len(self._model_of)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._model_of

    @property
    def line_count(self) -> int:
        return len(self._lines)

    def line(self, model: ModelName) -> Line | None:
        return self._lines.get(model)

    def lines(self) -> list[Line]:
        """Callers' before ours, the most important first, then the longest waiting."""
        if self._in_order is None:
            self._in_order = sorted(
                self._lines.values(),
                key=lambda line: (line.ours, -line.priority, line.arrived_s, line.model),
            )
        return list(self._in_order)

    def wishes(self) -> Iterator[Wish]:
        for line in self._lines.values():
            yield from line.wishes.values()

    def add(self, wish: Wish) -> None:
        self._lines.setdefault(wish.model, Line(wish.model)).add(wish)
        self._in_order = None
        self._model_of[wish.request.ticket] = wish.model

    def remove(self, ticket: Ticket) -> Wish | None:
        model = self._model_of.pop(ticket, None)
        if model is None:
            return None
        line = self._lines[model]
        wish = line.remove(ticket)
        self._in_order = None
        if not line.wishes:
            del self._lines[model]
        return wish

    def remove_ours(self, model: ModelName) -> None:
        """What we wished for by ourselves is not wanted."""
        line = self._lines.get(model)
        for wish in list(line.wishes.values()) if line is not None else ():
            if wish.restores:
                self.remove(wish.request.ticket)

    def disown(self, ticket: Ticket) -> bool:
        """The wish waits on without its caller: nothing is held for it. False: it does not wait."""
        model = self._model_of.get(ticket)
        if model is None:
            return False
        wishes = self._lines[model].wishes
        nobodys = replace(wishes[ticket].request, hold=None, lease_s=None, owner=None, pin=False)
        wishes[ticket] = replace(wishes[ticket], request=nobodys)
        return True

    def dissolve(self, model: ModelName) -> list[Ticket]:
        """Take all wishes out of the model's line; none if there is no line."""
        line = self._lines.pop(model, None)
        self._in_order = None
        tickets = list(line.wishes) if line is not None else []
        for ticket in tickets:
            del self._model_of[ticket]
        return tickets

    def explain_again(self) -> None:
        """What stood in the way has changed: lines that wait are looked at afresh."""
        for line in self._lines.values():
            line.explained = line.possible = False

    def extend_deadline(self, model: ModelName, until_s: float) -> None:
        """No wish for the model ends before that by itself."""
        line = self._lines[model]
        for ticket, wish in line.wishes.items():
            line.wishes[ticket] = replace(wish, ends_by_s=max(wish.ends_by_s, until_s))

    def supply(self, spec: ModelSpec) -> None:
        """The model's files were found. What wishes for other settings take is not known yet; those
        for what was written anew meanwhile are for other files.
        """
        line = self._lines[spec.name]
        for ticket, wish in line.wishes.items():
            wanted = wish.request.spec
            if spec.launches_like(wanted):
                wanted = spec
            elif wanted.awaits_file and (wanted.service, wanted.hub) == (spec.service, spec.hub):
                wanted = replace(wanted, file=spec.file, mmproj=spec.mmproj)
            line.wishes[ticket] = replace(wish, request=replace(wish.request, spec=wanted))

    def respecify(self, spec: ModelSpec) -> None:
        """What these settings of the model take was learned while callers waited for them."""
        line = self._lines.get(spec.name)
        if line is not None:
            for ticket, wish in line.wishes.items():
                if spec.launches_like(wish.request.spec):
                    line.wishes[ticket] = replace(wish, request=replace(wish.request, spec=spec))
