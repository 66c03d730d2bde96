"""Which requests are under way, and the figures of those that have ended. In memory, at once.

A warm request passes here twice and must not notice: numbers and references are stored, and
become instants and records when they are looked at, or written down.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.access.keys.table import KeyTable
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.orders import NAME_CHARS_MAX
from orchestrator.ports import Clock
from orchestrator.records import Outcome, RequestRecord, Usage
from orchestrator.wall import WALL

RECENT_MAX = 1000  # ended ones that are shown without asking the disk
# Ended ones that are written down together, once a second: some milliseconds of the registry's
# thread. Of a burst beyond it the newest are kept, and the others are counted.
BATCH_MAX = 256
# Numbers that are left out at a restart: more than can have been given and not written down, so
# that a number which a client still shows is not another request's.
NUMBERS_SKIPPED = 100_000


@dataclass(slots=True, eq=False)
class Run:
    """One request on its way. What carries it may set every field; instants are the clock's."""

    id: int
    asked: str  # the model by the name that the request has for it
    protocol: str
    path: str
    client: str
    owner: str | None
    streaming: bool
    priority: int | None
    began_s: float
    model: ModelName | None = None  # that serves it
    instance: InstanceId | None = None
    granted_s: float | None = None
    first_byte_s: float | None = None
    ended_s: float | None = None
    wait_s: float = 0.0  # all the time before its model could take it
    load_s: float = 0.0  # the part of it in which the model was loading
    why: str = ""  # it waits, or waited
    outcome: Outcome | None = None
    status: int | None = None
    usage: Usage | None = None
    key: str | None = None  # of the API key that asks
    over: Callable[[KeyTable, float], bool] | None = None  # whether what let it in has ended
    cancel: Callable[[], object] | None = None  # ends it soon; forgotten at its end, as is `over`


class Activity:
    """Belongs to one event loop; no method waits or fails."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_id = 0
        self._running: dict[int, Run] = {}
        self._recent: deque[Run] = deque(maxlen=RECENT_MAX)
        self._undrained: deque[Run] = deque(maxlen=BATCH_MAX)
        self._drained = 0
        self.version = 0  # grows with every change, for streams that show them
        self.ended = 0  # since the start
        self._watchers: list[tuple[Callable[[Run], None], Callable[[int], None]]] = []

    def go_on_after(self, last_id: int) -> None:
        """Number requests on from the last one of the daemon's earlier life; 0: there is none."""
        if last_id:
            self._last_id = last_id + NUMBERS_SKIPPED

    def watch(self, ended: Callable[[Run], None], passed_over: Callable[[int], None]) -> None:
        """Have these hear of every request that has ended, or of how many without figures."""
        self._watchers.append((ended, passed_over))

    # --- what carries requests tells ---------------------------------------------------------

    def begin(
        self,
        asked: str,
        *,
        protocol: str,
        path: str,
        client: str,
        owner: str | None = None,
        streaming: bool = False,
        priority: int | None = None,
    ) -> Run:
        """`path` without its query. What the client chose itself is cut to the length of names."""
        self._last_id += 1
        self.version += 1
        run = Run(
            self._last_id,
            asked[:NAME_CHARS_MAX],
            protocol,
            path[:NAME_CHARS_MAX],
            client,
            owner and owner[:NAME_CHARS_MAX],
            streaming,
            priority,
            self._clock(),
        )
        self._running[run.id] = run
        return run

    def waits(self, run: Run, why: str) -> None:
        self.version += 1
        run.why = why

    def granted(
        self, run: Run, model: ModelName, instance: InstanceId, *, load_s: float = 0.0
    ) -> None:
        """Its model can take it. `load_s`: the part of its wait in which the model was loading."""
        self.version += 1
        run.model = model
        run.instance = instance
        run.granted_s = self._clock()
        run.wait_s = run.granted_s - run.began_s
        run.load_s = load_s

    def first_byte(self, run: Run) -> None:
        """The first byte of the answer has come from its server; only the first call counts."""
        if run.first_byte_s is None:
            self.version += 1
            run.first_byte_s = self._clock()

    def end(
        self,
        run: Run,
        outcome: Outcome,
        status: int | None = None,
        usage: Usage | None = None,
        *,
        ended_s: float | None = None,
    ) -> None:
        """On every way out; only the first call counts. `ended_s`: where it was not just now.

        One that an operator has ended is ENDED, however it looked to what carried it, unless it
        was answered all the same.
        """
        if self._running.pop(run.id, None) is None:
            return
        run.ended_s = self._clock() if ended_s is None else ended_s
        if run.outcome is None or outcome is Outcome.ANSWERED:
            run.outcome = outcome
        run.status = status
        run.usage = usage
        self._file(run)

    def join(self, run: Run) -> None:
        """One that is under way elsewhere; it gets its number here."""
        self._last_id += 1
        self.version += 1
        run.id = self._last_id
        self._running[run.id] = run

    def pass_over(self, count: int) -> None:
        """So many more have ended elsewhere; their figures are not to be had."""
        self.ended += count
        for _, passed_over in self._watchers:
            passed_over(count)

    def take(self, run: Run) -> None:
        """One that has ended elsewhere, with all its figures but its number, which it gets here."""
        self._last_id += 1
        run.id = self._last_id
        self._file(run)

    def _file(self, run: Run) -> None:
        run.cancel = run.over = None
        self.version += 1
        self.ended += 1
        self._recent.append(run)
        self._undrained.append(run)
        for ended, _ in self._watchers:
            ended(run)

    # --- who looks ---------------------------------------------------------------------------

    @property
    def running(self) -> tuple[Run, ...]:
        """Oldest first."""
        return tuple(self._running.values())

    @property
    def recent(self) -> tuple[Run, ...]:
        """In the order in which they ended."""
        return tuple(self._recent)

    def find(self, id_: int) -> Run | None:
        """None: it is neither under way nor among the recent ones."""
        if (run := self._running.get(id_)) is not None:
            return run
        return next((run for run in self._recent if run.id == id_), None)

    def cancel(self, id_: int) -> bool:
        """Have it ended by what carries it, once. False: it is not under way."""
        run = self._running.get(id_)
        if run is None:
            return False
        if run.outcome is None:
            run.outcome = Outcome.ENDED
            if run.cancel is not None:
                run.cancel()
        return True

    # --- the registry ------------------------------------------------------------------------

    @property
    def missed(self) -> int:
        """How many have ended that `drain` will not give: they were too many at once."""
        return self.ended - self._drained - len(self._undrained)

    def drain(self) -> tuple[RequestRecord, ...]:
        """What has ended since the last call, in that order; the newest BATCH_MAX of it."""
        drained = tuple(map(record, self._undrained))
        self._drained += len(drained)
        self._undrained.clear()
        return drained


def record(run: Run) -> RequestRecord:
    """Its figures so far."""
    usage = run.usage or Usage()
    first_byte_s = None if run.first_byte_s is None else max(0.0, run.first_byte_s - run.began_s)
    return RequestRecord(
        id=run.id,
        began_at=WALL.moment(run.began_s),
        ended_at=None if run.ended_s is None else WALL.moment(run.ended_s),
        asked=run.asked,
        model=run.model,
        instance=run.instance,
        protocol=run.protocol,
        path=run.path,
        client=run.client,
        owner=run.owner,
        streaming=run.streaming,
        priority=run.priority,
        wait_s=run.wait_s,
        load_s=run.load_s,
        first_byte_s=first_byte_s,
        why=run.why,
        outcome=None if run.ended_s is None else run.outcome,
        status=run.status,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        tokens_per_s=usage.tokens_per_s,
        key=run.key,
    )
