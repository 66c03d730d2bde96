"""The one place where values become rows and rows become values again.

What is looked up by column has columns; the rest of a value is JSON with the version of its shape.
Reading forgives what a newer release may have added or an older one may have lacked (an unknown
key is dropped, a missing one gets its default), and nothing else: a row that says something
impossible raises `Unreadable`, and is for the caller to report.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from orchestrator.core.values.leases import Lease
from orchestrator.core.values.specs import ModelName
from orchestrator.ports import DecisionRecord, LearnedRecord, Operation, ResidentRecord
from orchestrator.registry.rows import (
    DecisionRow,
    LearnedRow,
    LeaseRow,
    OperationRow,
    PinRow,
    ResidentRow,
)

SHAPE_VERSION = 1  # of the JSON; grows only when a key changes its meaning, not when one is added

T = TypeVar("T")

_RESIDENT = TypeAdapter(ResidentRecord)
_LEASE = TypeAdapter(Lease)
_LEARNED = TypeAdapter(LearnedRecord)
_OPERATION = TypeAdapter(Operation)
_DECISION = TypeAdapter(DecisionRecord)
_PIN = TypeAdapter(tuple[ModelName, bool])
_NAMES = TypeAdapter(tuple[str, ...])


class Unreadable(ValueError):
    """A row does not say what a row of its table must say."""


def _text(text: str) -> str:
    """As SQLite takes it: a log line may hold halves of characters, which UTF-8 has not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def instant(at: datetime) -> str:
    """UTC with a fixed number of digits, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _to_json(adapter: TypeAdapter[T], value: T) -> str:
    # Any kind of Mapping will do; pydantic knows only dict by itself, and warns of the others.
    fields = adapter.dump_python(value, mode="json", fallback=dict, warnings=False)
    return _text(json.dumps({"shape": SHAPE_VERSION, **fields}, ensure_ascii=False))


def _from_json(adapter: TypeAdapter[T], text: str) -> T:
    fields = from_json(text)
    if not isinstance(fields, dict) or not isinstance(fields.get("shape"), int):
        raise Unreadable("it has no shape version")
    if fields["shape"] > SHAPE_VERSION:
        raise Unreadable(f"its shape {fields['shape']} is of a newer orchestrator")
    return adapter.validate_python(fields)


def readable(read: Callable[[], T]) -> T:
    """Perform one reading, with its failure in one sentence."""
    try:
        return read()
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Unreadable(f"{place}: {first['msg']}" if place else first["msg"]) from invalid
    except (ValueError, TypeError) as broken:  # not JSON, or not even text
        raise Unreadable(str(broken)) from broken


def to_resident_row(record: ResidentRecord) -> ResidentRow:
    return ResidentRow(
        instance=record.resident.instance,
        model=record.resident.name,
        runtime=record.runtime,
        state=record.resident.state.value,
        written_at=instant(datetime.now(UTC)),
        record=_to_json(_RESIDENT, record),
    )


def from_resident_row(row: ResidentRow) -> ResidentRecord:
    return readable(lambda: _from_json(_RESIDENT, row.record))


def to_lease_row(lease: Lease) -> LeaseRow:
    return LeaseRow(
        id=lease.id,
        instance=lease.instance,
        model=lease.model,
        owner=lease.owner and _text(lease.owner),
        lease=_to_json(_LEASE, lease),
    )


def from_lease_row(row: LeaseRow) -> Lease:
    return readable(lambda: _from_json(_LEASE, row.lease))


def to_learned_row(record: LearnedRecord) -> LearnedRow:
    return LearnedRow(
        model=record.model,
        settings=record.settings,
        measured_at=instant(record.measured_at),
        learned=_to_json(_LEARNED, record),
    )


def from_learned_row(row: LearnedRow) -> LearnedRecord:
    return readable(lambda: _from_json(_LEARNED, row.learned))


def to_pin_row(model: ModelName, pinned: bool) -> PinRow:
    return PinRow(model=model, pinned=int(pinned))


def from_pin_row(row: PinRow) -> tuple[ModelName, bool]:
    return readable(lambda: _PIN.validate_python((row.model, row.pinned)))


def to_operation_row(operation: Operation) -> OperationRow:
    return OperationRow(
        id=operation.id,
        kind=operation.kind,
        model=operation.model,
        state=operation.state.value,
        created_at=instant(operation.created_at),
        finished_at=instant(operation.finished_at) if operation.finished_at else None,
        code=operation.code,
        detail=_text(operation.detail),
    )


def from_operation_row(row: OperationRow) -> Operation:
    return readable(lambda: _OPERATION.validate_python(row.model_dump()))


def to_decision_row(record: DecisionRecord) -> DecisionRow:
    decision = record.decision
    return DecisionRow(
        id=record.id,
        at=instant(record.at),
        kind=decision.kind.value,
        model=decision.model,
        text=_text(decision.text),
        why=_text(decision.why),
        evicted=json.dumps(decision.evicted),
        remedy=_text(decision.remedy),
    )


def from_decision_row(row: DecisionRow) -> DecisionRecord:
    def read() -> DecisionRecord:
        decision = row.model_dump(exclude={"id", "at", "evicted"})
        decision["evicted"] = _NAMES.validate_json(row.evicted)
        return _DECISION.validate_python({"id": row.id, "at": row.at, "decision": decision})

    return readable(read)
