"""The registry on disk: one SQLite file in the state directory, and the lock beside it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.errors import RegistryFailed
from orchestrator.ports import DecisionRecord, LearnedRecord, Memory, Operation, ResidentRecord
from orchestrator.registry import shapes, statements
from orchestrator.registry.commits import Commits
from orchestrator.registry.database import explain, open_database
from orchestrator.registry.lock import StateLock
from orchestrator.registry.migrations import MIGRATIONS, Migration
from orchestrator.registry.paging import Page

DATABASE_NAME = "registry.sqlite"
LOCK_NAME = "lock"
PROBLEMS_MAX = 100  # sentences kept; a file with more damage than that is damaged as a whole

T = TypeVar("T")


class SqliteRegistry:
    """`problems` says what could not be read or had to be put aside; each is said once."""

    def __init__(self, commits: Commits, lock: StateLock, problems: tuple[str, ...]) -> None:
        self._commits = commits
        self._lock = lock
        self.problems = problems

    @classmethod
    def open(cls, state_dir: Path, migrations: Sequence[Migration] = MIGRATIONS) -> Self:
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
            problems += _end_orphans(engine, path)
            undo.pop_all()
        return cls(Commits(engine, path), lock, problems)

    async def recall(self) -> Memory:
        return await self._read(statements.recall)

    async def put_resident(self, record: ResidentRecord) -> None:
        row = shapes.to_resident_row(record)
        await self._commits.write(lambda session: statements.upsert(session, row))

    async def drop_resident(self, instance: InstanceId) -> None:
        """Its leases go with it."""
        await self._commits.write(lambda session: statements.drop_resident(session, instance))

    async def put_lease(self, lease: Lease) -> None:
        """Raise RegistryFailed also if its resident was never put."""
        row = shapes.to_lease_row(lease)
        await self._commits.write(lambda session: statements.upsert(session, row))

    async def drop_lease(self, lease: LeaseId) -> None:
        await self._commits.write(lambda session: statements.drop_lease(session, lease))

    async def put_operation(self, operation: Operation) -> None:
        row = shapes.to_operation_row(operation)
        await self._commits.write(lambda session: statements.upsert(session, row))

    async def operation(self, operation_id: str) -> Operation | None:
        return await self._read(lambda session: statements.operation(session, operation_id))

    async def add_decision(self, record: DecisionRecord) -> None:
        row = shapes.to_decision_row(record)
        await self._commits.write(lambda session: statements.upsert(session, row))

    async def decisions(
        self, *, before_id: int | None, after_id: int | None, model: ModelName | None, limit: int
    ) -> tuple[DecisionRecord, ...]:
        page = Page(before_id=before_id, after_id=after_id, model=model, limit=limit)
        return await self._read(lambda session: statements.decisions(session, page))

    async def put_learned(self, record: LearnedRecord) -> None:
        row = shapes.to_learned_row(record)
        await self._commits.write(lambda session: statements.upsert(session, row))

    async def put_pin(self, model: ModelName, pinned: bool) -> None:
        row = shapes.to_pin_row(model, pinned)
        await self._commits.write(lambda session: statements.upsert(session, row))

    async def prune(self, *, before: datetime, keep_decisions: int) -> int:
        return await self._commits.write(
            lambda session: statements.prune(session, before, keep_decisions)
        )

    async def close(self) -> None:
        """Drain, close the file, give the directory back. Closing twice is not an error."""
        try:
            await self._commits.close()
        finally:
            self._lock.release()

    async def _read(self, read: Callable[[Session], tuple[T, statements.Problems]]) -> T:
        value, problems = await self._commits.read(read)
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
