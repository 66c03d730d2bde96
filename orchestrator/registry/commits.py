"""A thread of its own for everything that touches the disk, first come, first served.

Writes that wait for the disk together are committed together: an fsync of a second and a half then
delays each of them once, not each after the others. The event loop never waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
)
from sqlmodel import Session

from orchestrator.errors import RegistryFailed
from orchestrator.registry.database import explain

TOGETHER_MAX = 256  # a commit that fails takes no more than this with it
WAITING_MAX = 10_000  # minutes of a busy day: a disk that is further behind has stopped
CLOSE_PATIENCE_S = 10.0  # for the last writes: six times the slowest fsync we have seen

# What SQLite has against one row. Anything else it says is about the disk, and ends them all.
_OF_THE_ROW = (IntegrityError, DataError, InterfaceError, ProgrammingError, OverflowError)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Job:
    act: Callable[[Session], object]
    alone: bool  # a reading: it must not fail with somebody's write
    answer: asyncio.Future[object] = field(default_factory=asyncio.Future)


class Commits:
    """Performs acts on one database, in the order in which they were asked for.

    Whoever is cancelled while waiting no longer hears the answer; the act is performed all the
    same, because nobody can call a write back.
    """

    def __init__(self, engine: Engine, path: Path, waiting_max: int = WAITING_MAX) -> None:
        self._engine = engine
        self._path = path
        self._waiting_max = waiting_max
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._waiting: deque[_Job] = deque()
        self._busy = False
        self._closed = False

    async def write(self, act: Callable[[Session], T]) -> T:
        """Return when it is on the disk. Raise RegistryFailed if it is not."""
        answer: T = await self._ask(_Job(act, alone=False))
        return answer

    async def read(self, act: Callable[[Session], T]) -> T:
        """Sees every write that was asked for before."""
        answer: T = await self._ask(_Job(act, alone=True))
        return answer

    async def close(self) -> None:
        """Perform what waits, then close the file. Closing twice is not an error.

        Raise RegistryFailed if the disk does not take the last writes in time.
        """
        if self._closed:
            return
        self._closed = True
        last = _Job(lambda _session: None, alone=True)
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

    async def _ask(self, job: _Job) -> Any:
        if self._closed:
            raise RegistryFailed("the registry is closed: the orchestrator shuts down")
        if len(self._waiting) >= self._waiting_max:
            raise RegistryFailed(
                f"the disk of {self._path} is {self._waiting_max} writes behind: it has stopped, "
                "or is far too slow"
            )
        self._enqueue(job)
        return await job.answer

    def _enqueue(self, job: _Job) -> None:
        self._waiting.append(job)
        if not self._busy:
            self._start()

    def _start(self) -> None:
        jobs = self._take()
        acts = [job.act for job in jobs]
        self._busy = True
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, _transact, self._engine, self._path, acts)
        done.add_done_callback(lambda answers: self._deliver(jobs, answers))

    def _take(self) -> list[_Job]:
        jobs = [self._waiting.popleft()]
        while (
            not jobs[0].alone
            and self._waiting
            and not self._waiting[0].alone
            and len(jobs) < TOGETHER_MAX
        ):
            jobs.append(self._waiting.popleft())
        return jobs

    def _deliver(self, jobs: Sequence[_Job], answers: "asyncio.Future[list[object]]") -> None:
        self._busy = False
        broken = answers.exception()
        for position, job in enumerate(jobs):
            if job.answer.done():  # its caller was cancelled
                continue
            answer = broken or answers.result()[position]
            if isinstance(answer, BaseException):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)
        if self._waiting:
            self._start()


def _transact(
    engine: Engine, path: Path, acts: Sequence[Callable[[Session], object]]
) -> list[object]:
    """Perform the acts in one transaction. An answer that is an exception is its asker's."""
    try:
        with Session(engine) as session:
            answers = [_perform(session, act, path) for act in acts]
            session.commit()
    except DBAPIError as error:
        # SQLite has rolled back, and the connection goes on: the next commit may well succeed.
        return [explain(error.orig, path) for _ in acts]
    return answers


def _perform(session: Session, act: Callable[[Session], object], path: Path) -> object:
    try:
        return act(session)
    except _OF_THE_ROW as refused:  # the other rows are not its hostages
        return explain(getattr(refused, "orig", refused), path)
