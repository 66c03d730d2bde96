"""What happens at fixed intervals. The only home of APScheduler.

A job that is still at work when its next turn comes is not started again, and turns that were
missed while the process stood still are taken once.

APScheduler counts by the wall clock: were that set back, no job would have its turn until it is as
late again. So it is watched here, and where it was set every job has its turn at once.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from orchestrator.records import JobRecord

LOOK_S = 1.0  # how long jobs may stand still after the wall clock was set
SET_S = 0.5  # what it may differ by otherwise: NTP slews by half a millisecond in a second

log = logging.getLogger("orchestrator")


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    every_s: float
    act: Callable[[], Awaitable[None]]


class _Every(IntervalTrigger):  # type: ignore[misc]  # it has no types
    """APScheduler makes a list of all turns that were missed, also where one is taken for all: of a
    clock that is set by 56 years, as that of a board without a battery, ten thousand million.
    """

    __slots__ = ()

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """The first one after now, in step with those before."""
        if previous_fire_time is not None and now > previous_fire_time:
            previous_fire_time += (now - previous_fire_time) // self.interval * self.interval
        due: datetime | None = super().get_next_fire_time(previous_fire_time, now)
        return due


class Periodic:
    def __init__(self, *jobs: Job, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._ahead_s = wall() - time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._look: asyncio.TimerHandle | None = None
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        logging.getLogger("apscheduler.executors.default").addFilter(_has_failed)
        self._stopped = False
        self._runs = {job.name: JobRecord(name=job.name, every_s=job.every_s) for job in jobs}
        self._jobs = AsyncIOScheduler(event_loop=self._loop)
        for job in jobs:
            self._jobs.add_job(
                self._unless_stopped,
                _Every(seconds=job.every_s, timezone=UTC),
                args=(job,),
                id=job.name,
                name=job.name,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )

    def start(self) -> None:
        self._jobs.start()
        self._watch()

    def stop(self) -> None:
        """A job that is at work is cancelled."""
        self._stopped = True
        if self._look is not None:
            self._look.cancel()
        self._jobs.shutdown(wait=False)

    def _watch(self) -> None:
        ahead_s = self._wall() - time.monotonic()
        if abs(ahead_s - self._ahead_s) > SET_S:
            log.warning("the wall clock was set by %+.0f s", ahead_s - self._ahead_s)
            for job in self._jobs.get_jobs():
                job.modify(next_run_time=datetime.now(job.next_run_time.tzinfo))
        self._ahead_s = ahead_s
        self._look = self._loop.call_later(LOOK_S, self._watch)

    def runs(self) -> tuple[JobRecord, ...]:
        """When each last ran, and when it will again."""
        # Before the start a job has no such attribute at all.
        due = {job.id: getattr(job, "next_run_time", None) for job in self._jobs.get_jobs()}
        return tuple(replace(run, next_at=due.get(run.name)) for run in self._runs.values())

    async def _unless_stopped(self, job: Job) -> None:
        """A job that ends because it was told to has not failed: nothing is logged of it."""
        began_at, began_s = datetime.now(UTC), time.monotonic()
        error = ""
        try:
            await job.act()
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        except Exception as broken:
            error = repr(broken)
            raise
        finally:
            spent_s = time.monotonic() - began_s
            self._runs[job.name] = replace(
                self._runs[job.name], last_at=began_at, last_s=spent_s, last_error=error
            )


def _has_failed(record: logging.LogRecord) -> bool:
    """A job that was told to end before it had begun is logged as an error otherwise."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
