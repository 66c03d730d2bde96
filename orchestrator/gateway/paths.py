"""The table of endpoints: which paths are a model's, in whose manner, and where it is named."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

UPSTREAM = "/upstream/"


class Protocol(StrEnum):
    """Whose manner a request has: how errors and streams look to its client."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    LLAMA = "llama"  # llama.cpp's own routes; its errors are OpenAI's
    OLLAMA = "ollama"


class Task(StrEnum):
    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"
    IMAGES = "images"
    TOKENS = "tokens"  # counted, split or put together: no slot is taken
    LOOKUP = "lookup"  # which conversations can be gone on with: asked of all that are ready
    INFO = "info"  # what a server says of itself
    RAW = "raw"  # whatever its server makes of it


class NamedIn(StrEnum):
    BODY = "body"  # the member `model` of a JSON object
    FORM = "form"  # the field `model` of a form, or the member of a JSON object
    QUERY = "query"
    PATH = "path"
    CONVERSATION = "conversation"  # its id in the path or the query: the model that leads it
    RESPONSE = "response"  # the id in the path: the model that made it
    NOWHERE = "nowhere"


# Tasks that a server does in a slot of its own: as many at once as the model has.
IN_A_SLOT = frozenset(
    {Task.CHAT, Task.COMPLETION, Task.RESPONSES, Task.EMBEDDINGS, Task.RERANK, Task.TRANSCRIPTION}
    | {Task.SPEECH, Task.IMAGES}
)


@dataclass(frozen=True, slots=True)
class Call:
    """One way to ask a model for something."""

    task: Task
    protocol: Protocol = Protocol.OPENAI
    named_in: NamedIn = NamedIn.BODY

    @property
    def in_a_slot(self) -> bool:
        return self.task in IN_A_SLOT


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call, with what its path says."""

    call: Call
    path: str  # at the model's server
    model: str | None = None
    id: str | None = None  # of an answer that was given before


_OPENAI: Mapping[str, Call] = {
    "/chat/completions": Call(Task.CHAT),
    "/chat/completions/input_tokens": Call(Task.TOKENS),
    "/completions": Call(Task.COMPLETION),
    "/responses": Call(Task.RESPONSES),
    "/responses/input_tokens": Call(Task.TOKENS),
    "/embeddings": Call(Task.EMBEDDINGS),
    "/rerank": Call(Task.RERANK),
    "/reranking": Call(Task.RERANK),
    "/audio/transcriptions": Call(Task.TRANSCRIPTION, named_in=NamedIn.FORM),
    "/audio/translations": Call(Task.TRANSCRIPTION, named_in=NamedIn.FORM),
    "/audio/speech": Call(Task.SPEECH),
    "/images/generations": Call(Task.IMAGES),
    "/images/edits": Call(Task.IMAGES, named_in=NamedIn.FORM),
    "/images/variations": Call(Task.IMAGES, named_in=NamedIn.FORM),
    "/messages": Call(Task.CHAT, Protocol.ANTHROPIC),
    "/messages/count_tokens": Call(Task.TOKENS, Protocol.ANTHROPIC),
}
_LLAMA = Protocol.LLAMA
POSTS: Mapping[str, Call] = {
    **{f"/v1{path}": call for path, call in _OPENAI.items()},
    # As llama-server has them beside those.
    "/chat/completions": Call(Task.CHAT),
    "/completions": Call(Task.COMPLETION, _LLAMA),
    "/completion": Call(Task.COMPLETION, _LLAMA),
    "/infill": Call(Task.COMPLETION, _LLAMA),
    "/embeddings": Call(Task.EMBEDDINGS, _LLAMA),
    "/embedding": Call(Task.EMBEDDINGS, _LLAMA),
    "/rerank": Call(Task.RERANK, _LLAMA),
    "/reranking": Call(Task.RERANK, _LLAMA),
    "/tokenize": Call(Task.TOKENS, _LLAMA),
    "/detokenize": Call(Task.TOKENS, _LLAMA),
    "/apply-template": Call(Task.TOKENS, _LLAMA),
    "/v1/streams/lookup": Call(Task.LOOKUP, _LLAMA, NamedIn.NOWHERE),
}
_STREAM = Call(Task.INFO, _LLAMA, NamedIn.CONVERSATION)
GETS: Mapping[str, Call] = {
    "/props": Call(Task.INFO, _LLAMA, NamedIn.QUERY),
    "/slots": Call(Task.INFO, _LLAMA, NamedIn.QUERY),
    "/lora-adapters": Call(Task.INFO, _LLAMA, NamedIn.QUERY),
    "/v1/stream": _STREAM,
    "/v1/realtime": Call(Task.RAW, named_in=NamedIn.QUERY),
}
DELETES: Mapping[str, Call] = {"/v1/stream": _STREAM}
_BY_METHOD: Mapping[str, Mapping[str, Call]] = {
    "POST": POSTS,
    "GET": GETS,
    "HEAD": GETS,
    "DELETE": DELETES,
}
_RESPONSE = Call(Task.INFO, named_in=NamedIn.RESPONSE)
_RAW = Call(Task.RAW, _LLAMA, NamedIn.PATH)


def find(method: str, path: str) -> FoundCall | None:
    """The call of a request, by its path as it was sent; None if it is not for a model.

    What is passed on of the path is passed on as it was sent, too: decoded it might be no path.
    """
    calls = _BY_METHOD.get(method, {})
    decoded = unquote(path) if "%" in path and path not in calls else path
    if (call := calls.get(decoded)) is not None:
        return FoundCall(call, decoded)
    if _climbs(path):
        return None
    if path.startswith(UPSTREAM):
        model, slash, rest = path[len(UPSTREAM) :].partition("/")
        return FoundCall(_RAW, f"/{rest}", unquote(model)) if model and slash else None
    if path.startswith("/v1/stream/") and method in ("GET", "DELETE"):
        return FoundCall(_STREAM, path, id=unquote(path.removeprefix("/v1/stream/")))
    if path.startswith("/v1/responses/") and method in ("GET", "DELETE", "POST"):
        response, _, rest = path.removeprefix("/v1/responses/").partition("/")
        known = (method, rest) in (("GET", ""), ("DELETE", ""), ("POST", "cancel"))
        known |= (method, rest) == ("GET", "input_items")
        return FoundCall(_RESPONSE, path, id=unquote(response)) if response and known else None
    return None


def _climbs(path: str) -> bool:
    """Whether a server could take it for one above its own: its URL may lie below others'."""
    if "." not in path and "%" not in path:
        return False
    steps = unquote(path).replace("\\", "/").split("/")
    return any(step.partition(";")[0] in (".", "..") for step in steps)


def methods(path: str) -> tuple[str, ...]:
    """By which a path can be asked; none if it is not for a model."""
    return tuple(method for method, calls in _BY_METHOD.items() if path in calls)
