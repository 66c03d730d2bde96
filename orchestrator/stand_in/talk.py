"""What the stand-in server answers, and how long it takes: llama-server's routes, without a model.

An answer names the model and the process and repeats what was said last, so that a test can tell
who answered whom. It is sent one token at a time, and stops when the client leaves.
"""

import json
import math
import os
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.stand_in.answers import AnswerForm, ToolCall, thought, tool_call
from orchestrator.stand_in.http import Connection, Request

TOKENS_DEFAULT = 16  # where neither the request nor the server says how long
TOKENS_MAX = 1_000_000  # the longest answer that can be asked for: hours
SLOT_POLL_S = 0.02  # how soon a waiting request gets a slot that has come free
EMBEDDING_LENGTH = 8
TOO_LARGE = "input ({} tokens) is too large to process. increase the physical batch size"

Json = dict[str, Any]


class RequestRefused(Exception):
    """The request is answered with an error, in llama-server's words."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"error": {"code": status, "message": message, "type": kind}}


LOADING = RequestRefused(503, "unavailable_error", "Loading model")


OPEN_PATHS = frozenset({"/health", "/v1/health", "/v1/models", "/models"})  # as llama-server's


@dataclass(slots=True)
class Counters:
    prompt_tokens: int = 0
    predicted_tokens: int = 0
    deferred: int = 0
    busy: set[int] = field(default_factory=set)


class Talk:
    """All answers. Slots and counters are shared by the threads of all clients."""

    def __init__(
        self,
        model: str,
        *,
        slots: int,
        context: int,
        tokens_per_s: float,
        max_tokens: int | None,
        keys: Iterable[str] = (),
    ) -> None:
        self.ready = threading.Event()
        self._model = model
        self._slots = slots
        self._context = context
        self._tokens_per_s = tokens_per_s
        self._keys = frozenset(keys)
        self._max_tokens = max_tokens
        self._counters = Counters()
        self._lock = threading.Lock()

    def respond(self, connection: Connection, request: Request) -> None:
        """Answer one request. Raise RequestRefused for what is answered with an error."""
        if self._keys and request.path not in OPEN_PATHS:
            _, _, key = request.headers.get("authorization", "").partition(" ")
            if key not in self._keys:
                raise RequestRefused(401, "authentication_error", "Invalid API Key")
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
                self._chat(connection, _parse(request.body))
            case "POST", "/v1/completions":
                order = _parse(request.body)
                self._say(connection, order, _text(order.get("prompt", "")))
            case "POST", "/infill":
                order = _parse(request.body)
                said = f"{order.get('input_prefix', '')}…{order.get('input_suffix', '')}"
                self._say(connection, order, said, is_native=True)
            case "POST", "/v1/embeddings":
                self._embed(connection, _parse(request.body))
            case "POST", "/apply-template":
                connection.answer(200, {"prompt": _prompt(_parse(request.body))})
            case "POST", "/tokenize":
                words = _words(_parse(request.body).get("content", ""))
                connection.answer(200, {"tokens": words})
            case _:
                raise RequestRefused(404, "not_found_error", "File Not Found")

    def _chat(self, connection: Connection, order: Json) -> None:
        said = _last_message(order)
        self._say(connection, order, said, is_chat=True, call=tool_call(order, said))

    def _say(
        self,
        connection: Connection,
        order: Json,
        said: str,
        *,
        is_chat: bool = False,
        is_native: bool = False,
        call: ToolCall | None = None,
    ) -> None:
        count = self._token_count(order)
        text = f"This is {self._model} (pid {os.getpid()}). You said: {said}"
        with self._slot(connection):
            answer = AnswerForm(
                model=self._model,
                is_chat=is_chat,
                is_native=is_native,
                prompt_tokens=len(said.split()),
                predicted_tokens=count,
                began_s=time.monotonic(),
                thought=thought(order) if is_chat else "",
                call=call,
            )
            self._count(prompt=answer.prompt_tokens)
            if order.get("stream") is True:
                self._stream(connection, order, answer, text)
                return
            whole = "".join(self._tokens(connection, text, count))
        connection.answer(200, answer.whole(whole))

    def _stream(self, connection: Connection, order: Json, answer: AnswerForm, text: str) -> None:
        connection.begin_stream()
        for chunk in answer.first_chunks():
            connection.send_event(chunk)
        for token in self._tokens(connection, text, answer.predicted_tokens):
            if answer.call is None:
                connection.send_event(answer.chunk(token))
        options = order.get("stream_options")
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        connection.send_event(answer.last_chunk(with_usage=wants_usage))
        if not answer.is_native:
            connection.send_event("[DONE]")
        connection.end_stream()

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
        inputs = [_words(text) for text in (texts if isinstance(texts, list) else [texts])]
        longest = max(map(len, inputs), default=0)
        if longest > self._context:
            raise RequestRefused(500, "server_error", TOO_LARGE.format(longest))
        tokens = sum(map(len, inputs))
        with self._slot(connection):
            self._count(prompt=tokens)
        data = [
            {"object": "embedding", "index": index, "embedding": _embedding(words)}
            for index, words in enumerate(inputs)
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


def _messages(order: Json) -> list[Json]:
    messages = order.get("messages")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        messages = []
    if not messages:
        raise RequestRefused(
            400, "invalid_request_error", "'messages' must hold at least one message"
        )
    return messages


def _last_message(order: Json) -> str:
    return _text(_messages(order)[-1].get("content", ""))


def _prompt(order: Json) -> str:
    """Every message on a line of its own, its role in front."""
    return "\n".join(
        f"<{message.get('role')}> {_text(message.get('content', ''))}"
        for message in _messages(order)
    )


def _words(text: object) -> list[int]:
    """A word is a token; tokens may come as they are."""
    if isinstance(text, list) and all(isinstance(token, int) for token in text):
        return text
    return [zlib.crc32(word.encode()) & 0xFFFF for word in _text(text).split()]


def _text(content: object) -> str:
    """Words as they are; the words among the parts of a message; anything else as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return " ".join(_part(part) for part in content)
    return json.dumps(content)


def _part(part: Json) -> str:
    """A picture is as good as what it claims to be."""
    picture = part.get("image_url")
    if isinstance(picture, dict):
        return f"[{str(picture.get('url', '')).partition(';')[0].removeprefix('data:')}]"
    return str(part.get("text", ""))


def _embedding(words: list[int]) -> list[float]:
    """The same words, the same vector, of length one."""
    vector = [zlib.crc32(f"{index}:{words}".encode()) for index in range(EMBEDDING_LENGTH)]
    length = math.hypot(*vector)
    return [number / length for number in vector]
