"""How each protocol says what went wrong: as an answer, and in the middle of a stream."""

from collections.abc import Mapping

from orchestrator.gateway.paths import Call, Protocol, Task
from orchestrator.web.wire.error_answers import ErrorAnswer, encode, error_body

_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
COMMENT_CHARS_MAX = 200


def body_of(answer: ErrorAnswer, call: Call, path: str) -> dict[str, object]:
    """With our code, the numbers and the remedy, where its client finds what it looks for."""
    body = error_body(answer, path)
    match call.protocol:
        case Protocol.ANTHROPIC:
            said = {"type": _anthropic_type(answer.status), "message": _sentence(answer)}
            return {**body, "type": "error", "error": {**said, "code": str(answer.code)}}
        case Protocol.OLLAMA:
            return {"error": _sentence(answer), "code": str(answer.code)}
        case Protocol.OPENAI | Protocol.LLAMA:
            return body


def event_of(answer: ErrorAnswer, call: Call, path: str) -> bytes:
    """In a stream that has begun, as its last event."""
    body = body_of(answer, call, path)
    if call.protocol is Protocol.OLLAMA:
        return encode(body) + b"\n"
    if call.task is Task.RESPONSES:
        said = {"type": "error", "code": str(answer.code), "message": _sentence(answer)}
        body = {**said, "param": None, "sequence_number": 0}
    named = call.protocol is Protocol.ANTHROPIC or call.task is Task.RESPONSES
    return b"\n\n" + (b"event: error\n" if named else b"") + b"data: " + encode(body) + b"\n\n"


def comment(text: str) -> bytes:
    """What every reader of events skips."""
    return f": {' '.join(text.split())[:COMMENT_CHARS_MAX]}\n\n".encode()


def _sentence(answer: ErrorAnswer) -> str:
    return f"{answer.detail} {answer.remedy}".strip()


def _anthropic_type(status: int) -> str:
    return _ANTHROPIC_TYPES.get(status) or (
        "invalid_request_error" if status < 500 else "api_error"
    )
