"""A model's answer as Ollama's clients read it: an object to a line, the last one with figures."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.gateway.ollama.pieces import CallPart, Piece, Spent
from orchestrator.records import Usage
from orchestrator.web.wire.error_answers import encode

CALLS_MAX = 128  # of tools, in one answer
_LINE_ENDS = {end.encode(): f"\\u{ord(end):04x}".encode() for end in "\x85\u2028\u2029"}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Instants of one answer on a clock that never steps back, in seconds."""

    asked_s: float
    ready_s: float  # the model was: what came before is the load
    first_s: float  # something of the answer was here
    ended_s: float


@dataclass(frozen=True, slots=True)
class Dress:
    """How the two routes name what was said."""

    model: str  # as the client called it
    is_chat: bool

    def line(self, created_at: str, **said: Any) -> Json:
        """One object, without its figures."""
        text, thought, calls = said.get("text", ""), said.get("thought"), said.get("calls")
        frame = {"model": self.model, "created_at": created_at}
        if self.is_chat:
            message: Json = {"role": "assistant", "content": text}
            if thought:
                message["thinking"] = thought
            if calls:
                message["tool_calls"] = calls
            return {**frame, "message": message}
        return {**frame, "response": text, **({"thinking": thought} if thought else {})}


class Speech:
    """Takes the pieces of one answer in, and gives out lines, or in the end the whole of it."""

    def __init__(self, dress: Dress) -> None:
        self._dress = dress
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._likelihoods: list[Mapping[str, Any]] = []
        self._coming: dict[int, CallPart] = {}  # calls whose arguments may not be whole yet
        self._calls: list[Json] = []
        self._finish: str | None = None
        self._spent = Spent()

    @property
    def ended(self) -> bool:
        """The server has said why it ended: an answer without that was cut off."""
        return self._finish is not None

    @property
    def usage(self) -> Usage:
        """For the history of requests."""
        tokens, spent_ns = self._spent.answer_tokens, self._spent.answer_ns
        speed = None if tokens is None or not spent_ns else tokens / spent_ns * 1e9
        return Usage(self._spent.prompt_tokens, tokens, speed)

    def hear(self, piece: Piece, created_at: str) -> Iterator[Json]:
        """What of it can be said at once, for who listens to the stream."""
        self._finish = piece.finish or self._finish
        self._spent = piece.spent.over(self._spent)
        ready = list(self._whole_calls(piece))
        if piece.says or ready:
            line = self._dress.line(created_at, text=piece.text, thought=piece.thought, calls=ready)
            likelihoods = {"logprobs": list(piece.likelihoods)} if piece.likelihoods else {}
            yield {**line, "done": False, **likelihoods}

    def keep(self, piece: Piece) -> None:
        """For who wants the whole of it in the end."""
        self._texts.append(piece.text)
        self._thoughts.append(piece.thought)
        self._likelihoods += piece.likelihoods
        for _ in self.hear(piece, ""):
            pass

    def last(self, times: Times, created_at: str) -> Iterator[Json]:
        """The end of a stream: calls that are whole only now, and the figures."""
        if left := list(self._close_calls()):
            yield {**self._dress.line(created_at, calls=left), "done": False}
        yield {**self._dress.line(created_at), **self._figures(times)}

    def whole(self, times: Times, created_at: str) -> Json:
        list(self._close_calls())
        said = self._dress.line(
            created_at,
            text="".join(self._texts),
            thought="".join(self._thoughts),
            calls=self._calls,
        )
        likelihoods = {"logprobs": self._likelihoods} if self._likelihoods else {}
        return {**said, **self._figures(times), **likelihoods}

    def _figures(self, times: Times) -> Json:
        spent = self._spent
        read_ns, answer_ns = spent.prompt_ns, spent.answer_ns
        if read_ns is None:  # a server that does not tell: as it was seen from here
            read_ns = _nanoseconds(times.first_s - times.ready_s)
        if answer_ns is None:
            answer_ns = _nanoseconds(times.ended_s - times.first_s)
        return {
            "done": True,
            "done_reason": self._finish or "stop",
            "total_duration": _nanoseconds(times.ended_s - times.asked_s),
            "load_duration": _nanoseconds(times.ready_s - times.asked_s),
            "prompt_eval_count": spent.prompt_tokens or 0,
            "prompt_eval_duration": read_ns,
            "eval_count": spent.answer_tokens or 0,
            "eval_duration": max(answer_ns, 1),  # clients divide by it
        }

    def _whole_calls(self, piece: Piece) -> Iterator[Json]:
        for part in piece.calls:
            known = self._coming.get(part.index)
            if known is None:
                yield from self._close_calls()  # another one begins
                if len(self._calls) < CALLS_MAX:
                    self._coming[part.index] = part
                continue
            self._coming[part.index] = replace(
                known,
                id=known.id or part.id,
                name=known.name or part.name,
                arguments=known.arguments + part.arguments,
            )

    def _close_calls(self) -> Iterator[Json]:
        coming, self._coming = self._coming, {}
        for call in coming.values():
            function = {
                "index": len(self._calls),
                "name": call.name,
                "arguments": _arguments(call.arguments),
            }
            self._calls.append({**({"id": call.id} if call.id else {}), "function": function})
            yield self._calls[-1]


def only_model(dress: Dress, reason: str, created_at: str) -> Json:
    """The answer where nothing was asked: the model was loaded, or let go."""
    return {**dress.line(created_at), "done": True, "done_reason": reason}


def ndjson(line: Mapping[str, Any]) -> bytes:
    """One line of it; Ollama's client in Python sees ends of lines where JSON has none."""
    text = encode(line)
    for end, escaped in _LINE_ENDS.items():
        text = text.replace(end, escaped)
    return text + b"\n"


def _arguments(text: str) -> Mapping[str, Any]:
    """Objects there, text in OpenAI's form. What an answer that was cut off left of them is shown:
    a client that is given nothing could not tell.
    """
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        return {"unfinished": text}
    return arguments if isinstance(arguments, dict) else {"value": arguments}


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))
