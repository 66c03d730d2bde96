"""The shapes of the answers about requests of clients. As in `shapes`, unknown is null."""

from typing import Literal

from typing_extensions import TypedDict


class RequestFigures(TypedDict):
    """One request of a client, so far. Seconds count from its beginning."""

    id: int
    asked: str
    model: str | None
    protocol: str
    path: str
    client: str
    key: str | None  # its id
    owner: str | None
    streaming: bool
    priority: int | None
    began_at: str
    ended_at: str | None  # null: it is under way
    total_seconds: float
    wait_seconds: float
    load_seconds: float
    first_byte_seconds: float | None
    why: str
    outcome: str | None
    status: int | None
    tokens_in: int | None
    tokens_out: int | None
    tokens_per_second: float | None


class RequestList(TypedDict):
    running: list[RequestFigures]
    running_total: int
    ended: list[RequestFigures]
    next_before: int | None
    not_kept: int


class Cancelled(TypedDict):
    id: int
    status: Literal["ending", "over"]


class DownloadShape(TypedDict):
    """A file of a hub, or an image, that is being brought."""

    source: str
    file: str
    phase: str
    detail: str  # why it pauses
    done_bytes: int
    total_bytes: int | None  # null: the other side has not answered yet
    bytes_per_second: float | None  # null: nothing arrives, or it is too early to say
    started_at: str
