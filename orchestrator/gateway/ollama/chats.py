"""/api/chat, and /api/generate where it is one question: as an OpenAI chat."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.gateway.ollama.requests import CalledTool, ChatMessage, invalid
from orchestrator.web.wire.error_answers import Answered

# How base64 begins, for what llama.cpp can open. The type is a claim that its decoder ignores.
_BEGINNINGS = {
    "/9j/": "image/jpeg",
    "iVBORw0KGgo": "image/png",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "Qk": "image/bmp",
}
_IMAGE = "image/png"
THINK_LEVELS = ("low", "medium", "high")

Json = dict[str, Any]


def messages_of(said: Sequence[ChatMessage]) -> list[Json]:
    """As OpenAI has them: calls of tools have ids there, and their results name them."""
    open_calls: deque[tuple[str, str]] = deque()  # (id, tool), of calls without a result so far
    return [_message(message, number, open_calls) for number, message in enumerate(said)]


def question(prompt: str, system: str | None, images: Sequence[str] | None) -> list[Json]:
    """A prompt as a chat of one turn."""
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": _content(prompt, images)}]


def thinking(think: bool | str | None, messages: Sequence[Json]) -> Json:
    """What turns a model's thinking on or off, in the words of its template."""
    if think is None:
        # llama.cpp goes on with an answer that was begun only where the model does not think first.
        begun = bool(messages) and messages[-1]["role"] == "assistant"
        return {"chat_template_kwargs": {"enable_thinking": False}} if begun else {}
    if isinstance(think, bool):
        return {"chat_template_kwargs": {"enable_thinking": think}}
    if think not in THINK_LEVELS:
        levels = ", ".join(THINK_LEVELS)
        raise Answered(invalid(f"think should be true, false, or one of {levels}."))
    return {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": think}}


def answer_format(wanted: Mapping[str, Any] | str | None) -> Json:
    """`json`, or a schema that the answer keeps to. Raise Answered for anything else."""
    match wanted:
        case None | "":
            return {}
        case "json":
            # An object, as Ollama promises: without a schema llama.cpp takes any value of JSON.
            return {"response_format": {"type": "json_object", "schema": {"type": "object"}}}
        case str():
            raise Answered(invalid('format should be "json" or a JSON schema.'))
        case _:
            schema = {"name": "answer", "strict": True, "schema": wanted}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}


def likelihoods(logprobs: bool | None, top_logprobs: int | None) -> Json:
    """How sure the model is of each token; asking for the runners-up asks for it too."""
    if not logprobs and not top_logprobs:
        return {}
    return {"logprobs": True, "top_logprobs": top_logprobs or 0}


def _message(message: ChatMessage, number: int, open_calls: deque[tuple[str, str]]) -> Json:
    text = message.content or ""
    match message.role:
        case "tool":
            return {"role": "tool", "content": text, **_answers(message, open_calls)}
        case "assistant" if message.tool_calls:
            calls = list(_calls(message.tool_calls, number))
            open_calls.clear()
            open_calls.extend((call["id"], call["function"]["name"]) for call in calls)
            said: Json = {"role": "assistant", "content": text, "tool_calls": calls}
        case role:
            said = {"role": role, "content": _content(text, message.images)}
    if message.thinking:
        said["reasoning_content"] = message.thinking
    return said


def _content(text: str, images: Sequence[str] | None) -> str | list[Json]:
    if not images:
        return text
    pictures = [{"type": "image_url", "image_url": {"url": _url(image)}} for image in images]
    return [*([{"type": "text", "text": text}] if text else []), *pictures]


def _url(image: str) -> str:
    """What Ollama takes is base64; what some clients send is a data URL already."""
    if image.startswith("data:"):
        return image
    if not image or "://" in image[:16]:
        raise Answered(invalid("images should hold pictures as base64, not addresses."))
    kinds = (kind for beginning, kind in _BEGINNINGS.items() if image.startswith(beginning))
    return f"data:{next(kinds, _IMAGE)};base64,{image}"


def _calls(calls: Sequence[CalledTool], number: int) -> Iterator[Json]:
    for index, call in enumerate(calls):
        arguments = call.function.arguments
        text = arguments if isinstance(arguments, str) else _compact(arguments or {})
        yield {
            "id": call.id or f"call_{number}_{index}",
            "type": "function",
            "function": {"name": call.function.name, "arguments": text or "{}"},
        }


def _answers(message: ChatMessage, open_calls: deque[tuple[str, str]]) -> Json:
    """Which call it is the result of: by its id, by the tool's name, or the next in order.

    Home Assistant says neither.
    """
    wanted = message.tool_call_id
    named = message.tool_name
    found = next(
        (call for call in open_calls if wanted == call[0] or (not wanted and named == call[1])),
        None,
    )
    if found is None and open_calls and not wanted:
        found = open_calls[0]
    if found is not None:
        open_calls.remove(found)
    call_id, tool = found or (wanted or "call_0_0", named)
    return {"tool_call_id": call_id, **({"name": named or tool} if named or tool else {})}


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
