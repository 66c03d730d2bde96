"""How the schema came to be, one step after the other, forwards only.

A step that has been released is never edited: write the next one. Steps are plain SQL, so that they
do not change their meaning when the tables of `rows.py` do.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.errors import RegistryFailed


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(
        1,
        (
            """CREATE TABLE residents (
                instance VARCHAR NOT NULL PRIMARY KEY, model VARCHAR NOT NULL,
                runtime VARCHAR NOT NULL, state VARCHAR NOT NULL, written_at VARCHAR NOT NULL,
                record VARCHAR NOT NULL)""",
            """CREATE TABLE leases (
                id VARCHAR NOT NULL PRIMARY KEY,
                instance VARCHAR NOT NULL, model VARCHAR NOT NULL, owner VARCHAR,
                lease VARCHAR NOT NULL,
                FOREIGN KEY (instance) REFERENCES residents (instance) ON DELETE CASCADE)""",
            "CREATE INDEX ix_leases_instance ON leases (instance)",
            """CREATE TABLE learned (
                model VARCHAR NOT NULL, settings VARCHAR NOT NULL, measured_at VARCHAR NOT NULL,
                learned VARCHAR NOT NULL, PRIMARY KEY (model, settings))""",
            "CREATE TABLE pins (model VARCHAR NOT NULL PRIMARY KEY, pinned INTEGER NOT NULL)",
            """CREATE TABLE operations (
                id VARCHAR NOT NULL PRIMARY KEY, kind VARCHAR NOT NULL, model VARCHAR NOT NULL,
                state VARCHAR NOT NULL, created_at VARCHAR NOT NULL, finished_at VARCHAR,
                code VARCHAR, detail VARCHAR NOT NULL)""",
            "CREATE INDEX ix_operations_finished_at ON operations (finished_at)",
            """CREATE TABLE decisions (
                id INTEGER NOT NULL PRIMARY KEY, at VARCHAR NOT NULL, kind VARCHAR NOT NULL,
                model VARCHAR, text VARCHAR NOT NULL, why VARCHAR NOT NULL,
                evicted VARCHAR NOT NULL, remedy VARCHAR NOT NULL)""",
            "CREATE INDEX ix_decisions_model ON decisions (model)",
        ),
    ),
    Migration(
        2,
        (
            """CREATE TABLE runs (
                id VARCHAR NOT NULL PRIMARY KEY, began_at VARCHAR NOT NULL)""",
        ),
    ),
    Migration(
        3,
        (
            """CREATE TABLE requests (
                id INTEGER NOT NULL PRIMARY KEY, began_at VARCHAR NOT NULL,
                ended_at VARCHAR NOT NULL, asked VARCHAR NOT NULL, model VARCHAR, instance VARCHAR,
                protocol VARCHAR NOT NULL, path VARCHAR NOT NULL, client VARCHAR NOT NULL,
                owner VARCHAR, streaming INTEGER NOT NULL, priority INTEGER, wait_s FLOAT NOT NULL,
                load_s FLOAT NOT NULL, first_byte_s FLOAT, why VARCHAR NOT NULL,
                outcome VARCHAR NOT NULL, status INTEGER, tokens_in INTEGER, tokens_out INTEGER,
                tokens_per_s FLOAT)""",
            "CREATE INDEX ix_requests_ended_at ON requests (ended_at)",
        ),
    ),
    Migration(
        4,
        (
            "ALTER TABLE operations ADD COLUMN key VARCHAR",
            "ALTER TABLE requests ADD COLUMN key VARCHAR",
        ),
    ),
    Migration(
        5,
        (
            """CREATE TABLE benchmarks (
                model VARCHAR NOT NULL, settings VARCHAR NOT NULL, devices VARCHAR NOT NULL,
                measured_at VARCHAR NOT NULL, benchmark VARCHAR NOT NULL,
                PRIMARY KEY (model, settings, devices))""",
        ),
    ),
)

_HISTORY = "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, migrated_at VARCHAR NOT NULL)"


def version_of(connection: sqlite3.Connection) -> int:
    """The schema's version; 0 for a file that has none yet."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'")
    if known.fetchone() is None:
        return 0
    newest = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(newest[0])


def refuse_newer(version: int, migrations: Sequence[Migration], name: str) -> None:
    """Raise RegistryFailed for a schema that this release does not know."""
    known = migrations[-1].version
    if version > known:
        raise RegistryFailed(
            f"{name} has schema version {version}, and this orchestrator knows none beyond "
            f"{known}: it was written by a newer one. Nothing was changed. Run the newer "
            "orchestrator, or move the file away to begin with an empty registry (models that "
            "run are found again; pins and measured footprints are not)."
        )


def strange_tables(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[str]:
    """Tables that lack what the steps up to its version made, or that a later step will make.

    What else is in the file does not disturb us.
    """
    version = version_of(connection)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as sound:
        migrate(sound, [step for step in migrations if step.version <= version])
        made = _columns(sound)
        migrate(sound, migrations)
        ours = {table for table, *_ in _columns(sound)}
    found = _columns(connection)
    incomplete = {table for table, *_ in made - found}
    too_early = {table for table, *_ in found} & (ours - {table for table, *_ in made})
    return sorted(incomplete | too_early)


def _columns(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """(table, column, its place in the key), and (table, column, what it refers to)."""
    return set(
        connection.execute(
            """SELECT m.name, c.name, c.pk FROM sqlite_master m JOIN pragma_table_info(m.name) c
            WHERE m.type = 'table'
            UNION ALL SELECT m.name, f."from", f."table" || ' ' || f.on_delete
            FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f"""
        ).fetchall()
    )


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema to the newest version, in one transaction: entirely or not at all."""
    version = version_of(connection)
    due = [migration for migration in migrations if migration.version > version]
    if not due:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version == 0:
            connection.execute(_HISTORY)
        for migration in due:
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_version VALUES (?, ?)",
                (migration.version, datetime.now(UTC).isoformat(timespec="seconds")),
            )
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:  # a full disk rolls back by itself
            connection.execute("ROLLBACK")
        raise
