"""What the registry asks of its tables. Each function runs within the caller's transaction.

A function that reads gives what could be read together with a sentence about each row that could
not: one damaged row must not cost the others.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, SQLModel, col, delete, func, or_, select, update
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator.core.values.leases import LeaseId
from orchestrator.core.values.residents import InstanceId
from orchestrator.ports import DecisionRecord, Memory, Operation, OperationState
from orchestrator.registry import shapes
from orchestrator.registry.paging import FINISHED_OPERATIONS_KEPT_MAX, Page
from orchestrator.registry.rows import (
    DecisionRow,
    LearnedRow,
    LeaseRow,
    OperationRow,
    PinRow,
    ResidentRow,
)

Problems = tuple[str, ...]
R = TypeVar("R", bound=SQLModel)
T = TypeVar("T")

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


def drop_resident(session: Session, instance: InstanceId) -> None:
    session.exec(delete(ResidentRow).where(col(ResidentRow.instance) == instance))


def drop_lease(session: Session, lease: LeaseId) -> None:
    session.exec(delete(LeaseRow).where(col(LeaseRow.id) == lease))


def recall(session: Session) -> tuple[Memory, Problems]:
    residents, of_residents = _read_all(session, ResidentRow, shapes.from_resident_row)
    leases, of_leases = _read_all(session, LeaseRow, shapes.from_lease_row)
    learned, of_learned = _read_all(session, LearnedRow, shapes.from_learned_row)
    pins, of_pins = _read_all(session, PinRow, shapes.from_pin_row)
    memory = Memory(
        residents=residents,
        leases=leases,
        learned=learned,
        pins=dict(pins),
        last_decision_id=session.exec(select(func.max(DecisionRow.id))).one() or 0,
    )
    return memory, of_residents + of_leases + of_learned + of_pins


def operation(session: Session, operation_id: str) -> tuple[Operation | None, Problems]:
    rows = session.exec(select(OperationRow).where(OperationRow.id == operation_id)).all()
    read, problems = _read(rows, shapes.from_operation_row)
    return (read[0] if read else None), problems


def decisions(session: Session, page: Page) -> tuple[tuple[DecisionRecord, ...], Problems]:
    """One page, filled up behind rows that cannot be read: a short page means the end."""
    found: tuple[DecisionRecord, ...] = ()
    problems: Problems = ()
    statement = page_statement(page)
    past = 0
    while (lacking := page.limit - len(found)) > 0:
        rows = session.exec(statement.offset(past).limit(lacking)).all()
        read, unread = _read(rows, shapes.from_decision_row)
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
    return statement.order_by(at.asc() if page.forwards else at.desc())


def prune(session: Session, before: datetime, keep_decisions: int) -> int:
    """The newest decision stays whatever its age: ids go on from it after a restart."""
    limit_at = shapes.instant(before)
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
    return decided.rowcount + ended.rowcount


def end_orphans(session: Session, now: datetime) -> None:
    """Nobody works any more on what the last daemon had not finished: say so to whoever asks."""
    session.exec(
        update(OperationRow)
        .where(col(OperationRow.finished_at).is_(None))
        .values(state=OperationState.FAILED.value, finished_at=shapes.instant(now), detail=ORPHANED)
    )


def _read_all(
    session: Session, table: type[R], read: Callable[[R], T]
) -> tuple[tuple[T, ...], Problems]:
    return _read(session.exec(select(table)).all(), read)


def _read(rows: Iterable[R], read: Callable[[R], T]) -> tuple[tuple[T, ...], Problems]:
    values: list[T] = []
    problems: list[str] = []
    for row in rows:
        try:
            values.append(read(row))
        except shapes.Unreadable as why:
            key = row.__mapper__.primary_key_from_instance(row)  # type: ignore[attr-defined]
            name = "/".join(str(part) for part in key)
            problems.append(
                f"the registry's row {name!r} of {row.__tablename__} cannot be read and is left "
                f"where it is: {why}"
            )
    return tuple(values), tuple(problems)
