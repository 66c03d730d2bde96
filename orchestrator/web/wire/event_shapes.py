"""The shapes of what has happened: operations, decisions, spans. As in `shapes`."""

from typing_extensions import TypedDict


class OperationShape(TypedDict):
    operation_id: str
    kind: str
    model: str
    status: str
    created_at: str
    finished_at: str | None
    code: str | None
    detail: str
    eta_seconds: float | None


class Decision(TypedDict):
    id: int
    at: str
    kind: str
    model: str | None
    text: str
    why: str
    evicted: list[str]
    remedy: str


class SpanShape(TypedDict):
    span_id: int
    holder: str
    name: str
    device: str
    vram_mb: int
    from_at: str
    until_at: str | None


class Events(TypedDict):
    events: list[Decision]
    next_before: int | None


class JobShape(TypedDict):
    name: str
    every_seconds: float
    last_run_at: str | None  # null: not yet
    last_seconds: float | None
    last_error: str
    next_run_at: str | None


class Jobs(TypedDict):
    jobs: list[JobShape]
