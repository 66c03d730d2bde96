"""A registry that was emptied, cut or replaced between two runs is told from a first start."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from orchestrator.registry import runs
from orchestrator.registry.database import open_database
from orchestrator.registry.migrations import MIGRATIONS
from orchestrator.registry.runs import MARK_NAME, mark_run

TABLES = ("leases", "residents", "learned", "pins", "operations", "decisions", "runs")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.sqlite"


def run(path):
    """One run of the daemon: what it has to say of the registry."""
    engine, problems = open_database(path, MIGRATIONS)
    problems = (*problems, *mark_run(engine, path))
    engine.dispose()
    return problems


def test_a_first_start_and_the_ones_after_it_have_nothing_to_say(path):
    assert [run(path) for _ in range(3)] == [()] * 3


def test_a_registry_of_an_older_release_has_no_mark_yet_and_that_is_right(path):
    with closing(sqlite3.connect(path)) as old:
        for statement in MIGRATIONS[0].statements:
            old.execute(statement)
        old.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, migrated_at TEXT)")
        old.execute("INSERT INTO schema_version VALUES (1, 'long ago')")
        old.commit()
    assert [run(path) for _ in range(2)] == [()] * 2


def remove(path):
    path.unlink()


def cut_to_nothing(path):
    path.write_bytes(b"")


def empty_all_tables(path):
    with closing(sqlite3.connect(path)) as shell:
        for table in TABLES:
            shell.execute(f"DELETE FROM {table}")
        shell.commit()


@pytest.mark.parametrize("change", [remove, cut_to_nothing, empty_all_tables])
def test_a_registry_that_was_emptied_is_said_once_with_the_remedy(path, change):
    run(path)
    change(path)
    (said,) = run(path)
    assert "there has been one here before" in said
    assert "a backup that has them can be put in its place" in said
    assert run(path) == ()


def test_a_registry_that_was_cut_is_damage_and_said_so(path):
    run(path)
    path.write_bytes(path.read_bytes()[:5000])
    said, _ = run(path)
    assert "the registry was damaged" in said
    assert run(path) == ()


def test_an_older_copy_is_told_from_the_registry_that_was_written_last(path, tmp_path):
    run(path)
    shutil.copy(path, tmp_path / "older")
    run(path)
    shutil.copy(tmp_path / "older", path)
    (said,) = run(path)
    assert "not the one that was written here last" in said
    assert "put the right one back" in said
    assert run(path) == ()


def test_the_registry_of_another_directory_is_told_too(path, tmp_path):
    (tmp_path / "other").mkdir()
    run(path)
    run(tmp_path / "other" / path.name)
    shutil.copy(tmp_path / "other" / path.name, path)
    (said,) = run(path)
    assert "not the one that was written here last" in said


def test_a_mark_that_the_disk_does_not_take_is_said_and_is_no_false_alarm(path):
    run(path)
    draft = path.with_name(MARK_NAME).with_suffix(".tmp")
    draft.mkdir()
    (said,) = run(path)
    assert f"{MARK_NAME} cannot be written" in said
    draft.rmdir()
    assert run(path) == ()


def test_marks_are_kept_within_a_bound(path, monkeypatch):
    monkeypatch.setattr(runs, "RUNS_KEPT_MAX", 3)
    for _ in range(6):
        assert run(path) == ()
    with closing(sqlite3.connect(path)) as shell:
        assert shell.execute("SELECT count(*) FROM runs").fetchone() == (3,)


def test_a_file_that_says_nothing_is_as_none(path):
    run(path)
    path.with_name(MARK_NAME).write_bytes(b"\xff\xfe")
    assert run(path) == ()
