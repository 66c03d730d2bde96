"""What many ask for, encoded once for all of them: the status, the models, the requests."""

from itertools import islice

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.desk.activity import record
from orchestrator.desk.desk import Desk
from orchestrator.desk.permits import seen, visible
from orchestrator.web.wire import happenings, shaping
from orchestrator.web.wire.error_answers import encode
from orchestrator.web.wire.models import Shelf

# An unchanged state is only encoded anew for its clock (`now`, waiting times, temperatures) and for
# downloads.
BODY_AGE_S_MAX = 0.1
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

    def status(self, rights: Rights = EVERYTHING) -> bytes:
        snapshot = self._desk.snapshot()
        if not rights.sees_all:
            return encode(shaping.status(seen(snapshot, rights), ()))
        kept = self._status
        if (
            kept is not None
            and kept[0] == snapshot.version
            and self._desk.clock() - kept[1] < BODY_AGE_S_MAX
        ):
            return kept[2]
        body = encode(shaping.status(snapshot, self._desk.downloads.all()))
        self._status = snapshot.version, snapshot.now_s, body
        return body

    def models(self, rights: Rights = EVERYTHING) -> bytes:
        """Good for a second: only the end of a breaker's cooldown is not a change of state."""
        snapshot = self._desk.snapshot()
        if not rights.sees_all:
            specs = visible(self._desk.catalogue, rights)
            return Shelf().listing(specs, seen(snapshot, rights))
        second = int(snapshot.now_s)
        if self._models is None or self._models[:2] != (snapshot.version, second):
            body = self._shelf.listing(self._desk.catalogue, snapshot)
            self._models = snapshot.version, second, body
        return self._models[2]

    def requests(self, rights: Rights = EVERYTHING) -> bytes:
        """The newest that are under way, and the last that have ended, newest first."""
        activity = self._desk.activity
        if not rights.is_admin:
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
