"""What the registry asks of its tables. Each function runs within the caller's transaction.

A function that reads gives what could be read together with a sentence per row that could
not: one damaged row must not cost the others.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, SQLModel, col, delete, func, or_, select, tuple_, update
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator.records import (
    BENCHMARKS_KEPT_MAX,
    DecisionRecord,
    OperationState,
    Page,
    RequestPage,
    RequestRecord,
)
from orchestrator.registry.encoding import Unreadable, instant
from orchestrator.registry.tables import (
    DECISIONS,
    REQUESTS,
    BenchmarkRow,
    DecisionRow,
    LearnedRow,
    OperationRow,
    RequestRow,
    Table,
)

Problems = tuple[str, ...]
K = TypeVar("K")
V = TypeVar("V")

# Beside their age. At one load a minute a week; an operation takes about 200 bytes.
FINISHED_OPERATIONS_KEPT_MAX = 10_000
# The newest footprints, of one model and of all. A lost one costs a new measurement; a start reads
# all of them.
LEARNED_OF_A_MODEL_KEPT_MAX = 32
LEARNED_KEPT_MAX = 4_096
REQUESTS_KEPT_MAX = 10_000  # by their ends; about 3 MB
ORPHANED = (
    "The orchestrator was restarted before this ended. What it had begun is in the status; "
    "asking again joins it."
)


def upsert(session: Session, row: SQLModel) -> None:
    """Write the row, whether or not there is one of its key: safe to repeat."""
    table = SQLModel.metadata.tables[str(row.__tablename__)]
    fields = row.model_dump()
    keys = [column.name for column in table.primary_key]
    rest = {name: value for name, value in fields.items() if name not in keys}
    statement = insert(table).values(**fields)
    session.exec(statement.on_conflict_do_update(index_elements=keys, set_=rest))


def insert_all(session: Session, table: Table[K, V], values: Sequence[V]) -> None:
    """One statement for all of them. What has its key already stays: safe to repeat."""
    rows = [table.columns_of(value) for value in values]
    into = insert(SQLModel.metadata.tables[table.name]).on_conflict_do_nothing()
    session.connection().execute(into, rows)


def drop(session: Session, table: Table[K, V], key: K) -> None:
    """What is not there is gone already."""
    session.exec(delete(table.row).where(*table.is_key(key)))


def find(session: Session, table: Table[K, V], key: K) -> tuple[V | None, Problems]:
    values, problems = _read(session.exec(select(table.row).where(*table.is_key(key))), table)
    return (values[0] if values else None), problems


def everything(session: Session, table: Table[K, V]) -> tuple[tuple[V, ...], Problems]:
    return _read(session.exec(select(table.row)), table)


def last_decision_id(session: Session) -> int:
    """Also of a decision that cannot be read: its number is taken."""
    return session.exec(select(func.max(DecisionRow.id))).one() or 0


def last_request_id(session: Session) -> int:
    return session.exec(select(func.max(RequestRow.id))).one() or 0


def add_requests(session: Session, records: Sequence[RequestRecord]) -> None:
    insert_all(session, REQUESTS, records)
    _prune_requests(session)


def decisions(session: Session, page: Page) -> tuple[tuple[DecisionRecord, ...], Problems]:
    return _page(session, DECISIONS, page_statement(page), page.limit)


def requests(session: Session, page: RequestPage) -> tuple[tuple[RequestRecord, ...], Problems]:
    return _page(session, REQUESTS, _requests_statement(page), page.limit)


def _page(
    session: Session, table: Table[K, V], statement: SelectOfScalar[Any], limit: int
) -> tuple[tuple[V, ...], Problems]:
    """One page, filled up behind rows that cannot be read: a short page means the end."""
    found: tuple[V, ...] = ()
    problems: Problems = ()
    past = 0
    while (lacking := limit - len(found)) > 0:
        rows = session.exec(statement.offset(past).limit(lacking)).all()
        read, unread = _read(rows, table)
        found, problems, past = found + read, problems + unread, past + len(rows)
        if len(rows) < lacking:
            break
    return found, problems


def page_statement(page: Page) -> SelectOfScalar[DecisionRow]:
    statement = select(DecisionRow)
    if page.model is not None:
        statement = statement.where(DecisionRow.model == page.model)
    if page.before_id is not None:
        statement = statement.where(DecisionRow.id < page.before_id)
    if page.after_id is not None:
        statement = statement.where(DecisionRow.id > page.after_id)
    at = col(DecisionRow.id)
    return statement.order_by(at.desc() if page.after_id is None else at.asc())


def _requests_statement(page: RequestPage) -> SelectOfScalar[RequestRow]:
    statement = select(RequestRow)
    equal = (
        (RequestRow.client, page.client),
        (RequestRow.owner, page.owner),
        (RequestRow.outcome, page.outcome),
        (RequestRow.protocol, page.protocol),
        (RequestRow.key, page.key),
    )
    for column, wanted in equal:
        if wanted is not None:
            statement = statement.where(col(column) == str(wanted))
    if page.model is not None:
        named = (col(RequestRow.model) == page.model, col(RequestRow.asked) == page.model)
        statement = statement.where(or_(*named))
    if page.before_id is not None:
        statement = statement.where(RequestRow.id < page.before_id)
    return statement.order_by(col(RequestRow.id).desc())


def prune(session: Session, before: datetime, keep_decisions: int) -> int:
    """The newest decision stays whatever its age: ids go on from it after a restart."""
    limit_at = instant(before)
    at = col(DecisionRow.id)
    newest = select(func.max(at)).scalar_subquery()
    kept = select(at).order_by(at.desc()).limit(1).offset(max(keep_decisions, 0))
    old = or_(col(DecisionRow.at) < limit_at, at <= kept.scalar_subquery())
    decided = session.exec(delete(DecisionRow).where(old, at < newest))
    finished = col(OperationRow.finished_at)
    surplus = (
        select(OperationRow.id)
        .where(finished.is_not(None))
        .order_by(finished.desc())
        .offset(FINISHED_OPERATIONS_KEPT_MAX)
    )
    ended = session.exec(
        delete(OperationRow).where(or_(finished < limit_at, col(OperationRow.id).in_(surplus)))
    )
    asked = _prune_requests(session, limit_at)
    gone = asked + _prune_learned(session) + _prune_benchmarks(session)
    return decided.rowcount + ended.rowcount + gone


def _prune_requests(session: Session, before: str = "") -> int:
    """By their ends, so that one that took an hour is kept; but for the highest number."""
    at, id_ = col(RequestRow.ended_at), col(RequestRow.id)
    surplus = select(at).order_by(at.desc()).limit(1).offset(REQUESTS_KEPT_MAX)
    old = or_(at < before, at <= surplus.scalar_subquery())
    newest = select(func.max(id_)).scalar_subquery()
    return session.exec(delete(RequestRow).where(old, id_ < newest)).rowcount


def _prune_learned(session: Session) -> int:
    model, settings, at = (
        col(LearnedRow.model),
        col(LearnedRow.settings),
        col(LearnedRow.measured_at).desc(),
    )
    ranked = select(
        model,
        settings,
        func.row_number().over(partition_by=model, order_by=at).label("of_model"),
        func.row_number().over(order_by=at).label("of_all"),
    ).subquery()
    surplus = or_(
        ranked.c.of_model > LEARNED_OF_A_MODEL_KEPT_MAX, ranked.c.of_all > LEARNED_KEPT_MAX
    )
    keys = select(ranked.c.model, ranked.c.settings).where(surplus)
    return session.exec(delete(LearnedRow).where(tuple_(model, settings).in_(keys))).rowcount


def _prune_benchmarks(session: Session) -> int:
    at = col(BenchmarkRow.measured_at)
    surplus = select(at).order_by(at.desc()).limit(1).offset(BENCHMARKS_KEPT_MAX)
    return session.exec(delete(BenchmarkRow).where(at <= surplus.scalar_subquery())).rowcount


def end_orphans(session: Session, now: datetime) -> None:
    """What the last daemon had not finished has failed; a question about it is answered so."""
    session.exec(
        update(OperationRow)
        .where(col(OperationRow.finished_at).is_(None))
        .values(state=OperationState.FAILED.value, finished_at=instant(now), detail=ORPHANED)
    )


def _read(rows: Iterable[SQLModel], table: Table[K, V]) -> tuple[tuple[V, ...], Problems]:
    values: list[V] = []
    problems: list[str] = []
    for row in rows:
        try:
            values.append(table.decode(row))
        except Unreadable as why:
            key = row.__mapper__.primary_key_from_instance(row)  # type: ignore[attr-defined]
            name = "/".join(str(part) for part in key)
            problems.append(
                f"the registry's row {name!r} of {table.name} cannot be read and is left where it "
                f"is: {why}"
            )
    return tuple(values), tuple(problems)
