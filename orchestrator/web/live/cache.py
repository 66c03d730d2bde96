"""What many ask for, encoded once for all of them: the status, the models, the requests."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.catalogue.facts import ModelFacts, facts_of
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.desk.activity import record
from orchestrator.desk.desk import Desk
from orchestrator.desk.permits import seen, visible
from orchestrator.web.wire import happenings, shaping
from orchestrator.web.wire.error_answers import encode
from orchestrator.web.wire.models import About, Shelf

# An unchanged state is only encoded anew for its clock (`now`, waiting times, temperatures) and for
# downloads.
BODY_AGE_S_MAX = 0.1
FITTED_MODELS_MAX = 300  # some 50 µs for each, with every change
RUNNING_TOLD_MAX = 50  # as many as a person can take in; `running_total` counts all
ENDED_TOLD_MAX = 20


class Board:
    """Bodies from memory. A change of the snapshot is seen by the very next reader."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shelf = Shelf()
        self._status: tuple[int, float, bytes] | None = None
        self._models: tuple[int, int, bytes] | None = None
        self._requests: tuple[int, bytes] | None = None
        self._facts: dict[ModelName, tuple[ModelSpec, ModelFacts]] = {}

    def status(self, rights: Rights = EVERYTHING) -> bytes:
        snapshot = self._desk.snapshot()
        if not rights.sees_all:
            return encode(shaping.status(seen(snapshot, rights), (), self._desk.speeds.all(rights)))
        kept = self._status
        if (
            kept is not None
            and kept[0] == snapshot.version
            and self._desk.clock() - kept[1] < BODY_AGE_S_MAX
        ):
            return kept[2]
        desk = self._desk
        body = encode(shaping.status(snapshot, desk.downloads.all(), desk.speeds.all()))
        self._status = snapshot.version, snapshot.now_s, body
        return body

    async def read_files(self) -> None:
        """Know what the files of all models say: those that are new are read, in a thread."""
        specs = self._desk.catalogue
        new = [
            spec
            for name, spec in specs.items()
            if (kept := self._facts.get(name)) is None or kept[0] is not spec
        ]
        if new:
            found = await asyncio.to_thread(self._read, new)
            still = {name: told for name, told in self._facts.items() if name in specs}
            self._facts, self._models = still | found, None

    def _read(self, specs: Iterable[ModelSpec]) -> dict[ModelName, tuple[ModelSpec, ModelFacts]]:
        return {spec.name: (spec, facts_of(spec, self._desk.files(spec))) for spec in specs}

    def about(self, spec: ModelSpec) -> About:
        """As far as it is known. Of a large catalogue nobody works out what fits, for a list."""
        kept = self._facts.get(spec.name)
        few = len(self._desk.catalogue) <= FITTED_MODELS_MAX
        return About(
            facts=None if kept is None else kept[1],
            fits=self._desk.previews.fits(spec) if few else None,
        )

    def models(self, rights: Rights = EVERYTHING) -> bytes:
        """Good for a second: only the end of a breaker's cooldown is not a change of state."""
        snapshot = self._desk.snapshot()
        if not rights.sees_all:
            specs = visible(self._desk.catalogue, rights)
            return Shelf().listing(specs, seen(snapshot, rights), self.about)
        second = int(snapshot.now_s)
        if self._models is None or self._models[:2] != (snapshot.version, second):
            body = self._shelf.listing(self._desk.catalogue, snapshot, self.about)
            self._models = snapshot.version, second, body
        return self._models[2]

    def requests(self, rights: Rights = EVERYTHING) -> bytes:
        """The newest that are under way, and the last that have ended, newest first."""
        activity = self._desk.activity
        if not rights.sees_all:
            return self._told(rights)
        if self._requests is None or self._requests[0] != activity.version:
            self._requests = activity.version, self._told(EVERYTHING)
        return self._requests[1]

    def _told(self, rights: Rights) -> bytes:
        activity, now_s = self._desk.activity, self._desk.clock()
        running = [run for run in activity.running if rights.owns(run.key)]
        recent = (run for run in reversed(activity.recent) if rights.owns(run.key))
        told = {
            "running": [
                happenings.request(record(run), now_s)
                for run in islice(reversed(running), RUNNING_TOLD_MAX)
            ],
            "running_total": len(running),
            "ended": [
                happenings.request(record(run), now_s) for run in islice(recent, ENDED_TOLD_MAX)
            ],
        }
        return encode(told)
