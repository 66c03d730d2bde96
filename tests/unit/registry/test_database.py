import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import text

from orchestrator.errors import RegistryFailed
from orchestrator.registry.database import explain, open_database
from orchestrator.registry.migrations import MIGRATIONS, Migration

NEWER = (*MIGRATIONS, Migration(len(MIGRATIONS) + 1, ("CREATE TABLE novelty (name TEXT)",)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.sqlite"


def open_and_close(path, migrations=MIGRATIONS):
    engine, problems = open_database(path, migrations)
    engine.dispose()
    return problems


def with_pins(path, count=2_000):
    engine, _ = open_database(path, MIGRATIONS)
    with engine.begin() as connection:
        for number in range(count):
            connection.execute(
                text("INSERT INTO pins VALUES (:name, 1)"), {"name": f"model-{number:040}"}
            )
    engine.dispose()


def asked(path, question):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchone()[0]


def test_the_promises_of_the_file_are_on(path):
    engine, problems = open_database(path, MIGRATIONS)
    with engine.connect() as connection:
        said = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "locking_mode")
        }
    assert said == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "locking_mode": "exclusive",
    }
    # No shared memory: a full disk would have no room for it.
    assert not path.with_name("registry.sqlite-shm").exists()
    engine.dispose()
    assert problems == ()


def test_a_registry_of_version_1_is_brought_forward_with_its_rows(path):
    with closing(sqlite3.connect(path)) as old:
        for statement in MIGRATIONS[0].statements:
            old.execute(statement)
        old.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, migrated_at TEXT)")
        old.execute("INSERT INTO schema_version VALUES (1, 'long ago')")
        old.execute("INSERT INTO pins VALUES ('kept', 1)")
        old.commit()
    assert open_and_close(path, NEWER) == ()
    assert asked(path, "SELECT max(version) FROM schema_version") == NEWER[-1].version
    assert asked(path, "SELECT model FROM pins") == "kept"
    assert asked(path, "SELECT count(*) FROM novelty") == 0


def test_a_newer_registry_is_refused_and_not_written_to(path):
    open_and_close(path, NEWER)
    before = {part.name: part.read_bytes() for part in path.parent.iterdir()}
    with pytest.raises(RegistryFailed, match="Run the newer orchestrator"):
        open_database(path, MIGRATIONS)
    assert path.read_bytes() == before[path.name]
    assert [part for part in path.parent.iterdir() if "broken" in part.name] == []
    assert open_and_close(path, NEWER) == ()


def test_a_newer_registry_that_was_killed_keeps_its_log(path, tmp_path):
    engine, _ = open_database(path, NEWER)
    killed = tmp_path / "killed"
    killed.mkdir()
    for part in (path, path.with_name("registry.sqlite-wal")):
        (killed / part.name).write_bytes(part.read_bytes())
    engine.dispose()
    log = killed / "registry.sqlite-wal"
    before = ((killed / path.name).read_bytes(), log.read_bytes())
    with pytest.raises(RegistryFailed, match="Run the newer orchestrator"):
        open_database(killed / path.name, MIGRATIONS)
    assert ((killed / path.name).read_bytes(), log.read_bytes()) == before


@pytest.mark.parametrize(
    "content",
    [
        b"not a database, but long enough to be taken for one. " * 100,
        b"SQLite format 3\0" + b"\0" * 4096,
    ],
    ids=["text", "header"],
)
def test_a_file_that_is_no_database_is_put_aside(path, content):
    path.write_bytes(content)
    problems = open_and_close(path)
    assert len(problems) == 1
    aside = next(path.parent.glob("registry.sqlite.broken-*"))
    assert aside.name in problems[0]
    assert aside.read_bytes() == content
    assert open_and_close(path) == ()
    assert asked(path, "SELECT count(*) FROM pins") == 0


def test_a_malformed_image_is_put_aside(path):
    with_pins(path)
    image = bytearray(path.read_bytes())
    image[4096 * 12 : 4096 * 40] = b"\xa5" * (4096 * 28)
    path.write_bytes(image)
    problems = open_and_close(path)
    assert "kept as registry.sqlite.broken-" in problems[0]
    assert asked(path, "SELECT count(*) FROM pins") == 0


def test_the_log_of_a_damaged_file_goes_with_it_and_not_into_the_new_one(path):
    open_and_close(path)  # so that the log holds only what comes after: not enough to heal by
    engine, _ = open_database(path, MIGRATIONS)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO pins VALUES ('logged', 1)")
    log = path.with_name("registry.sqlite-wal").read_bytes()
    engine.dispose()
    path.write_bytes(b"no database" * 1_000)
    path.with_name("registry.sqlite-wal").write_bytes(log)
    open_and_close(path)
    assert asked(path, "SELECT count(*) FROM pins") == 0
    aside = next(path.parent.glob("registry.sqlite.broken-*-wal"))
    assert aside.read_bytes() == log


def test_a_file_cut_short_is_put_aside(path):
    with_pins(path)
    with path.open("r+b") as file:
        file.truncate(4096 * 10)
    assert "damaged" in open_and_close(path)[0]


def test_a_program_that_is_in_the_way_is_named_as_the_cause(path):
    open_and_close(path)
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryFailed, match=r"locked.*Another program holds it"):
            open_database(path, MIGRATIONS)
    assert open_and_close(path) == ()


def test_an_empty_file_is_a_new_registry(path):
    path.touch()
    assert open_and_close(path) == ()


def test_a_path_that_cannot_be_opened_says_what_would_help(path):
    path.symlink_to(path.parent / "gone" / "registry.sqlite")
    with pytest.raises(RegistryFailed, match=r"unable to open.*Make the directory writable"):
        open_database(path, MIGRATIONS)


def test_a_foreign_table_in_the_way_is_put_aside_untouched(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE residents (name TEXT)")
        other.execute("INSERT INTO residents VALUES ('theirs')")
        other.commit()
    assert "not as an orchestrator made them: residents" in open_and_close(path)[0]
    aside = next(path.parent.glob("registry.sqlite.broken-*"))
    assert asked(aside, "SELECT name FROM residents") == "theirs"
    assert asked(path, "SELECT count(*) FROM residents") == 0


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("DROP TABLE leases", "leases"),
        ("ALTER TABLE learned DROP COLUMN measured_at", "learned"),
        ("DROP TABLE pins; CREATE TABLE pins (model VARCHAR, pinned INTEGER)", "pins"),
        (
            """DROP TABLE leases; CREATE TABLE leases (id VARCHAR PRIMARY KEY, instance VARCHAR,
            model VARCHAR, owner VARCHAR, lease VARCHAR)""",
            "leases",
        ),
        (
            "DROP TABLE schema_version",
            "decisions, learned, leases, operations, pins, requests, residents, runs",
        ),
        ("DELETE FROM schema_version", "decisions"),
        ("DROP TABLE schema_version; CREATE TABLE schema_version (name)", "schema_version"),
    ],
    ids=["missing", "column", "key", "reference", "unversioned", "emptied", "history"],
)
def test_a_schema_that_was_changed_is_damage_like_other_damage(path, change, table):
    with_pins(path, count=1)
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript(change)
    (problem,) = open_and_close(path)
    assert table in problem
    assert "kept as registry.sqlite.broken-" in problem
    assert open_and_close(path) == ()
    assert asked(path, "SELECT count(*) FROM leases") == 0


def test_what_an_operator_added_is_left_in_peace(path):
    with_pins(path, count=1)
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript(
            "CREATE TABLE notes (text); CREATE INDEX mine ON pins (pinned);"
            "ALTER TABLE pins ADD COLUMN why VARCHAR"
        )
    assert open_and_close(path) == ()
    assert asked(path, "SELECT count(*) FROM pins") == 1


def test_an_error_without_a_number_is_told_all_the_same(path):
    assert str(explain(OverflowError("too large"), path)) == (
        f"the registry {path} failed: too large (OverflowError)."
    )
