"""The forms of an answer: a chat's, a completion's, llama.cpp's own; whole or in chunks."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

THOUGHT = "I repeat what was said."  # of a chat that is to think before it answers

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """What a chat with tools is answered with, until a tool has answered."""

    name: str
    arguments: str

    def parts(self) -> Iterator[Json]:
        """As llama-server streams it: the name first, its arguments after it, in pieces."""
        half = len(self.arguments) // 2
        head = {"name": self.name, "arguments": ""}
        yield {"index": 0, "id": f"call_{os.getpid()}", "type": "function", "function": head}
        for piece in (self.arguments[:half], self.arguments[half:]):
            yield {"index": 0, "function": {"arguments": piece}}

    def whole(self) -> Json:
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": f"call_{os.getpid()}", "type": "function", "function": function}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerForm:
    """One answer of a model, in the shape of its route."""

    model: str
    is_chat: bool
    is_native: bool = False  # llama.cpp's own
    prompt_tokens: int
    predicted_tokens: int
    began_s: float
    thought: str = ""
    call: ToolCall | None = None

    def whole(self, text: str) -> Json:
        if self.is_native:
            return self._native(text, stop=True)
        said: Json = {"role": "assistant", "content": None if self.call else text}
        if self.thought:
            said["reasoning_content"] = self.thought
        if self.call:
            said["tool_calls"] = [self.call.whole()]
        shown = {"message": said} if self.is_chat else {"text": text}
        return self._frame("", shown, self._finish) | self._usage() | self._timings()

    def first_chunks(self) -> Iterator[Json]:
        """What comes before the words, or in their place."""
        if self.thought:
            yield self._delta(reasoning_content=self.thought)
        if self.call is not None:
            for part in self.call.parts():
                yield self._delta(tool_calls=[part])

    def chunk(self, text: str) -> Json:
        if self.is_native:
            return self._native(text, stop=False)
        if self.is_chat:
            return self._delta(role="assistant", content=text)
        return self._frame(".chunk", {"text": text}, None)

    def last_chunk(self, *, with_usage: bool) -> Json:
        if self.is_native:
            return self._native("", stop=True)
        shown: Json = {"delta": {}} if self.is_chat else {"text": ""}
        frame = self._frame(".chunk", shown, self._finish) | self._timings()
        return frame | self._usage() if with_usage else frame

    @property
    def _finish(self) -> str:
        return "tool_calls" if self.call else "stop"

    def _delta(self, **said: object) -> Json:
        return self._frame(".chunk", {"delta": said}, None)

    def _frame(self, chunk: str, said: Json, finish_reason: str | None) -> Json:
        kind = f"chat.completion{chunk}" if self.is_chat else "text_completion"
        choice = {"index": 0, "finish_reason": finish_reason, **said}
        origin = {
            "id": f"cmpl-{os.getpid()}-{self.began_s:.6f}",
            "model": self.model,
            "created": int(time.time()),
        }
        return {"object": kind, **origin, "choices": [choice]}

    def _native(self, text: str, *, stop: bool) -> Json:
        said: Json = {"content": text, "stop": stop}
        if not stop:
            return said
        counts = {
            "stop_type": "eos",
            "tokens_evaluated": self.prompt_tokens,
            "tokens_predicted": self.predicted_tokens,
        }
        return said | counts | self._timings()

    def _usage(self) -> Json:
        usage = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.predicted_tokens,
            "total_tokens": self.prompt_tokens + self.predicted_tokens,
        }
        return {"usage": usage}

    def _timings(self) -> Json:
        timings = {
            "cache_n": 0,
            "prompt_n": self.prompt_tokens,
            "prompt_ms": 1.0,
            "predicted_n": self.predicted_tokens,
            "predicted_ms": (time.monotonic() - self.began_s) * 1000,
        }
        return {"timings": timings}


def tool_call(order: Json, said: str) -> ToolCall | None:
    """The first tool, with what was said for each of its parameters, until a tool has answered."""
    tools, messages = order.get("tools"), order.get("messages")
    if not tools or not messages or messages[-1].get("role") == "tool":
        return None
    function = tools[0].get("function", {})
    properties = (function.get("parameters") or {}).get("properties") or {}
    arguments = json.dumps(dict.fromkeys(properties, said))
    return ToolCall(name=function.get("name", ""), arguments=arguments)


def thought(order: Json) -> str:
    kwargs = order.get("chat_template_kwargs")
    thinks = isinstance(kwargs, dict) and kwargs.get("enable_thinking") is True
    return THOUGHT if thinks else ""
