"""Opens the registry's file: refuses a newer one, puts a damaged one aside, migrates an older one.

Also the one place that knows SQLite's error codes, and what an operator can do about them.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.pool import StaticPool
from sqlmodel import create_engine

from orchestrator.errors import RegistryFailed
from orchestrator.registry.migrations import (
    Migration,
    migrate,
    refuse_newer,
    strange_tables,
    version_of,
)

BUSY_TIMEOUT_S = (
    2.0  # only an operator's own SQL shell can be in the way: let it finish a statement
)
FILE_MODE = 0o600
WAL_BYTES_KEPT = 4 << 20  # what a burst leaves of the log on disk after a checkpoint

# FULL: a commit returns once the log is on the disk. NORMAL would survive the daemon's death as
# well, and spare an fsync; but a disk that fails would go unnoticed until a later checkpoint, and
# what was acknowledged could be gone after a power cut. No warm request waits for a commit, so the
# stronger promise costs a cold load some milliseconds of its seconds.
#
# EXCLUSIVE: no other program needs the file while we run, and without it SQLite wants a file of
# shared memory, which a full disk has no room for and some network file systems cannot share: the
# daemon could then not even read what it knew.
_PRAGMAS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}",
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_REMEDIES = {
    sqlite3.SQLITE_FULL: "The disk is full: free some space.",
    sqlite3.SQLITE_IOERR: "The disk does not obey: see the kernel's log, and whether it is full.",
    sqlite3.SQLITE_READONLY: "Make the file and its directory writable.",
    sqlite3.SQLITE_CANTOPEN: "Make the directory writable, and see whether the disk is full.",
    sqlite3.SQLITE_BUSY: "Another program holds it: close that program's transaction.",
    sqlite3.SQLITE_CORRUPT: "The file is damaged: a restart puts it aside and begins a new one.",
    sqlite3.SQLITE_NOTADB: "The file is damaged: a restart puts it aside and begins a new one.",
}


def _code(error: BaseException | None) -> int:
    """SQLite's primary code, without the detail in its upper bits; 0 if the error has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def explain(error: BaseException | None, path: Path) -> RegistryFailed:
    """Say in one sentence what SQLite says in one number, and what would help."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    sentence = f"the registry {path} failed: {error} ({name})."
    return RegistryFailed(f"{sentence} {_REMEDIES.get(_code(error), '')}".rstrip())


def open_database(path: Path, migrations: Sequence[Migration]) -> tuple[Engine, tuple[str, ...]]:
    """An engine on a sound database of the newest schema, and what had to be done for it.

    Raise RegistryFailed if the file is of a newer orchestrator, or cannot be opened at all.
    """
    try:
        try:
            return _wrap(_open_sound(path, migrations)), ()
        except sqlite3.DatabaseError as damaged:
            if _code(damaged) not in _DAMAGED:
                raise
            aside = _put_aside(path)
            problem = (
                f"the registry was damaged ({damaged}): it is kept as {aside.name}, and a new one "
                "was begun. Models that run are found again; pins and measured footprints are not: "
                "a backup that has them can be put in its place while the orchestrator is stopped."
            )
            return _wrap(_open_sound(path, migrations)), (problem,)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except OSError as error:
        raise RegistryFailed(f"the registry {path} failed: {error}") from error


def _open_sound(path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
    if path.exists() and path.stat().st_size > 0:
        _peek(path, migrations)
    with suppress(OSError):  # it cannot be made: SQLite says why. Not its owner: as it is
        path.touch(FILE_MODE)
        path.chmod(FILE_MODE)  # the log beside it gets the same
    # One thread at a time uses it, but not the one that opens it.
    database = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            database.execute(pragma)
        refuse_newer(_version(database), migrations, str(path))
        _check(database, migrations)
        migrate(database, migrations)
        # After the migrations: a step that rebuilds a table must not cascade through the others.
        database.execute("PRAGMA foreign_keys = ON")
        # Damaged bytes spoil their own row, which is reported, and not every row of a query.
        database.text_factory = lambda text: text.decode("utf-8", "replace")
    except BaseException:
        database.close()
        raise
    return database


def _peek(path: Path, migrations: Sequence[Migration]) -> None:
    """Refuse a newer file without a trace: closing a writable one folds its log into it."""
    # A full disk has no room for what a second reader needs; it is asked again when it is open.
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reading,
    ):
        refuse_newer(version_of(reading), migrations, str(path))


def _version(database: sqlite3.Connection) -> int:
    try:
        return version_of(database)
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_ERROR:
            raise
        raise _damage(f"its table schema_version: {error}") from error


def _check(database: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Find damage now, and not in the middle of a load. A file of 24 MB takes under 0.06 s."""
    verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _damage(verdict)
    if strange := strange_tables(database, migrations):
        raise _damage(f"not as an orchestrator made them: {', '.join(strange)}")


def _damage(what: str) -> sqlite3.DatabaseError:
    damaged = sqlite3.DatabaseError(what)
    damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return damaged


def _put_aside(path: Path) -> Path:
    """Move the file and its log away together, so that tools can still make sense of them."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.broken-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _wrap(database: sqlite3.Connection) -> Engine:
    """Hand the one connection to SQLAlchemy, and begin transactions ourselves.

    The driver's own habit is to begin one only before a write, which would let the queries of one
    reading see different moments.
    """
    engine = create_engine("sqlite://", creator=lambda: database, poolclass=StaticPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    engine.connect().close()  # the pool has it from now on, and closes it when it is disposed of
    return engine
