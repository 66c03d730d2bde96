"""The daemon's audit log: acts are handed over on the loop and written by a thread of their own.

What an admin does is on the disk before it is performed, or is refused. Everything else is written
at once and on the disk within SYNC_S; while the disk takes nothing it is kept, serving goes on, and
`problem` says so.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from orchestrator.access.audit.files import AuditFile, Dated, dated
from orchestrator.access.audit.lines import NOTHING_YET, Act, ActOutcome, Head
from orchestrator.access.caller import THE_DAEMON
from orchestrator.errors import AuditUnavailable

SYNC_S = 1.0  # what a power cut loses of acts that are no admin's
RETRY_S = 1.0  # between two tries while the disk takes nothing
WAITING_MAX = 10_000  # lines that are kept meanwhile: an hour of a busy day, 10 MB
TOGETHER_MAX = 512  # lines of one write
DURABLE_S = 5.0  # how long an admin's act waits for the disk: thrice the slowest fsync we have seen
CLOSE_S = 5.0
HEAD_TOLD_S = 60.0
LOST = "audit.lost"
TOO_LATE, CALLER_GONE = "audit_unavailable", "caller_gone"

log = logging.getLogger("orchestrator.audit")


class Audit(Protocol):
    """What acts are told to."""

    @property
    def head(self) -> Head | None:
        """None: none is kept."""

    @property
    def problem(self) -> str | None:
        """Why not all that happened is written down; None when it is."""

    def note(self, act: Act) -> None:
        """Returns at once and never fails."""

    async def durable(self, act: Act) -> int | None:
        """Return its number when it is on the disk. Raise AuditUnavailable: do not perform it."""


class NoAudit:
    """The operator wants none."""

    head = problem = None

    def note(self, act: Act) -> None:
        """Nothing."""

    async def durable(self, act: Act) -> int | None:  # noqa: ARG002 - nobody is told
        """At once."""
        return None


@dataclass(slots=True, eq=False)
class _Line:
    dated: Dated
    written: asyncio.Future[int] | None = None  # of one that is waited for
    given_up: str | None = None  # why who waited has left


class AuditLog:
    """Belongs to one event loop."""

    def __init__(self, file: AuditFile, *, now: Callable[[], datetime] | None = None) -> None:
        self._file = file
        self._now = now or (lambda: datetime.now(UTC))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._waiting: deque[_Line] = deque()
        self._lost = 0  # lines that found no place any more, since the last that was written
        self._writing: asyncio.Task[None] | None = None
        self._unsynced = False
        self._told_s = 0.0
        self._moved = False  # since the head was told
        self.head: Head | None = NOTHING_YET
        self.problem: str | None = None

    @classmethod
    async def open(cls, folder: Path, *, bytes_max: int, files_max: int) -> "AuditLog":
        """With its first line, which says that the daemon starts. Where it cannot be written, the
        daemon serves all the same.
        """
        audit = cls(AuditFile(folder, bytes_max=bytes_max, files_max=files_max))
        audit.note(Act(action="daemon.start", caller=THE_DAEMON))
        await audit.settled()
        return audit

    def note(self, act: Act) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._lost += 1
            return
        self._add(_Line(self._dated(act)))

    async def durable(self, act: Act) -> int | None:
        if self.problem is not None and self._waiting:
            raise AuditUnavailable(self.problem)  # the last try failed, and the next is due soon
        line = _Line(self._dated(act), asyncio.get_running_loop().create_future())
        assert line.written is not None
        self._add(line)
        try:
            async with asyncio.timeout(DURABLE_S):
                return await asyncio.shield(line.written)
        except TimeoutError:
            line.given_up = TOO_LATE
            raise AuditUnavailable(f"the disk has not answered for {DURABLE_S:g} s") from None
        except asyncio.CancelledError:
            line.given_up = CALLER_GONE
            raise

    async def settled(self) -> None:
        """When all that was handed over is written, or has failed to be."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Within CLOSE_S. What the disk has not taken by then is lost."""
        self.note(Act(action="daemon.stop", caller=THE_DAEMON))
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.settled()
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._thread, self._end)
        except (TimeoutError, OSError) as error:
            log.warning("the audit log was not written to its end: %s", error)
        if self._writing is not None:
            self._writing.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def tell_head(self, now_s: float) -> None:
        """Into the daemon's log, which is kept elsewhere: once a minute where it has moved."""
        if self.head is not None and now_s - self._told_s >= HEAD_TOLD_S and self._moved:
            self._told_s, self._moved = now_s, False
            log.info("audit head %s", self.head)

    def _dated(self, act: Act) -> Dated:
        return dated(act, self._now())

    def _add(self, line: _Line) -> None:
        self._waiting.append(line)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="audit")

    async def _write(self) -> None:
        """Until nothing waits, or the disk refuses. Never raises OSError."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            together = self._next()
            sync = any(line.written for line in together)
            acts = [line.dated for line in together]
            try:
                write = partial(self._file.write, acts, sync=sync)
                heads = await loop.run_in_executor(self._thread, write)
            except OSError as error:
                self._failed(together, error)
                loop.call_later(RETRY_S, self._again)
                return
            self._wrote(together, heads)
            if not sync and not self._unsynced:
                self._unsynced = True
                loop.call_later(SYNC_S, self._sync_soon)

    def _next(self) -> list[_Line]:
        if self._lost:
            numbers = {"lines": self._lost}
            act = Act(action=LOST, caller=THE_DAEMON, outcome=ActOutcome.FAILED, numbers=numbers)
            self._waiting.appendleft(_Line(self._dated(act)))
            self._lost = 0
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER_MAX))]

    def _failed(self, together: list[_Line], error: OSError) -> None:
        """An act that is waited for is refused, and so was not; what has happened is kept."""
        if self.problem is None:
            log.error("the audit log cannot be written: %s", error.strerror or error)
        self.problem = (
            f"the audit log cannot be written: {error.strerror or error}; acts of admins are "
            "refused until it can"
        )
        for line in together:
            if line.written is not None and not line.written.done():
                line.written.set_exception(AuditUnavailable(self.problem))
                line.written.exception()  # who waited may have left
        self._waiting.extendleft(line for line in reversed(together) if line.written is None)

    def _wrote(self, together: list[_Line], heads: list[Head]) -> None:
        if self.problem is not None:
            log.warning("the audit log is written again")
        self.problem = None
        self.head, self._moved = heads[-1], True
        for line, head in zip(together, heads, strict=True):
            if line.written is None:
                continue
            if line.given_up:
                refused, why = ActOutcome.REFUSED, line.given_up
                self.note(replace(line.dated.act, of=head.seq, outcome=refused, code=why))
            elif not line.written.done():
                line.written.set_result(head.seq)

    def _again(self) -> None:
        if self._waiting and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write(), name="audit")

    def _sync_soon(self) -> None:
        self._unsynced = False
        try:
            self._thread.submit(self._sync)
        except RuntimeError:  # it was closed meanwhile, and with that synced
            return

    def _sync(self) -> None:
        try:
            self._file.sync()
        except OSError as error:
            log.error("the audit log may lose its last second: %s", error)  # noqa: TRY400

    def _end(self) -> None:
        try:
            self._file.sync()
        finally:
            self._file.close()
