"""Asking a model and reading its answer, whole or in pieces: OpenAI's chat, as servers speak it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

from orchestrator.client.answers import Generation
from orchestrator.client.errors import ClientError, NotAnswered, NotUnderstood
from orchestrator.client.exchanges import (
    Ask,
    Exchange,
    Json,
    Reply,
    Retries,
    answered,
    read_as,
    refused,
    understood,
)

GENERATION_S = 900.0  # a load that waits its turn, and a long answer after it
CHAT = "/v1/chat/completions"

Message: TypeAlias = Mapping[str, Any]  # {"role": "user", "content": "…"}, as OpenAI has it


class GenerateSettings(TypedDict, total=False):
    """What may be said beside the messages. What is not said is the server's to choose."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop: str | Sequence[str]
    tools: Sequence[Json]
    tool_choice: str | Json
    response_format: Json
    extra: Json
    """Fields of the body that are not listed here."""
    priority: int
    """Of this request; higher matters more."""
    deadline_s: float
    """The longest that may be waited for the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Whom answers come from, and on whose behalf they are asked for."""

    model: str | None = None  # None: the server's default
    owner: str | None = None


# Who is meant by a model that the caller named, or did not.
Naming: TypeAlias = Callable[[str | None], Exchange[Speaker]]


def at_once(speaker: Speaker) -> Exchange[Speaker]:
    """Known without asking."""
    yield from ()
    return speaker


def prompt_messages(prompt: str, system: str | None) -> tuple[Message, ...]:
    said = {"role": "user", "content": prompt}
    return (said,) if system is None else ({"role": "system", "content": system}, said)


def chat_ask(
    messages: Sequence[Message],
    speaker: Speaker,
    settings: GenerateSettings,
    *,
    streamed: bool = False,
) -> Ask:
    fields: dict[str, Any] = {**settings}
    extra = fields.pop("extra", {})
    headers = {
        "X-Owner": speaker.owner,
        "X-Priority": fields.pop("priority", None),
        "X-Deadline-Seconds": fields.pop("deadline_s", None),
    }
    body: dict[str, Any] = {} if speaker.model is None else {"model": speaker.model}
    body |= {"messages": [dict(message) for message in messages]} | fields | dict(extra)
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return Ask(
        method="POST",
        path=CHAT,
        body=body,
        headers={name: str(value) for name, value in headers.items() if value is not None},
        timeout_s=GENERATION_S,
        streamed=streamed,
    )


def generating(
    messages: Sequence[Message],
    naming: Exchange[Speaker],
    settings: GenerateSettings,
    retries: Retries,
) -> Exchange[Generation]:
    speaker = yield from naming
    reply = yield from answered(chat_ask(messages, speaker, settings), retries)
    return understood(reply, lambda body: _whole(body, reply.headers))


def streaming(
    messages: Sequence[Message],
    naming: Exchange[Speaker],
    settings: GenerateSettings,
    retries: Retries,
) -> Exchange[Reply]:
    """The head of the answer; its events are the shell's to read."""
    speaker = yield from naming
    return (yield from answered(chat_ask(messages, speaker, settings, streamed=True), retries))


def _whole(body: Json, headers: Mapping[str, str]) -> Generation:
    choice = body["choices"][0]
    message = choice["message"]
    return Generation(
        text=message.get("content") or "",
        model=body.get("model") or "",
        finish_reason=choice.get("finish_reason"),
        reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
        tool_calls=tuple(message.get("tool_calls") or ()),
        raw=body,
        **_figures(body.get("usage") or {}, headers),
    )


def _figures(usage: Json, headers: Mapping[str, str]) -> dict[str, Any]:
    left = headers.get("x-evicted", "")
    return {
        "tokens_in": usage.get("prompt_tokens"),
        "tokens_out": usage.get("completion_tokens"),
        "waited_s": float(headers.get("x-waited-ms", 0)) / 1000,
        "evicted": tuple(name.strip() for name in left.split(",") if name.strip()),
    }


# --- in pieces -------------------------------------------------------------------------------


@dataclass(slots=True)
class Assembly:
    """Puts an answer together that comes in events."""

    headers: Mapping[str, str] = field(default_factory=dict)
    _texts: list[str] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list)
    _calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    _last: dict[str, Any] = field(default_factory=dict)
    _finish_reason: str | None = None
    _ended: bool = False

    def add(self, event: str) -> str:
        """The text that the event brings, often none. Raise what it reports, or NotUnderstood."""
        if event == "[DONE]":
            self._ended = True
            return ""
        try:
            chunk = json.loads(event)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            raise NotUnderstood("An event of the answer is not JSON.")
        if chunk.get("error"):
            raise _broken(chunk)
        return read_as(chunk, self._chunk)

    def finished(self) -> Generation:
        """The whole answer. Raise NotAnswered where its end is missing."""
        if not self._ended and self._finish_reason is None:
            raise NotAnswered("The answer broke off before its end.")
        return Generation(
            text="".join(self._texts),
            model=self._last.get("model") or "",
            finish_reason=self._finish_reason,
            reasoning="".join(self._thoughts),
            tool_calls=tuple(self._calls[index] for index in sorted(self._calls)),
            raw=self._last,
            **_figures(self._last.get("usage") or {}, self.headers),
        )

    def _chunk(self, chunk: Json) -> str:
        self._last |= {key: value for key, value in chunk.items() if value is not None}
        text = ""
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) != 0:
                continue
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            delta = choice.get("delta") or {}
            text += delta.get("content") or ""
            self._thoughts.append(delta.get("reasoning_content") or delta.get("reasoning") or "")
            for call in delta.get("tool_calls") or ():
                self._call(call)
        self._texts.append(text)
        return text

    def _call(self, part: Json) -> None:
        """A call's name comes once, its arguments in pieces of text."""
        call = self._calls.setdefault(part.get("index", 0), {"type": "function", "function": {}})
        call |= {key: part[key] for key in ("id", "type") if part.get(key)}
        function = call["function"]
        for key, value in (part.get("function") or {}).items():
            function[key] = function.get(key, "") + (value or "")


def _broken(chunk: Json) -> ClientError:
    """What a server says that fails after its answer has begun."""
    told = chunk["error"]
    inner = told if isinstance(told, dict) else {}
    status = chunk.get("status") or inner.get("code")
    return refused(status if isinstance(status, int) else 502, chunk)
