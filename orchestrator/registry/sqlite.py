"""The registry on disk: one SQLite file in the state directory, and the lock beside it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from orchestrator.errors import RegistryFailed
from orchestrator.records import DecisionRecord, Page, RequestPage, RequestRecord
from orchestrator.registry import statements
from orchestrator.registry.commits import WRITE_PATIENCE_S, Act, Commits, Write
from orchestrator.registry.database import explain, open_database
from orchestrator.registry.lock import StateLock
from orchestrator.registry.migrations import MIGRATIONS, Migration
from orchestrator.registry.runs import mark_run
from orchestrator.registry.tables import DECISIONS, REQUESTS, Table, Tables

DATABASE_NAME = "registry.sqlite"
LOCK_NAME = "lock"
PROBLEMS_MAX = 100  # sentences kept; a file with more damage than that is damaged as a whole

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class SqliteRegistry(Tables):
    """`problems` says, once, what could not be read or had to be put aside."""

    def __init__(self, commits: Commits, lock: StateLock, problems: tuple[str, ...]) -> None:
        super().__init__()
        self._commits = commits
        self._lock = lock
        self.problems = problems

    @classmethod
    def open(
        cls,
        state_dir: Path,
        migrations: Sequence[Migration] = MIGRATIONS,
        *,
        patience_s: float = WRITE_PATIENCE_S,
    ) -> Self:
        """Lock the directory and open its registry; blocks for as long as the disk takes.

        Raise RegistryFailed if another daemon uses the directory, if the file is of a newer
        orchestrator (it is left as it is), or if the disk refuses. A damaged file is put aside.
        """
        directory = _made(state_dir)
        with ExitStack() as undo:
            lock = StateLock.take(directory / LOCK_NAME)
            undo.callback(lock.release)
            path = directory / DATABASE_NAME
            engine, problems = open_database(path, migrations)
            marked = mark_run(engine, path)
            problems = problems or marked  # what was put aside has been said
            problems += _end_orphans(engine, path)
            undo.pop_all()
        return cls(Commits(engine, path, patience_s=patience_s), lock, problems)

    @property
    def problem(self) -> str | None:
        """Why not all that the daemon knows is written down; None when it is."""
        return self._commits.problem

    async def retry(self) -> None:
        """Try again what the disk refused, as a timer asks. With nothing to do it costs nothing."""
        await self._commits.retry()

    async def change(self, table: Table[K, V], key: K, value: V | None) -> bool:
        if value is None:
            for owned, owner in table.owned.items():
                for own_key, record in self._commits.unwritten(owned.name).items():
                    if record is not None and owner(record) == key:
                        self._commits.forget(owned.name, own_key)
            act: Act = partial(statements.drop, table=table, key=key)
        else:
            act = partial(statements.upsert, row=table.encode(value))
        write = Write(table.name, key, value, act, table.unwritten_max)
        return await self._commits.write(write)

    async def find(self, table: Table[K, V], key: K) -> V | None:
        unwritten: Mapping[K, V | None] = self._commits.unwritten(table.name)
        if key in unwritten:
            return unwritten[key]
        return await self._read(partial(statements.find, table=table, key=key))

    async def everything(self, table: Table[K, V]) -> tuple[V, ...]:
        return await self._with_unwritten(table, partial(statements.everything, table=table))

    async def page(self, page: Page) -> tuple[DecisionRecord, ...]:
        read = partial(statements.decisions, page=page)
        return page.of(await self._with_unwritten(DECISIONS, read))

    async def last_decision_id(self) -> int:
        return await self._commits.alone(statements.last_decision_id)

    async def last_request_id(self) -> int:
        return await self._commits.alone(statements.last_request_id)

    async def add_requests(self, records: Sequence[RequestRecord]) -> None:
        await self._commits.alone(partial(statements.add_requests, records=records))

    async def page_of_requests(self, page: RequestPage) -> tuple[RequestRecord, ...]:
        read = partial(statements.requests, page=page)
        return page.of(await self._with_unwritten(REQUESTS, read))

    async def prune(self, *, before: datetime, keep_decisions: int) -> int:
        """0 also if the disk refused: the next pruning makes up for it, or `retry` before that."""
        deleted = 0

        def act(session: Session) -> None:
            nonlocal deleted
            deleted = statements.prune(session, before, keep_decisions)

        write = Write("prune", (), None, act, unwritten_max=1)
        return deleted if await self._commits.write(write) else 0

    async def close(self) -> None:
        """Drain, close the file, give the directory back. Closing twice is not an error.

        Raise RegistryFailed if the disk hangs.
        """
        try:
            await self._commits.close()
        finally:
            self._lock.release()

    async def _with_unwritten(
        self,
        table: Table[K, V],
        read: Callable[[Session], tuple[tuple[V, ...], statements.Problems]],
    ) -> tuple[V, ...]:
        # Looked at first: what is written meanwhile is then seen twice, and not missed.
        unwritten: Mapping[K, V | None] = self._commits.unwritten(table.name)
        written = {table.key(value): value for value in await self._read(read)}
        merged = {**written, **unwritten}
        return tuple(value for value in merged.values() if value is not None)

    async def _read(self, read: Callable[[Session], tuple[T, statements.Problems]]) -> T:
        value, problems = await self._commits.alone(read)
        unheard = tuple(problem for problem in problems if problem not in self.problems)
        self.problems = (self.problems + unheard)[:PROBLEMS_MAX]
        return value


def _made(state_dir: Path) -> Path:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return state_dir.resolve(strict=True)
    except OSError as refused:
        raise RegistryFailed(
            f"the state directory {state_dir} cannot be made: {refused.strerror}. Name one in "
            "state_dir that the orchestrator's user may write."
        ) from refused


def _end_orphans(engine: Engine, path: Path) -> tuple[str, ...]:
    """A full disk is a problem here and not a failure: the daemon must be able to start on it."""
    try:
        with Session(engine) as session:
            statements.end_orphans(session, datetime.now(UTC))
            session.commit()
    except DBAPIError as error:
        return (str(explain(error.orig, path)),)
    return ()
