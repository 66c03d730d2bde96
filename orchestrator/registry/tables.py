"""The tables. A new one is a row, a `Table`, an attribute of `Tables` and of the port `Registry`,
and a migration; a test keeps rows and migrations the same.

What is looked up in SQL has a column; the rest of a record is JSON with the version of its shape.
Instants are text: one that is damaged then spoils its own row and not the page it stands on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

import sqlalchemy
from pydantic import TypeAdapter
from pydantic_core import from_json
from sqlmodel import Field, SQLModel

from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.records import (
    BenchmarkRecord,
    DecisionRecord,
    LearnedRecord,
    Memory,
    Operation,
    Pin,
    Records,
    RequestRecord,
    ResidentRecord,
)
from orchestrator.registry.encoding import read_json, readable, to_column, to_json

# How many changes of one table may wait for a disk that refuses them; beyond it the oldest is given
# up. A lost row of the state costs a question to a runtime or a new measurement after a restart;
# lost history is a gap in what can be explained.
STATE_UNWRITTEN_MAX = 10_000
HISTORY_UNWRITTEN_MAX = 1_000  # an hour or more of a busy machine

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(Generic[K, V]):
    """One kind of record, one row for each key, and how the one becomes the other.

    `columns` are the record's fields of the same names, unless it is given; `json` is the column
    that holds the whole record, where the others do not.
    """

    row: type[SQLModel]
    record: type[V]
    key: Callable[[V], K]  # as the primary key: a tuple where that has several columns
    columns: Callable[[V], Mapping[str, object]] | None = None
    json: str | None = None
    fields: Callable[[dict[str, Any]], dict[str, Any]] = dict  # of the record, from the columns
    # Tables whose rows go with a row of this one, and whose key such a record names.
    owned: "Mapping[Table[Any, Any], Callable[[Any], object]]" = field(default_factory=dict)
    unwritten_max: int = STATE_UNWRITTEN_MAX

    @property
    def name(self) -> str:
        return str(self.row.__tablename__)

    def encode(self, value: V) -> SQLModel:
        return self.row(**self.columns_of(value))

    def columns_of(self, value: V) -> dict[str, object]:
        columns = (
            self.columns(value)
            if self.columns
            else {name: getattr(value, name) for name in self.row.model_fields if name != self.json}
        )
        row = {name: to_column(field) for name, field in columns.items()}
        if self.json is not None:
            row[self.json] = to_json(self._adapter, value)
        return row

    def decode(self, row: SQLModel) -> V:
        """Raise Unreadable, with the reason in one sentence."""

        def read() -> V:
            columns = {name: getattr(row, name) for name in self.row.model_fields}
            if self.json is not None:
                return read_json(self._adapter, columns[self.json])
            return self._adapter.validate_python(self.fields(columns))

        return readable(read)

    def is_key(self, key: K) -> list[sqlalchemy.ColumnElement[bool]]:
        """The conditions of the one row with this key."""
        parts = key if isinstance(key, tuple) else (key,)
        columns = SQLModel.metadata.tables[self.name].primary_key
        return [column == part for column, part in zip(columns, parts, strict=True)]

    @cached_property
    def _adapter(self) -> TypeAdapter[V]:
        return TypeAdapter(self.record)


class ResidentRow(SQLModel, table=True):
    """Beside the record, what an operator looks for with a SQL shell."""

    __tablename__ = "residents"

    instance: str = Field(primary_key=True)
    model: str
    runtime: str
    state: str
    written_at: str
    record: str  # JSON: the resident with its spec and placement, its handle and its endpoint


class LeaseRow(SQLModel, table=True):
    """A lease goes with its resident: nothing is promised on what is not there."""

    __tablename__ = "leases"

    id: str = Field(primary_key=True)
    instance: str = Field(foreign_key="residents.instance", ondelete="CASCADE", index=True)
    model: str
    owner: str | None
    lease: str  # JSON


class LearnedRow(SQLModel, table=True):
    __tablename__ = "learned"

    model: str = Field(primary_key=True)
    settings: str = Field(primary_key=True)
    measured_at: str
    learned: str  # JSON


class RunRow(SQLModel, table=True):
    """A run of the daemon on this registry: see `runs`."""

    __tablename__ = "runs"

    id: str = Field(primary_key=True)
    began_at: str


class PinRow(SQLModel, table=True):
    """0 is written too: it overrules a pin in the configuration."""

    __tablename__ = "pins"

    model: str = Field(primary_key=True)
    pinned: int


class BenchmarkRow(SQLModel, table=True):
    __tablename__ = "benchmarks"

    model: str = Field(primary_key=True)
    settings: str = Field(primary_key=True)
    devices: str = Field(primary_key=True)
    measured_at: str
    benchmark: str  # JSON


class OperationRow(SQLModel, table=True):
    __tablename__ = "operations"

    id: str = Field(primary_key=True)
    kind: str
    model: str
    state: str
    created_at: str
    finished_at: str | None = Field(index=True)
    code: str | None
    detail: str
    key: str | None


class DecisionRow(SQLModel, table=True):
    __tablename__ = "decisions"

    id: int = Field(primary_key=True)
    at: str
    kind: str
    model: str | None = Field(index=True)  # the index carries the id: a page is one range of it
    text: str
    why: str
    evicted: str  # JSON list of names
    remedy: str


class RequestRow(SQLModel, table=True):
    """Read by filters of any kind: the table is small, and a look at all of it takes 2 ms."""

    __tablename__ = "requests"

    id: int = Field(primary_key=True)
    began_at: str
    ended_at: str = Field(index=True)  # the oldest ends go first
    asked: str
    model: str | None
    instance: str | None
    protocol: str
    path: str
    client: str
    owner: str | None
    streaming: int
    priority: int | None
    wait_s: float
    load_s: float
    first_byte_s: float | None
    why: str
    outcome: str
    status: int | None
    tokens_in: int | None
    tokens_out: int | None
    tokens_per_s: float | None
    key: str | None


LEASES = Table(row=LeaseRow, record=Lease, key=lambda lease: lease.id, json="lease")
RESIDENTS = Table(
    row=ResidentRow,
    record=ResidentRecord,
    key=lambda record: record.resident.instance,
    columns=lambda record: {
        "instance": record.resident.instance,
        "model": record.resident.name,
        "runtime": record.runtime,
        "state": record.resident.state,
        "written_at": datetime.now(UTC),
    },
    json="record",
    owned={LEASES: lambda lease: lease.instance},
)
LEARNED = Table(
    row=LearnedRow,
    record=LearnedRecord,
    key=lambda record: (record.model, record.settings),
    json="learned",
)
PINS = Table(row=PinRow, record=Pin, key=lambda pin: pin.model)
BENCHMARKS = Table(
    row=BenchmarkRow,
    record=BenchmarkRecord,
    key=lambda record: (record.model, record.settings, record.devices),
    json="benchmark",
)
OPERATIONS = Table(
    row=OperationRow,
    record=Operation,
    key=lambda operation: operation.id,
    unwritten_max=HISTORY_UNWRITTEN_MAX,
)
DECISIONS = Table(
    row=DecisionRow,
    record=DecisionRecord,
    key=lambda record: record.id,
    columns=lambda record: {
        "id": record.id,
        "at": record.at,
        **asdict(record.decision),
    },
    fields=lambda columns: {
        "id": columns.pop("id"),
        "at": columns.pop("at"),
        "decision": columns | {"evicted": from_json(columns["evicted"])},
    },
    unwritten_max=HISTORY_UNWRITTEN_MAX,
)

REQUESTS = Table(row=RequestRow, record=RequestRecord, key=lambda record: record.id)


class Tables(ABC):
    """What a registry has for every table, made of what one does for any table."""

    def __init__(self) -> None:
        # In the order in which they are tried again: a lease is written after its resident.
        self.residents: Records[InstanceId, ResidentRecord] = TableRecords(RESIDENTS, self)
        self.leases: Records[LeaseId, Lease] = TableRecords(LEASES, self)
        self.learned: Records[tuple[ModelName, str], LearnedRecord] = TableRecords(LEARNED, self)
        self.pins: Records[ModelName, Pin] = TableRecords(PINS, self)
        self.benchmarks: Records[tuple[ModelName, str, str], BenchmarkRecord] = TableRecords(
            BENCHMARKS, self
        )
        self.operations: Records[str, Operation] = TableRecords(OPERATIONS, self)
        self.decisions: Records[int, DecisionRecord] = TableRecords(DECISIONS, self)
        self.requests: Records[int, RequestRecord] = TableRecords(REQUESTS, self)

    @abstractmethod
    async def change(self, table: Table[K, V], key: K, value: V | None) -> bool:
        """Write `value`, or drop what has the key if it is None. True: it is on the disk."""

    @abstractmethod
    async def find(self, table: Table[K, V], key: K) -> V | None: ...

    @abstractmethod
    async def everything(self, table: Table[K, V]) -> tuple[V, ...]: ...

    @abstractmethod
    async def last_decision_id(self) -> int:
        """0 if nothing was decided yet."""

    @abstractmethod
    async def last_request_id(self) -> int:
        """0 if nothing was asked yet."""

    async def recall(self) -> Memory:
        return Memory(
            residents=await self.residents.all(),
            leases=await self.leases.all(),
            learned=await self.learned.all(),
            pins={pin.model: pin.pinned for pin in await self.pins.all()},
            last_decision_id=await self.last_decision_id(),
            last_request_id=await self.last_request_id(),
            benchmarks=await self.benchmarks.all(),
        )


class TableRecords(Generic[K, V]):
    def __init__(self, table: Table[K, V], registry: Tables) -> None:
        self._table = table
        self._registry = registry

    async def put(self, value: V) -> bool:
        return await self._registry.change(self._table, self._table.key(value), value)

    async def drop(self, key: K) -> bool:
        return await self._registry.change(self._table, key, None)

    async def get(self, key: K) -> V | None:
        return await self._registry.find(self._table, key)

    async def all(self) -> tuple[V, ...]:
        return await self._registry.everything(self._table)
