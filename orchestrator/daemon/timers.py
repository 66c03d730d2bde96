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
        self._jobs = AsyncIOScheduler(event_loop=asyncio.get_running_loop())
        for job in jobs:
            self._jobs.add_job(
                job.act,
                "interval",
                seconds=job.every_s,
                id=job.name,
                name=job.name,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )

    def start(self) -> None:
        self._jobs.start()

    def stop(self) -> None:
        self._jobs.shutdown(wait=False)
