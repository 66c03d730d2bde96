"""The shape of the one error body."""

from typing import NotRequired

from typing_extensions import TypedDict

from orchestrator.web.wire.shapes import FittingFileShape, Suggestion


class OpenAiError(TypedDict):
    message: str
    type: str
    param: None
    code: str


class ErrorBody(TypedDict):
    """RFC 9457, a stable code with the numbers that explain it, and OpenAI's error object."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    remedy: str
    error: OpenAiError
    needed_mb: NotRequired[int]
    available_mb: NotRequired[int]
    foreign_mb: NotRequired[int]
    possible_at: NotRequired[str]
    blockers: NotRequired[list[dict[str, object]]]
    retry_after_seconds: NotRequired[int]
    operation_id: NotRequired[str]
    waits_for: NotRequired[str]
    suggestions: NotRequired[list[Suggestion]]
    fitting_file: NotRequired[FittingFileShape]
    cause: NotRequired[str]
    short_of: NotRequired[str]
    log_tail: NotRequired[list[str]]
    mistakes: NotRequired[list[dict[str, str]]]
    example: NotRequired[dict[str, object]]
