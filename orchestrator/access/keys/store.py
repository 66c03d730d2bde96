"""Where keys are kept: a SQLite file of its own in the state directory, for more than one process.

It is not a part of the registry, which the daemon holds for itself alone, and which is put aside
when it is damaged: a daemon that began with an empty one would stand open. This file is read and
changed by the daemon and by the command line beside it, and what cannot be read ends the start.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.access.keys.record import ApiKey, BrowserSession
from orchestrator.access.keys.table import KeyTable

NAME = "keys.sqlite"
VERSION = 1
BUSY_S = 5.0  # for another process to finish its commit
SESSIONS_MAX = 1000  # the oldest logins end first
FILE_MODE = 0o600

_SCHEMA = (
    "CREATE TABLE generation (number INTEGER NOT NULL)",
    "INSERT INTO generation VALUES (0)",
    "CREATE TABLE keys (id TEXT NOT NULL PRIMARY KEY, record TEXT NOT NULL)",
    "CREATE TABLE sessions (digest TEXT NOT NULL PRIMARY KEY, record TEXT NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)
_KEY: TypeAdapter[ApiKey] = TypeAdapter(ApiKey)
_SESSION: TypeAdapter[BrowserSession] = TypeAdapter(BrowserSession)

T = TypeVar("T")


class KeysUnreadable(Exception):
    """The file of keys cannot be read or written. Nobody is let in for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """What is written in one commit."""

    put: Sequence[ApiKey] = ()
    sessions: Sequence[BrowserSession] = ()
    ended: Sequence[str] = ()  # digests of sessions


class KeyFile:
    """One process's way to the file. A method may be called from any thread, one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None  # which file it was, and its version for us
        self.look_anew = False  # whatever was seen; may be set from another thread

    @classmethod
    def at(cls, state_dir: Path) -> Self:
        return cls(state_dir / NAME)

    def read(self) -> KeyTable:
        """Empty if there is no file yet. Raise KeysUnreadable."""
        if not self.path.exists():
            return KeyTable()
        with self._explained():
            connection = self._opened()
            connection.execute("BEGIN")
            try:
                return _read(connection)
            finally:
                connection.execute("ROLLBACK")

    def read_if_changed(self) -> KeyTable | None:
        """None: nothing has changed since the last look. Raise KeysUnreadable.

        A file that is gone has not changed: without one nobody is let in who was not before.
        """
        try:
            which = self.path.stat().st_ino
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        with self._explained():
            if self._seen is not None and self._seen[0] != which:
                self.close()  # another file lies in its place
            connection = self._opened()
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if self._seen == (which, version) and not self.look_anew:
                return None
            self.look_anew = False
            table = self.read()
            self._seen = (which, version)
            return table

    def change(self, decide: Callable[[KeyTable], tuple[T, KeyChange]]) -> tuple[T, KeyTable]:
        """Change what is there in one commit, by what is there. It is on the disk on return.

        Raise KeysUnreadable, and what `decide` raises: nothing has changed then.
        """
        with self._explained():
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                told, change = decide(_read(connection))
                if change != KeyChange():
                    _write(connection, change)
                table = _read(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return told, table

    def close(self) -> None:
        """It is opened again where it is needed."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._seen = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._make()
            connection = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                # No log beside it: a copy of the one file is whole, and a reader needs no memory
                # that is shared. EXTRA: what was committed outlives a power cut.
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA synchronous = EXTRA")
                _make_tables(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _make(self) -> None:
        """Readable for its owner alone, who is the state directory's, also if root makes it."""
        owner = self.path.parent.stat()
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        except FileExistsError:
            return
        try:
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        finally:
            os.close(descriptor)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValidationError) as error:
            self.close()
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> KeysUnreadable:
        said = "a row of it is not of this version" if isinstance(error, ValueError) else error
        return KeysUnreadable(
            f"the file of keys {self.path} cannot be used: {said}. Make it and its directory "
            "readable and writable for the daemon's user, or put a copy of it back. Without it "
            "(moved away while the daemon is stopped) there are no keys: make new ones."
        )


def _make_tables(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise sqlite3.DatabaseError(f"it is of a newer version ({version}; {VERSION} is known)")
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # still
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _read(connection: sqlite3.Connection) -> KeyTable:
    """Raise ValidationError: one row that is not understood is no key less, but no table."""
    number = connection.execute("SELECT number FROM generation").fetchone()[0]
    keys = connection.execute("SELECT record FROM keys ORDER BY id").fetchall()
    sessions = connection.execute("SELECT record FROM sessions ORDER BY digest").fetchall()
    return KeyTable(
        number,
        [_KEY.validate_json(record) for (record,) in keys],
        [_SESSION.validate_json(record) for (record,) in sessions],
    )


def _write(connection: sqlite3.Connection, change: KeyChange) -> None:
    for key in change.put:
        row = (key.id, _KEY.dump_json(key).decode())
        connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", row)
    for session in change.sessions:
        told = (session.digest, _SESSION.dump_json(session).decode())
        connection.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?)", told)
    for digest in change.ended:
        connection.execute("DELETE FROM sessions WHERE digest = ?", (digest,))
    connection.execute(
        "DELETE FROM sessions WHERE rowid NOT IN "
        "(SELECT rowid FROM sessions ORDER BY rowid DESC LIMIT ?)",
        (SESSIONS_MAX,),
    )
    connection.execute("UPDATE generation SET number = number + 1")
