"""The tables, as SQLModel sees them. `migrations.py` makes them; a test keeps the two the same.

Instants are text: one that is damaged then spoils its own row and not the page it stands on.
"""

from sqlmodel import Field, SQLModel


class ResidentRow(SQLModel, table=True):
    """One resident; beside the record, what an operator looks for with a SQL shell."""

    __tablename__ = "residents"

    instance: str = Field(primary_key=True)
    model: str
    runtime: str
    state: str
    written_at: str
    record: str  # JSON: the resident with its spec and placement, its handle and its endpoint


class LeaseRow(SQLModel, table=True):
    """A lease goes with its resident: nobody is promised what is not there."""

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


class PinRow(SQLModel, table=True):
    """0 is said too: it overrules a pin in the configuration."""

    __tablename__ = "pins"

    model: str = Field(primary_key=True)
    pinned: int


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
