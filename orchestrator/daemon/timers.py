"""What happens at fixed intervals. The only home of APScheduler.

A job that is still at work when its next turn comes is not started again, and turns that were
missed while the process stood still are taken once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from apscheduler.schedulers.asyncio import AsyncIOScheduler

log = logging.getLogger("orchestrator")


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    every_s: float
    act: Callable[[], Awaitable[None]]


class Periodic:
    def __init__(self, *jobs: Job) -> None:
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        logging.getLogger("apscheduler.executors.default").addFilter(_has_failed)
        self._stopped = False
        self._jobs = AsyncIOScheduler(event_loop=asyncio.get_running_loop())
        for job in jobs:
            self._jobs.add_job(
                self._unless_stopped,
                "interval",
                seconds=job.every_s,
                args=(job.act,),
                id=job.name,
                name=job.name,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )

    def start(self) -> None:
        self._jobs.start()

    def stop(self) -> None:
        """A job that is at work is cancelled."""
        self._stopped = True
        self._jobs.shutdown(wait=False)

    async def _unless_stopped(self, act: Callable[[], Awaitable[None]]) -> None:
        """A job that ends because it was told to has not failed: nothing is logged of it."""
        try:
            await act()
        except asyncio.CancelledError:
            if not self._stopped:
                raise


def _has_failed(record: logging.LogRecord) -> bool:
    """A job that was told to end before it had begun is logged as an error otherwise."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
