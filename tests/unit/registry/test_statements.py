from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlmodel import Session

from orchestrator.records import Page
from orchestrator.registry import statements
from orchestrator.registry.database import open_database
from orchestrator.registry.migrations import MIGRATIONS
from orchestrator.registry.statements import FINISHED_OPERATIONS_KEPT_MAX, LEARNED_KEPT_MAX
from orchestrator.registry.tables import DECISIONS, LEARNED, LEASES, OPERATIONS, PINS, RESIDENTS
from tests.unit.registry.records import (
    NOON,
    after,
    decision,
    finished,
    learned,
    lease,
    operation,
    pin,
    resident,
)


@pytest.fixture
def session(tmp_path):
    with opened(tmp_path) as fresh:
        yield fresh


@contextmanager
def opened(directory):
    engine, _ = open_database(directory / "registry.sqlite", MIGRATIONS)
    try:
        with Session(engine) as fresh:
            yield fresh
    finally:
        engine.dispose()


def spoil(session, table, column, value, where):
    session.exec(
        text(f"UPDATE {table} SET {column} = :value WHERE {where}").bindparams(value=value)
    )


@pytest.mark.parametrize(
    "damage",
    ["{", '{"shape": 1}', "", b"\xff\xfe", 7],
    ids=["cut", "bare", "empty", "bytes", "number"],
)
def test_a_row_that_cannot_be_read_is_reported_and_the_others_are_not_lost(session, damage):
    for name in ("a", "b", "c"):
        statements.upsert(session, RESIDENTS.encode(resident(name)))
    statements.upsert(session, LEASES.encode(lease("l1", "b")))
    spoil(session, "residents", "record", damage, "instance = 'b-1'")
    residents, problems = statements.everything(session, RESIDENTS)
    assert residents == (resident("a"), resident("c"))
    assert statements.everything(session, LEASES) == ((lease("l1", "b"),), ())
    assert len(problems) == 1
    assert "'b-1' of residents cannot be read and is left where it is" in problems[0]
    still = session.exec(text("SELECT count(*) FROM residents")).one()
    assert still == (3,)


def test_text_that_is_not_utf_8_spoils_only_its_own_row(session):
    for name in ("a", "b"):
        statements.upsert(session, RESIDENTS.encode(resident(name)))
    session.exec(text("UPDATE residents SET record = CAST(x'ff7b' AS TEXT) WHERE instance = 'a-1'"))
    residents, problems = statements.everything(session, RESIDENTS)
    assert residents == (resident("b"),)
    assert len(problems) == 1


def test_each_table_reports_its_own(session):
    statements.upsert(session, PINS.encode(pin("a", True)))
    statements.upsert(session, PINS.encode(pin("b", True)))
    statements.upsert(session, OPERATIONS.encode(operation("o1")))
    spoil(session, "pins", "pinned", "perhaps", "model = 'a'")
    spoil(session, "operations", "state", "dreaming", "id = 'o1'")
    pins, problems = statements.everything(session, PINS)
    assert pins == (pin("b", True),)
    assert "'a' of pins" in problems[0]
    found, problems = statements.find(session, OPERATIONS, "o1")
    assert found is None
    assert "'o1' of operations" in problems[0]


def test_the_number_of_a_decision_that_cannot_be_read_is_taken(session):
    assert statements.last_decision_id(session) == 0
    for id_ in (1, 2):
        statements.upsert(session, DECISIONS.encode(decision(id_)))
    spoil(session, "decisions", "kind", "whim", "id = 2")
    assert statements.last_decision_id(session) == 2


def test_a_page_is_filled_up_behind_what_cannot_be_read(session):
    for id_ in range(1, 10):
        statements.upsert(session, DECISIONS.encode(decision(id_)))
    spoil(session, "decisions", "kind", "whim", "id IN (9, 8, 6, 5)")
    page, problems = statements.decisions(session, Page(limit=3))
    assert [record.id for record in page] == [7, 4, 3]
    assert len(problems) == 4
    page, _ = statements.decisions(session, Page(limit=3, after_id=4))
    assert [record.id for record in page] == [7]


@pytest.mark.parametrize(
    ("page", "index"),
    [
        (Page(limit=5), "INTEGER PRIMARY KEY|SCAN decisions$"),
        (Page(limit=5, before_id=9), "INTEGER PRIMARY KEY (rowid<?)"),
        (Page(limit=5, after_id=9), "INTEGER PRIMARY KEY (rowid>?)"),
        (Page(limit=5, model="a"), "ix_decisions_model (model=?)"),
        (Page(limit=5, model="a", before_id=9), "ix_decisions_model (model=? AND rowid<?)"),
        (Page(limit=5, model="a", after_id=9), "ix_decisions_model (model=? AND rowid>?)"),
    ],
)
def test_a_page_is_one_range_of_an_index(session, page, index):
    statement = statements.page_statement(page).limit(page.limit)
    asked = str(statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True}))
    plan = " ".join(row[3] for row in session.exec(text(f"EXPLAIN QUERY PLAN {asked}")))
    assert "TEMP B-TREE" not in plan  # which is how it says that it sorts
    assert index in plan or ("SCAN" in index and plan == "SCAN decisions")


def test_orphaned_operations_end_as_failed_and_are_pruned_later(session):
    statements.upsert(session, OPERATIONS.encode(operation("running")))
    statements.upsert(session, OPERATIONS.encode(finished("done", NOON)))
    statements.end_orphans(session, after(5))
    ended, _ = statements.find(session, OPERATIONS, "running")
    assert (ended.state, ended.finished_at, ended.detail) == (
        "failed",
        after(5),
        statements.ORPHANED,
    )
    assert statements.find(session, OPERATIONS, "done") == (finished("done", NOON), ())
    assert statements.prune(session, after(6), 10) == 2


def test_what_was_learned_is_bounded_over_all_models_too(session):
    session.add_all(
        LEARNED.encode(replace(learned(f"m{number}"), measured_at=after(-number)))
        for number in range(LEARNED_KEPT_MAX + 2)
    )
    session.flush()
    assert statements.prune(session, NOON, 10) == 2
    assert statements.find(session, LEARNED, (f"m{LEARNED_KEPT_MAX}", "f16")) == (None, ())
    assert statements.find(session, LEARNED, (f"m{LEARNED_KEPT_MAX - 1}", "f16"))[0] is not None


def test_finished_operations_that_are_too_many_go_oldest_first(session):
    session.add_all(
        OPERATIONS.encode(finished(f"o{number}", after(number)))
        for number in range(FINISHED_OPERATIONS_KEPT_MAX + 2)
    )
    session.flush()
    assert statements.prune(session, NOON, 10) == 2
    assert statements.find(session, OPERATIONS, "o1") == (None, ())
    assert statements.find(session, OPERATIONS, "o2")[0] is not None
