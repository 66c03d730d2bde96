"""A thread of its own for everything that touches the disk, first come, first served.

Writes that are asked for in one turn of the loop, or wait for the disk together, are committed
together: an fsync of a second and a half then delays them once, not one after the other. The event
loop never waits.

No write fails for a full, slow or broken disk: the newest one of each key is kept until the disk
takes it, and says why it has not.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, ProgrammingError
from sqlmodel import Session

from orchestrator.errors import RegistryFailed
from orchestrator.registry.database import explain

TOGETHER_MAX = 256  # a commit that fails takes no more than this with it
WAITING_MAX = 10_000  # minutes of a busy day: a disk that is further behind has stopped
WRITE_PATIENCE_S = 5.0  # for one write, by its caller: thrice the slowest fsync we have seen
CLOSE_PATIENCE_S = 10.0  # for the last writes: six times the slowest fsync we have seen

# What SQLite has against one row. Anything else it says is about the disk, and ends them all.
_OF_THE_ROW = (IntegrityError, DataError, InterfaceError, ProgrammingError, OverflowError)

T = TypeVar("T")
Act = Callable[[Session], object]


@dataclass(slots=True, eq=False)
class Write:
    """A change that is not known to be on the disk."""

    table: str
    key: Hashable
    value: object  # what a reading has to find meanwhile; None: nothing
    act: Act
    unwritten_max: int  # so many of this table are kept while the disk refuses them
    refusal: str | None = None  # why it is not on the disk; None: it has not been refused
    queued: bool = False


@dataclass(slots=True, eq=False)
class _Job:
    act: Act
    write: Write | None = None  # None: performed alone: no write must fail it
    answer: asyncio.Future[Any] = field(default_factory=asyncio.Future)


class Commits:
    """Performs acts on one database, in the order in which they were asked for.

    A caller that is cancelled while it waits no longer hears the answer; the act is performed all
    the same.
    """

    def __init__(
        self,
        engine: Engine,
        path: Path,
        *,
        waiting_max: int = WAITING_MAX,
        patience_s: float = WRITE_PATIENCE_S,
    ) -> None:
        self._engine = engine
        self._path = path
        self._waiting_max = waiting_max
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._waiting: deque[_Job] = deque()
        self._busy = False
        self._closed = False
        self._unwritten: dict[str, dict[Hashable, Write]] = {}
        self.given_up = 0  # changes dropped since the start, because too many had to wait

    @property
    def problem(self) -> str | None:
        """Why not all that the daemon knows is written down; None when it is."""
        refusals = [refusal for table in self._unwritten.values() for refusal in _refusals(table)]
        if not refusals:
            return None
        lost = f" {self.given_up} older ones were given up." if self.given_up else ""
        return (
            f"{refusals[0]} {len(refusals)} changes are kept until the disk takes them, and the "
            f"work goes on.{lost}"
        )

    def unwritten(self, table: str) -> Mapping[Any, Any]:
        """What is not known to be on the disk, by key; None where it is to be dropped."""
        return {key: write.value for key, write in self._unwritten.get(table, {}).items()}

    def forget(self, table: str, key: Hashable) -> None:
        """Do not try it again."""
        self._unwritten[table].pop(key, None)

    async def write(self, write: Write) -> bool:
        """Return when it is on the disk (True), was refused or has waited for the patience (False).

        What is not written is kept for `retry`. Only a mistake in the act is raised.
        """
        self._unwritten.setdefault(write.table, {})[write.key] = write
        return await self._try([write])

    async def retry(self) -> None:
        """Try again what was refused. With nothing to do it costs nothing; calls may overlap."""
        for table in list(self._unwritten.values()):
            refused = [one for one in table.values() if one.refusal is not None and not one.queued]
            for start in range(0, len(refused), TOGETHER_MAX):
                together = refused[start : start + TOGETHER_MAX]
                await self._try(together)
                if any(write.queued for write in together):
                    return  # the disk hangs: all would wait for the same
                if all(write.refusal is not None for write in together):
                    break  # the disk has not recovered: the rest would hear the same

    async def alone(self, act: Callable[[Session], T]) -> T:
        """Perform what reads, or writes what need not be kept: in a transaction of its own, after
        all that was asked for before. Raise RegistryFailed if the disk fails.
        """
        if (refusal := self._refusal()) is not None:
            raise RegistryFailed(refusal)
        job = _Job(act)
        self._enqueue(job)
        answer: T = await job.answer
        return answer

    async def close(self) -> None:
        """Try a last time what was refused, perform what waits, close the file.

        Closing twice is not an error. Raise RegistryFailed if the disk does not take the last
        writes in time.
        """
        await self.retry()
        if self._closed:
            return
        self._closed = True
        last = _Job(lambda _session: None)
        self._enqueue(last)
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await last.answer
        except TimeoutError as late:
            self._thread.shutdown(wait=False)
            raise RegistryFailed(
                f"the disk of {self._path} did not take the last writes within "
                f"{CLOSE_PATIENCE_S:g} s: what it lacks is found again at the next start"
            ) from late
        # In the same thread: closing folds the log into the file, which is as slow as the disk.
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown(wait=True)

    async def _try(self, writes: Sequence[Write]) -> bool:
        answers = {self._ask(write): write for write in writes}
        done, late = await asyncio.wait(answers, timeout=self._patience_s)
        for answer in late:
            if answers[answer].refusal is None:
                answers[answer].refusal = f"The disk has not answered for {self._patience_s:g} s."
        written = [answer.result() for answer in done]  # raises what was a mistake
        return all(written) and not late

    def _ask(self, write: Write) -> asyncio.Future[Any]:
        job = _Job(write.act, write)
        write.queued = True
        if (refusal := self._refusal()) is None:
            self._enqueue(job)
        else:
            self._answer(job, RegistryFailed(refusal))
            self._trim()
        return job.answer

    def _refusal(self) -> str | None:
        if self._closed:
            return "the registry is closed: the orchestrator shuts down"
        if len(self._waiting) >= self._waiting_max:
            return (
                f"the disk of {self._path} is {self._waiting_max} writes behind: it has stopped, "
                "or is far too slow"
            )
        return None

    def _enqueue(self, job: _Job) -> None:
        self._waiting.append(job)
        if not self._busy:
            self._busy = True
            # What one decision writes comes from as many tasks, all of the same turn.
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        jobs = [self._waiting.popleft()]
        if jobs[0].write is not None:
            while self._waiting and self._waiting[0].write and len(jobs) < TOGETHER_MAX:
                jobs.append(self._waiting.popleft())
        acts = [job.act for job in jobs]
        self._busy = True
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, _transact, self._engine, self._path, acts)
        done.add_done_callback(lambda answers: self._deliver(jobs, answers))

    def _deliver(self, jobs: Sequence[_Job], answers: "asyncio.Future[list[object]]") -> None:
        self._busy = False
        broken = answers.exception()
        for position, job in enumerate(jobs):
            self._answer(job, broken or answers.result()[position])
        self._trim()
        if self._waiting:
            self._start()

    def _answer(self, job: _Job, answer: object) -> None:
        if job.write is not None:
            answer = self._note(job.write, answer)
        if job.answer.done():  # its caller was cancelled
            return
        if isinstance(answer, BaseException):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)

    def _note(self, write: Write, answer: object) -> object:
        """Keep what was refused. A mistake is not a refusal: it would be made again."""
        write.queued = False
        if isinstance(answer, RegistryFailed):
            write.refusal = str(answer)
            return False
        write.refusal = None
        unwritten = self._unwritten[write.table]
        if unwritten.get(write.key) is write:  # otherwise there is something newer to write
            del unwritten[write.key]
        return answer if isinstance(answer, BaseException) else True

    def _trim(self) -> None:
        """Only what was refused counts: what is on its way will be gone by itself."""
        for table in self._unwritten.values():
            refused = [write for write in table.values() if write.refusal is not None]
            surplus = len(refused) - refused[0].unwritten_max if refused else 0
            for write in refused[: max(surplus, 0)]:
                del table[write.key]
                self.given_up += 1


def _refusals(table: Mapping[Hashable, Write]) -> list[str]:
    return [write.refusal for write in table.values() if write.refusal is not None]


def _transact(engine: Engine, path: Path, acts: Sequence[Act]) -> list[object]:
    """Perform the acts in one transaction. An answer that is an exception is its asker's."""
    try:
        with Session(engine) as session:
            answers = [_perform(session, act, path) for act in acts]
            session.commit()
    except DBAPIError as error:
        # SQLite has rolled back, and the connection goes on: the next commit may well succeed.
        return [explain(error.orig, path) for _ in acts]
    return answers


def _perform(session: Session, act: Act, path: Path) -> object:
    try:
        return act(session)
    except _OF_THE_ROW as refused:  # the other rows are not its hostages
        return explain(getattr(refused, "orig", refused), path)
