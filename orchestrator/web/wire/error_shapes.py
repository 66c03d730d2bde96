"""The shape of the one error body."""

from typing import NotRequired

from typing_extensions import TypedDict


class Suggestion(TypedDict):
    """One changed setting."""

    context_size: NotRequired[int]
    gpu_layers: NotRequired[int]
    cache_type: NotRequired[str]


class FittingFileShape(TypedDict):
    """The best known quantization that would fit, where that is another than the model's own."""

    file: str  # as the catalogue takes it
    quantization: str
    size_mb: int


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
