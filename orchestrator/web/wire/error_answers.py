"""The one error body, and the one place where a code gets its HTTP status.

n8n, curl, OpenAI clients and readers of RFC 9457 find what they look for in the same JSON.
Nothing of the inside (traceback, type name) is ever in it; folders of this machine are told to
admins alone (`gate.for_caller`).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from starlette.responses import Response
from starlette.types import Scope

from orchestrator.access.keys.decision import AccessCode, NotAllowed
from orchestrator.access.scrubbing import scrubbed, without_folders
from orchestrator.core.values.refusals import Blocker, FittingFile, Refusal, RefusalCode
from orchestrator.core.values.vram import to_mb
from orchestrator.web.wire.error_shapes import FittingFileShape
from orchestrator.web.wire.instants import instant, instant_or_none

RETRY_AFTER_S_DEFAULT = 5.0  # what n8n waits at most between two tries
ECHO_CHARS_MAX = 120  # of what a caller sent, quoted back to it


class WebCode(StrEnum):
    """Codes that the core does not know: they are about the request, not about the models."""

    INVALID = "invalid"
    LOAD_DEADLINE = "load_deadline"
    BAD_HOST = "bad_host"
    BAD_ORIGIN = "bad_origin"
    READ_ONLY = "read_only"
    CALLBACK_REFUSED = "callback_refused"
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    BAD_REQUEST = "bad_request"
    TOO_SLOW = "too_slow"
    TARGET_TOO_LONG = "target_too_long"
    HEAD_TOO_LARGE = "head_too_large"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_READY = "not_ready"
    LOOP_HANGS = "loop_hangs"
    TOO_MANY_LISTENERS = "too_many_listeners"
    TOO_MANY_CALLERS = "too_many_callers"
    TOO_MANY_BYTES = "too_many_bytes"
    UNAVAILABLE = "unavailable"
    SERVER_FAILED = "server_failed"
    ENDED = "ended"
    CANNOT = "cannot"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    INTERNAL = "internal"


class Meaning(NamedTuple):
    status: int
    title: str


_R, _W, _A = RefusalCode, WebCode, AccessCode
MEANINGS: Mapping[str, Meaning] = {
    _R.UNKNOWN_MODEL: Meaning(404, "No such model"),
    _R.UNKNOWN_SERVICE: Meaning(404, "No such service"),
    _R.UNKNOWN_PROFILE: Meaning(404, "No such profile"),
    _W.NOT_FOUND: Meaning(404, "Not found"),
    _W.METHOD_NOT_ALLOWED: Meaning(405, "Method not allowed"),
    _R.IN_USE: Meaning(409, "In use"),
    _R.PINNED: Meaning(409, "Pinned"),
    _R.CONFLICT: Meaning(409, "Conflict"),
    _W.INVALID: Meaning(422, "Invalid request"),
    _R.DOES_NOT_FIT: Meaning(507, "Does not fit"),
    _R.OVER_QUOTA: Meaning(403, "Over quota"),
    _R.NO_ROOM: Meaning(503, "No room now"),
    _R.QUEUE_FULL: Meaning(503, "Queue full"),
    _W.LOAD_DEADLINE: Meaning(503, "Still loading"),
    _R.BREAKER_OPEN: Meaning(503, "Failed too often"),
    _R.DEVICE_UNREADABLE: Meaning(503, "Device unreadable"),
    _R.SHUTTING_DOWN: Meaning(503, "Shutting down"),
    _R.SERVER_SILENT: Meaning(503, "Server does not answer"),
    _R.RUNTIME_UNAVAILABLE: Meaning(503, "Runtime does not answer"),
    _W.NOT_READY: Meaning(503, "Not ready"),
    _W.LOOP_HANGS: Meaning(503, "Daemon hangs"),
    _W.TOO_MANY_LISTENERS: Meaning(503, "Too many listeners"),
    _W.TOO_MANY_CALLERS: Meaning(503, "Too many callers"),
    _W.TOO_MANY_BYTES: Meaning(503, "Too many bytes"),
    _W.UNAVAILABLE: Meaning(503, "Unavailable"),
    _W.AUDIT_UNAVAILABLE: Meaning(503, "Cannot be written down"),
    _R.LOAD_FAILED: Meaning(502, "Load failed"),
    _W.SERVER_FAILED: Meaning(502, "Server failed"),
    _W.ENDED: Meaning(503, "Ended by an operator"),
    _W.CANNOT: Meaning(400, "Beyond the model"),
    _A.RATE_LIMITED: Meaning(429, "Too many requests"),
    _W.BAD_HOST: Meaning(421, "Host not allowed"),
    _W.BAD_ORIGIN: Meaning(403, "Origin not allowed"),
    _W.READ_ONLY: Meaning(403, "Only looking is allowed"),
    _W.CALLBACK_REFUSED: Meaning(403, "Callback not allowed"),
    _W.NOT_JSON: Meaning(415, "Not JSON"),
    _W.TOO_LARGE: Meaning(413, "Body too large"),
    _W.BAD_REQUEST: Meaning(400, "Bad request"),
    _W.TOO_SLOW: Meaning(408, "Request too slow"),
    _W.TARGET_TOO_LONG: Meaning(414, "Address too long"),
    _W.HEAD_TOO_LARGE: Meaning(431, "Headers too large"),
    _W.INTERNAL: Meaning(500, "Internal error"),
    _A.UNAUTHORIZED: Meaning(401, "No valid key"),
    _A.KEY_EXPIRED: Meaning(401, "Key expired"),
    _A.FORBIDDEN: Meaning(403, "Not allowed"),
    _A.WRONG_NETWORK: Meaning(403, "Wrong network"),
    _A.PRIORITY_TOO_HIGH: Meaning(403, "Priority too high"),
    _A.LEASE_TOO_LONG: Meaning(403, "Lease too long"),
    _A.TOO_MANY_TOKENS: Meaning(403, "Too many tokens"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswer:
    """An answer that says no and why, before it is written down."""

    code: str
    detail: str
    remedy: str = ""
    retry_after_s: float | None = None
    members: Mapping[str, object] = field(default_factory=dict)  # the numbers that explain it
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return MEANINGS[self.code].status

    def without_folders(self) -> "ErrorAnswer":
        """For callers whose business it is not where files lie here."""
        return replace(
            self,
            detail=without_folders(self.detail),
            remedy=without_folders(self.remedy),
            members={name: _without_folders(value) for name, value in self.members.items()},
        )


def _without_folders(value: object) -> object:
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, Mapping):
        return {name: _without_folders(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(one) for one in value]
    return value


class Answered(Exception):
    """Raised to end a request with an error answer."""

    def __init__(self, answer: ErrorAnswer) -> None:
        super().__init__(answer.detail)
        self.answer = answer


def encode(body: Mapping[str, object]) -> bytes:
    """JSON for the wire. Half a surrogate pair, which UTF-8 cannot carry, goes as its escape."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def clip(text: str) -> str:
    """What a caller sent, short enough to be quoted."""
    return text if len(text) <= ECHO_CHARS_MAX else f"{text[:ECHO_CHARS_MAX]}…"


def fitting_file(found: FittingFile | None) -> FittingFileShape | None:
    if found is None:
        return None
    size_mb = to_mb(found.size_bytes)
    return {"file": found.file, "quantization": found.quantization, "size_mb": size_mb}


def error_of(refusal: Refusal, *, operation_id: str | None = None) -> ErrorAnswer:
    members: dict[str, object] = {}
    for name, size in (
        ("needed_mb", refusal.needed_bytes),
        ("available_mb", refusal.available_bytes),
        ("foreign_mb", refusal.foreign_bytes),
    ):
        if size is not None:
            members[name] = to_mb(size)
    if refusal.possible_s is not None:
        members["possible_at"] = instant(refusal.possible_s)
    if refusal.blockers:
        members["blockers"] = [_blocker(blocker) for blocker in refusal.blockers]
    if refusal.suggestions:
        members["suggestions"] = [dict(settings) for settings in refusal.suggestions]
    if (file := fitting_file(refusal.fitting_file)) is not None:
        members["fitting_file"] = file
    if refusal.failure is not None:
        members["cause"] = str(refusal.failure.reason)
        if refusal.failure.short_of is not None:
            members["short_of"] = str(refusal.failure.short_of)
        members["log_tail"] = [scrubbed(line) for line in refusal.failure.log_tail]
    if operation_id is not None:
        members["operation_id"] = operation_id
    return ErrorAnswer(
        code=refusal.code,
        detail=refusal.detail,
        remedy=refusal.remedy or (refusal.failure.remedy if refusal.failure else ""),
        retry_after_s=refusal.retry_after_s,
        members=members,
    )


def error_of_access(why: NotAllowed) -> ErrorAnswer:
    asks = why.code in (AccessCode.UNAUTHORIZED, AccessCode.KEY_EXPIRED)
    return ErrorAnswer(
        code=why.code,
        detail=why.detail,
        remedy=why.remedy,
        retry_after_s=why.retry_after_s,
        members=why.members,
        headers={"WWW-Authenticate": "Bearer"} if asks else {},
    )


def _blocker(blocker: Blocker) -> Mapping[str, object]:
    return {
        "device": blocker.device,
        "model": blocker.model,
        "held_mb": to_mb(blocker.held_bytes),
        "why": blocker.why,
        "lasting": blocker.lasting,
        "possible_at": instant_or_none(blocker.ends_s),
    }


def error_body(answer: ErrorAnswer, path: str) -> dict[str, object]:
    status, title = MEANINGS[answer.code]
    body: dict[str, object] = {
        "type": f"urn:vram-orchestrator:{answer.code}",
        "title": title,
        "status": status,
        "detail": answer.detail,
        "instance": clip(path),
        "code": str(answer.code),
        "remedy": answer.remedy,
        **answer.members,
    }
    if status in (429, 503):
        body["retry_after_seconds"] = retry_after_s(answer)
    body["error"] = {
        "message": f"{answer.detail} {answer.remedy}".strip(),
        "type": _openai_type(status),
        "param": None,
        "code": str(answer.code),
    }
    return body


def retry_after_s(answer: ErrorAnswer) -> int:
    wait_s = RETRY_AFTER_S_DEFAULT if answer.retry_after_s is None else answer.retry_after_s
    return max(1, math.ceil(wait_s))


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def respond(answer: ErrorAnswer, scope: Scope) -> Response:
    body = error_body(answer, scope["path"])
    headers = dict(answer.headers)
    if answer.status in (429, 503):
        headers["Retry-After"] = str(body["retry_after_seconds"])
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
    wants_problem = b"application/problem+json" in accept.lower()
    media_type = "application/problem+json" if wants_problem else "application/json"
    return Response(encode(body), answer.status, headers, media_type)


def raw_answer(answer: ErrorAnswer) -> bytes:
    """The whole HTTP response, for a connection that no request is read from."""
    body = encode(error_body(answer, ""))
    status, title = MEANINGS[answer.code]
    head = (
        f"HTTP/1.1 {status} {title}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: {retry_after_s(answer)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
