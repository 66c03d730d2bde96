"""What the stand-in server answers, and how long it takes: llama-server's routes, without a model.

An answer names the model and the process and repeats what was said last, so that a test can tell
who answered whom. It is sent one token at a time, and stops when the client leaves.
"""

import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.stand_in.http import Connection, Request

TOKENS_DEFAULT = 16  # where neither the request nor the server says how long
TOKENS_MAX = 1_000_000  # the longest answer that can be asked for: hours
SLOT_POLL_S = 0.02  # how soon a waiting request gets a slot that has come free
EMBEDDING_LENGTH = 8

Json = dict[str, Any]


class RequestRefused(Exception):
    """The request is answered with an error, in llama-server's words."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"error": {"code": status, "message": message, "type": kind}}


LOADING = RequestRefused(503, "unavailable_error", "Loading model")


@dataclass(slots=True)
class Counters:
    prompt_tokens: int = 0
    predicted_tokens: int = 0
    deferred: int = 0
    busy: set[int] = field(default_factory=set)


class Talk:
    """All answers. Slots and counters are shared by the threads of all clients."""

    def __init__(
        self, model: str, *, slots: int, context: int, tokens_per_s: float, max_tokens: int | None
    ) -> None:
        self.ready = threading.Event()
        self._model = model
        self._slots = slots
        self._context = context
        self._tokens_per_s = tokens_per_s
        self._max_tokens = max_tokens
        self._counters = Counters()
        self._lock = threading.Lock()

    def respond(self, connection: Connection, request: Request) -> None:
        """Answer one request. Raise RequestRefused for what is answered with an error."""
        if not self.ready.is_set():
            raise LOADING
        match request.method, request.path:
            case "GET", "/health" | "/v1/health":
                connection.answer(200, {"status": "ok"})
            case "GET", "/slots":
                connection.answer(200, self._slot_list())
            case "GET", "/metrics":
                connection.answer(200, self._metrics(), "text/plain; version=0.0.4")
            case "GET", "/v1/models" | "/models":
                connection.answer(200, self._models())
            case "POST", "/v1/chat/completions":
                order = _parse(request.body)
                self._say(connection, order, _last_message(order), is_chat=True)
            case "POST", "/v1/completions":
                order = _parse(request.body)
                self._say(connection, order, _text(order.get("prompt", "")), is_chat=False)
            case "POST", "/v1/embeddings":
                self._embed(connection, _parse(request.body))
            case _:
                raise RequestRefused(404, "not_found_error", "File Not Found")

    def _say(self, connection: Connection, order: Json, said: str, *, is_chat: bool) -> None:
        count = self._token_count(order)
        text = f"This is {self._model} (pid {os.getpid()}). You said: {said}"
        answer = _Answer(_origin(self._model), is_chat, len(said.split()), count)
        with self._slot(connection):
            self._count(prompt=answer.prompt_tokens)
            if order.get("stream") is True:
                connection.begin_stream()
                for token in self._tokens(connection, text, count):
                    connection.send_event(answer.chunk(token))
                options = order.get("stream_options")
                wants_usage = isinstance(options, dict) and options.get("include_usage") is True
                connection.send_event(answer.last_chunk(with_usage=wants_usage))
                connection.send_event("[DONE]")
                connection.end_stream()
                return
            whole = "".join(self._tokens(connection, text, count))
        connection.answer(200, answer.whole(whole))

    def _tokens(self, connection: Connection, text: str, count: int) -> Iterator[str]:
        """The text in `count` pieces, each at its time; words run out or come in one piece."""
        words = text.split(" ")
        began_s = time.monotonic()
        for index in range(count):
            due_s = (index + 1) / self._tokens_per_s if self._tokens_per_s > 0 else 0.0
            connection.wait(began_s + due_s - time.monotonic())
            self._count(predicted=1)
            mine = words[index:] if index == count - 1 else words[index : index + 1]
            yield " ".join(mine or ["la"]) + (" " if index < count - 1 else "")

    def _embed(self, connection: Connection, order: Json) -> None:
        texts = order.get("input", "")
        inputs = [_text(text) for text in texts] if isinstance(texts, list) else [_text(texts)]
        tokens = sum(len(text.split()) for text in inputs)
        with self._slot(connection):
            self._count(prompt=tokens)
        data = [
            {"object": "embedding", "index": index, "embedding": _embedding(text)}
            for index, text in enumerate(inputs)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        connection.answer(
            200, {"object": "list", "model": self._model, "data": data, "usage": usage}
        )

    @contextmanager
    def _slot(self, connection: Connection) -> Iterator[None]:
        """Hold one of the slots; wait for it as long as the client does."""
        slot = self._take_slot()
        if slot is None:
            self._count(deferred=1)
            try:
                while slot is None:
                    connection.wait(SLOT_POLL_S)
                    slot = self._take_slot()
            finally:
                self._count(deferred=-1)
        try:
            yield
        finally:
            with self._lock:
                self._counters.busy.discard(slot)

    def _take_slot(self) -> int | None:
        with self._lock:
            busy = self._counters.busy
            slot = next((slot for slot in range(self._slots) if slot not in busy), None)
            if slot is not None:
                busy.add(slot)
            return slot

    def _count(self, *, prompt: int = 0, predicted: int = 0, deferred: int = 0) -> None:
        with self._lock:
            self._counters.prompt_tokens += prompt
            self._counters.predicted_tokens += predicted
            self._counters.deferred += deferred

    def _token_count(self, order: Json) -> int:
        for name in ("max_completion_tokens", "max_tokens", "n_predict"):
            wanted = order.get(name)
            if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted > 0:
                return min(wanted, TOKENS_MAX)
        return self._max_tokens or TOKENS_DEFAULT

    def _slot_list(self) -> list[Json]:
        with self._lock:
            busy = frozenset(self._counters.busy)
        return [
            {"id": slot, "n_ctx": self._context, "is_processing": slot in busy}
            for slot in range(self._slots)
        ]

    def _metrics(self) -> str:
        with self._lock:
            samples = {
                "prompt_tokens_total": ("counter", self._counters.prompt_tokens),
                "tokens_predicted_total": ("counter", self._counters.predicted_tokens),
                "requests_processing": ("gauge", len(self._counters.busy)),
                "requests_deferred": ("gauge", self._counters.deferred),
            }
        return "".join(
            f"# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}\n"
            for name, (kind, value) in samples.items()
        )

    def _models(self) -> Json:
        meta = {"n_ctx": self._context}
        entry = {"id": self._model, "object": "model", "owned_by": "llamacpp", "meta": meta}
        return {"object": "list", "data": [entry]}


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer in the shape of a chat or of a plain completion, whole or in chunks."""

    origin: Json
    is_chat: bool
    prompt_tokens: int
    predicted_tokens: int

    def whole(self, text: str) -> Json:
        said: Json = {"message": {"role": "assistant", "content": text}}
        return self._frame("", said if self.is_chat else {"text": text}, "stop") | self._usage()

    def chunk(self, text: str) -> Json:
        said: Json = {"delta": {"role": "assistant", "content": text}}
        return self._frame(".chunk", said if self.is_chat else {"text": text}, None)

    def last_chunk(self, *, with_usage: bool) -> Json:
        frame = self._frame(".chunk", {"delta": {}} if self.is_chat else {"text": ""}, "stop")
        return frame | self._usage() if with_usage else frame

    def _frame(self, chunk: str, said: Json, finish_reason: str | None) -> Json:
        kind = f"chat.completion{chunk}" if self.is_chat else "text_completion"
        choice = {"index": 0, "finish_reason": finish_reason, **said}
        return {"object": kind, **self.origin, "choices": [choice]}

    def _usage(self) -> Json:
        usage = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.predicted_tokens,
            "total_tokens": self.prompt_tokens + self.predicted_tokens,
        }
        return {"usage": usage}


def _origin(model: str) -> Json:
    """The same in every chunk of one answer."""
    return {
        "id": f"cmpl-{os.getpid()}-{time.monotonic_ns()}",
        "model": model,
        "created": int(time.time()),
    }


def _parse(body: bytes) -> Json:
    try:
        order = json.loads(body)
    except ValueError as error:
        raise RequestRefused(
            400, "invalid_request_error", f"the body is not JSON: {error}"
        ) from error
    if not isinstance(order, dict):
        raise RequestRefused(400, "invalid_request_error", "the body is not a JSON object")
    return order


def _last_message(order: Json) -> str:
    messages = order.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        raise RequestRefused(
            400, "invalid_request_error", "'messages' must hold at least one message"
        )
    return _text(messages[-1].get("content", ""))


def _text(content: object) -> str:
    """Words as they are; the words among the parts of a message; anything else as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return " ".join(str(part.get("text", "")) for part in content)
    return json.dumps(content)


def _embedding(text: str) -> list[float]:
    """The same words, the same vector."""
    return [
        zlib.crc32(f"{index}:{text}".encode()) / 0xFFFFFFFF for index in range(EMBEDDING_LENGTH)
    ]
