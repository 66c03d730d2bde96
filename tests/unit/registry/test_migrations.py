import sqlite3
from contextlib import closing

import pytest
from sqlmodel import SQLModel, create_engine, inspect

from orchestrator.errors import RegistryFailed
from orchestrator.registry import tables
from orchestrator.registry.migrations import (
    MIGRATIONS,
    Migration,
    migrate,
    refuse_newer,
    version_of,
)

FIRST = Migration(1, ("CREATE TABLE things (name TEXT)", "INSERT INTO things VALUES ('old')"))
SECOND = Migration(2, ("ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 7",))
THIRD = Migration(3, ("CREATE TABLE more (name TEXT)",))
BROKEN = Migration(3, ("CREATE TABLE more (name TEXT)", "ALTER TABLE nothing ADD COLUMN x"))


@pytest.fixture
def database(tmp_path):
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        yield connection


def things(database):
    return database.execute("SELECT * FROM things").fetchall()


def test_an_empty_file_has_version_0(database):
    assert version_of(database) == 0


def test_takes_every_step_that_is_due_and_keeps_what_was_there(database):
    migrate(database, [FIRST])
    assert (version_of(database), things(database)) == (1, [("old",)])
    migrate(database, [FIRST, SECOND, THIRD])
    assert (version_of(database), things(database)) == (3, [("old", 7)])
    taken = database.execute("SELECT version FROM schema_version ORDER BY version").fetchall()
    assert taken == [(1,), (2,), (3,)]


def test_migrating_again_changes_nothing(database):
    migrate(database, [FIRST, SECOND])
    migrate(database, [FIRST, SECOND])
    assert things(database) == [("old", 7)]


def test_a_step_that_fails_leaves_the_old_schema_whole(database):
    migrate(database, [FIRST])
    with pytest.raises(sqlite3.OperationalError):
        migrate(database, [FIRST, SECOND, BROKEN])
    assert (version_of(database), things(database)) == (1, [("old",)])
    assert not database.in_transaction
    assert database.execute("SELECT 1 FROM sqlite_master WHERE name = 'more'").fetchone() is None


def test_a_newer_schema_is_refused_with_the_way_out():
    with pytest.raises(RegistryFailed, match=r"version 3.*Run the newer orchestrator, or move"):
        refuse_newer(3, [FIRST, SECOND], "the file")
    refuse_newer(2, [FIRST, SECOND], "the file")


def test_versions_go_up_by_one():
    assert [migration.version for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_the_migrated_schema_is_what_the_rows_say(tmp_path):
    with closing(sqlite3.connect(tmp_path / "migrated", isolation_level=None)) as connection:
        migrate(connection)
    seen = {}
    for name in ("migrated", "declared"):
        engine = create_engine(f"sqlite:///{tmp_path / name}")
        if name == "declared":
            ours = [
                value.__table__
                for value in vars(tables).values()
                if isinstance(value, type) and issubclass(value, SQLModel) and value is not SQLModel
            ]
            SQLModel.metadata.create_all(engine, ours)
        schema = inspect(engine)
        seen[name] = {
            table: {
                "columns": [
                    (column["name"], str(column["type"]), column["nullable"])
                    for column in schema.get_columns(table)
                ],
                "key": schema.get_pk_constraint(table)["constrained_columns"],
                "foreign": [
                    (key["constrained_columns"], key["referred_table"], key["options"])
                    for key in schema.get_foreign_keys(table)
                ],
                "indexes": sorted(
                    (index["name"], tuple(index["column_names"]))
                    for index in schema.get_indexes(table)
                ),
            }
            for table in schema.get_table_names()
            if table != "schema_version"
        }
        engine.dispose()
    assert seen["migrated"] == seen["declared"]
    assert len(seen["declared"]) == 9
