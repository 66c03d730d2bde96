"""A conversation with a server without its I/O: a generator that asks and hears.

An operation yields an Ask or a Pause, is sent what came of it, and returns its result or raises a
ClientError. Two shells perform them, one that blocks and one that awaits; what is decided is
decided here, and is tested without a socket or a clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from orchestrator.client.errors import (
    ClientError,
    DoesNotFit,
    NotAnswered,
    NotUnderstood,
    Refused,
    TryLater,
    UnknownModel,
)

T = TypeVar("T")

ANSWER_S = 30.0  # anything but a load and a generation is answered from memory
ANSWER_BYTES_MAX = 64 << 20  # of one body that is read whole
BACKOFF_S_FIRST = 0.2
BACKOFF_S_MAX = 5.0

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One HTTP request."""

    method: str
    path: str
    body: Json | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = ANSWER_S  # how long the server may be silent
    streamed: bool = False  # a good answer is read as it comes, by the shell


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    took_s: float = 0.0
    stream: object = None  # the shell's own, for an Ask that is streamed


@dataclass(frozen=True, slots=True, kw_only=True)
class NoReply:
    detail: str
    timed_out: bool = False
    took_s: float = 0.0


Heard: TypeAlias = Reply | NoReply
Exchange: TypeAlias = Generator[Ask | Pause, Heard | None, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often, and for how long in all, something is asked again that may succeed then."""

    tries_max: int = 4
    pause_s_max: float = 60.0  # of all pauses together; a longer Retry-After is raised at once


def heard_of(ask: Ask) -> Exchange[Heard]:
    heard = yield ask
    assert heard is not None, "a shell answers an Ask with what it heard"
    return heard


def answered(ask: Ask, retries: Retries) -> Exchange[Reply]:
    """A good answer, if need be after several tries. Raise what the last one came to."""
    paused_s = 0.0
    tried = 0
    while True:
        heard = yield from heard_of(ask)
        if isinstance(heard, Reply) and heard.status < 400:
            return heard
        tried += 1
        error = error_of(heard)
        pause_s = pause_before_next(error, tried)
        if pause_s is None or tried >= retries.tries_max:
            raise error
        paused_s += pause_s
        if paused_s > retries.pause_s_max:
            raise error
        yield Pause(pause_s)


def pause_before_next(error: ClientError, tried: int) -> float | None:
    """How long to wait before asking again what has failed so often; None: it would not help.

    A server that was silent for as long as it was given is not asked again: its work would begin
    anew. One that cannot be reached or broke off is: nothing that is asked here does harm twice.
    """
    if isinstance(error, TryLater) and error.retry_after_s is not None:
        return error.retry_after_s
    if isinstance(error, TryLater) or (isinstance(error, NotAnswered) and not error.timed_out):
        return backoff_s(tried)
    return None


def backoff_s(tried: int) -> float:
    return float(min(BACKOFF_S_FIRST * 2 ** min(tried - 1, 16), BACKOFF_S_MAX))


# --- what an answer means --------------------------------------------------------------------


def understood(reply: Reply, read: Callable[[Json], T]) -> T:
    """What `read` makes of the body. Raise NotUnderstood where it cannot."""
    try:
        body = json.loads(reply.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise NotUnderstood(
            "What answered is not the server that was expected.",
            "Check the URL, for example ORCHESTRATOR_URL.",
        )
    return read_as(body, read)


def read_as(body: Json, read: Callable[[Json], T]) -> T:
    """Raise NotUnderstood."""
    try:
        return read(body)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise NotUnderstood(
            f"The answer lacks what this version reads from it ({error!r}).",
            "Is the server of another version?",
        ) from error


def error_of(heard: Heard) -> ClientError:
    if isinstance(heard, NoReply):
        remedy = "What was ordered may still happen." if heard.timed_out else ""
        return NotAnswered(heard.detail, remedy, timed_out=heard.timed_out)
    try:
        body = json.loads(heard.body)
    except ValueError:
        body = None
    members = dict(body) if isinstance(body, dict) else {}
    if "retry_after_seconds" not in members and "retry-after" in heard.headers:
        seconds = seconds_of(heard.headers["retry-after"])
        members |= {} if seconds is None else {"retry_after_seconds": seconds}
    return refused(heard.status, members)


def refused(status: int, members: Json) -> Refused:
    """The exception for an error body: ours, OpenAI's nested one, or Ollama's one sentence."""
    nested = members.get("error")
    inner = nested if isinstance(nested, dict) else {}
    said = nested if isinstance(nested, str) else inner.get("message")
    inner_code = inner.get("code")
    code = members.get("code") or (inner_code if isinstance(inner_code, str) else None)
    detail = members.get("detail") or said or members.get("message") or f"The answer was {status}."
    kind: type[Refused] = Refused
    if status in (429, 503):
        kind = TryLater
    elif code == "unknown_model":
        kind = UnknownModel
    elif code == "does_not_fit":
        kind = DoesNotFit
    remedy = members.get("remedy") or inner.get("remedy") or ""
    numbers = {key: value for key, value in inner.items() if key not in members}
    return kind(
        status, str(code or f"http_{status}"), str(detail), str(remedy), {**numbers, **members}
    )


def seconds_of(text: str) -> float | None:
    """Of a Retry-After that says seconds; a date is not read."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
