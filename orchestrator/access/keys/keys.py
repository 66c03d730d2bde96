"""The keys of a running daemon: a table in memory, looked at without a wait, followed on the disk.

The file may be changed by the command line at any time. A thread of its own looks at it, so that a
key that was revoked is refused LOOK_S later at the most, and the event loop never waits for a disk.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from orchestrator.access.keys import acts
from orchestrator.access.keys.acts import NewKey
from orchestrator.access.keys.decision import NotAllowed, Presented
from orchestrator.access.keys.rates import Rates
from orchestrator.access.keys.record import ApiKey, BrowserSession
from orchestrator.access.keys.store import KeyFile, KeysUnreadable
from orchestrator.access.keys.table import KeyTable
from orchestrator.access.keys.wish import KeyWish

log = logging.getLogger("orchestrator")

LOOK_S = 0.05
LATE_S = 60.0  # what ends by its time is looked at so often at the least
LOOK_AGAIN_S = 0.5  # a caller with an unknown key waits no longer for a disk that hangs

T = TypeVar("T")


class Keys:
    """Belongs to one event loop; `follow` begins and `close` ends what looks at the file.

    Without `follow` only its own changes are seen.
    """

    def __init__(
        self,
        state_dir: Path,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise KeysUnreadable. `clock` is wall time: what it is compared with outlives us. By
        `steady` requests a minute are counted: a clock that is set back must lock nobody out.
        """
        self._state_dir = state_dir
        self.clock = clock
        self.steady = steady
        self.rates = Rates()
        self._watched = KeyFile.at(state_dir)
        self.table = self._watched.read()
        self._watchers: list[Callable[[KeyTable], None]] = []
        self._wake = threading.Event()
        self._over = False
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looks: list[asyncio.Future[None]] = []  # that callers wait for
        self._unreadable = ""
        self._older: int | None = None  # generation of a table that came late, or was put back

    # --- looked at -------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether a request needs a key."""
        return self.table.closed

    def watch(self, changed: Callable[[KeyTable], None]) -> None:
        """Have it hear of every new table, whole and with its generation, and of the one of now;
        of that again when something in it has ended by its time.
        """
        self._watchers.append(changed)
        changed(self.table)

    def ask(self, key: ApiKey) -> NotAllowed | None:
        """Count a request of the key, unless it is one too many."""
        return self.rates.ask(key, self.steady(), *self.table.makers(key))

    async def shown(self, secret: bytes) -> Presented | None:
        """Whose it is. One that is not known may just have been made: the file is looked at."""
        found = self.table.shown(secret)
        if found is None and self._thread is not None:
            await self._look()
            found = self.table.shown(secret)
        return found

    async def session(self, cookie: bytes) -> tuple[BrowserSession, Presented] | None:
        session = self.table.session(cookie, self.clock())
        shown = None if session is None else self.table.of_session(session)
        return None if session is None or shown is None else (session, shown)

    # --- changed ---------------------------------------------------------------------------------

    async def create(self, wish: KeyWish, creator: ApiKey | None) -> NewKey | NotAllowed:
        """Raise KeysUnreadable or TooManyKeys."""
        return await self._do(partial(acts.create, wish=wish, now_s=self.clock(), creator=creator))

    async def rotate(self, id_: str, grace_s: float) -> NewKey:
        """Raise UnknownKey or KeysUnreadable."""
        return await self._do(partial(acts.rotate, id_=id_, now_s=self.clock(), grace_s=grace_s))

    async def revoke(self, id_: str) -> tuple[ApiKey, ...]:
        """Raise UnknownKey or KeysUnreadable."""
        return await self._do(partial(acts.revoke, id_=id_, now_s=self.clock()))

    async def log_in(self, shown: Presented) -> tuple[str, BrowserSession]:
        """Raise KeysUnreadable."""
        return await self._do(partial(acts.log_in, shown=shown, now_s=self.clock()))

    async def log_out(self, session: BrowserSession) -> None:
        """Raise KeysUnreadable."""
        await self._do(partial(acts.log_out, session=session))

    async def _do(self, act: Callable[[KeyFile], tuple[T, KeyTable]]) -> T:
        """In a thread, which a slow disk may hold; the new table is in force when it returns."""

        def perform() -> tuple[T, KeyTable]:
            file = KeyFile.at(self._state_dir)  # the one that lies there now
            with closing(file):
                return act(file)

        told, table = await asyncio.to_thread(perform)
        self._take(table)
        return told

    def _take(self, table: KeyTable) -> None:
        if table.generation == self.table.generation:
            return
        if table.generation < self.table.generation and self._older != table.generation:
            # A look from before a change of ours, told after it; or an older copy of the file was
            # put in its place: then the next look says the same.
            self._older = table.generation
            self._watched.look_anew = True
            return
        self._older = None
        self.table = table
        self._tell()
        self._await_end()

    def _tell(self) -> None:
        for changed in self._watchers:
            changed(self.table)

    # --- what ends by its time -------------------------------------------------------------------

    def _await_end(self) -> None:
        """One timer, to the next end of all. A wall clock that was set is noticed within LATE_S."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = self.clock()
        end_s = self.table.next_end_s(now_s)
        if end_s is not None and not self._over:
            delay_s = min(end_s - now_s, LATE_S)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._end, end_s)

    def _end(self, end_s: float) -> None:
        if self.clock() >= end_s:
            self._tell()
        self._await_end()

    # --- followed --------------------------------------------------------------------------------

    def follow(self) -> None:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._follow, args=(loop,), name="keys", daemon=True)
        self._thread.start()
        self._await_end()

    def close(self) -> None:
        self._over = True
        self._wake.set()
        self._thread = None
        if self._timer is not None:
            self._timer.cancel()

    async def _look(self) -> None:
        looked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._looks.append(looked)
        self._wake.set()
        await asyncio.wait({looked}, timeout=LOOK_AGAIN_S)

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._over:
            asked = self._wake.wait(LOOK_S)
            self._wake.clear()
            table, unreadable = None, ""
            try:
                table = self._watched.read_if_changed()
            except KeysUnreadable as error:
                unreadable = str(error)
            if self._over:
                break
            if asked or table is not None or unreadable != self._unreadable:
                try:
                    loop.call_soon_threadsafe(self._heard, table, unreadable)
                except RuntimeError:  # the loop has ended
                    break
        self._watched.close()

    def _heard(self, table: KeyTable | None, unreadable: str) -> None:
        if unreadable != self._unreadable:
            if unreadable:
                log.error("%s The keys that were read last stay in force.", unreadable)
            else:
                log.warning("the file of keys can be read again")
            self._unreadable = unreadable
        if table is not None:
            self._take(table)
        looks, self._looks = self._looks, []
        for looked in looks:
            if not looked.done():
                looked.set_result(None)
