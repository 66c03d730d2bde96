"""The paths of models, as the OpenAPI document shows them.

What a body may hold and what is answered is the matter of the model's server; said here is what the
gateway itself reads.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.gateway.ollama.paths import CALLS as OLLAMA_CALLS
from orchestrator.gateway.paths import DELETES, GETS, POSTS, Call, NamedIn, Protocol, Task

TAGS: Mapping[Protocol, str] = {
    Protocol.OPENAI: "OpenAI",
    Protocol.ANTHROPIC: "Anthropic",
    Protocol.LLAMA: "llama.cpp",
    Protocol.OLLAMA: "Ollama",
}
SUMMARIES: Mapping[Task, str] = {
    Task.CHAT: "Chat",
    Task.COMPLETION: "Go on with a text",
    Task.RESPONSES: "Chat, with answers that can be asked on",
    Task.EMBEDDINGS: "Embed texts",
    Task.RERANK: "Sort documents by a question",
    Task.TRANSCRIPTION: "Write down what is said",
    Task.SPEECH: "Say a text",
    Task.IMAGES: "Make a picture",
    Task.TOKENS: "Count or split tokens",
    Task.LOOKUP: "Which conversations can be gone on with",
    Task.INFO: "What a server says of itself",
    Task.RAW: "Whatever its server makes of it",
}
OLLAMA_SUMMARIES: Mapping[str, str] = {
    "/api/pull": "Bring a model from its hub",
    "/api/show": "What a model can do",
    "/api/delete": "Delete a model",
    "/api/tags": "The models there are",
    "/api/ps": "The models that are loaded",
    "/api/version": "The version that clients look for",
    "/": "Whether something is here",
}
MESSAGES = [{"role": "user", "content": "Hello"}]
EXAMPLES: Mapping[Task, Mapping[str, object]] = {
    Task.CHAT: {"messages": MESSAGES, "max_tokens": 100},
    Task.COMPLETION: {"prompt": "Once upon a time", "max_tokens": 20},
    Task.RESPONSES: {"input": "Hello"},
    Task.EMBEDDINGS: {"input": ["one text", "another"]},
    Task.RERANK: {"query": "fruit", "documents": ["an apple", "a car"]},
    Task.TOKENS: {"messages": MESSAGES},
}
MODEL = {
    "type": "string",
    "description": "A name or an alias, task:KIND, or a chain. Without one gateway.default_model.",
}
HEADERS: Mapping[str, str] = {
    "X-Priority": "Higher matters more; else the model's own.",
    "X-Deadline-Seconds": "How long it may wait for its model.",
    "X-Owner": "Whose request it is, for GET /requests.",
}
OF_A_RESPONSE = "/v1/responses/{response_id}"
OTHERS: tuple[tuple[str, str, Call], ...] = (
    ("get", OF_A_RESPONSE, Call(Task.INFO, named_in=NamedIn.RESPONSE)),
    ("delete", OF_A_RESPONSE, Call(Task.INFO, named_in=NamedIn.RESPONSE)),
    ("post", f"{OF_A_RESPONSE}/cancel", Call(Task.INFO, named_in=NamedIn.RESPONSE)),
    ("get", f"{OF_A_RESPONSE}/input_items", Call(Task.INFO, named_in=NamedIn.RESPONSE)),
    ("get", "/v1/stream/{conversation}", Call(Task.INFO, Protocol.LLAMA, NamedIn.CONVERSATION)),
    ("delete", "/v1/stream/{conversation}", Call(Task.INFO, Protocol.LLAMA, NamedIn.CONVERSATION)),
    ("get", "/upstream/{model}/{path}", Call(Task.RAW, Protocol.LLAMA, NamedIn.PATH)),
    ("post", "/upstream/{model}/{path}", Call(Task.RAW, Protocol.LLAMA, NamedIn.PATH)),
)


def calls() -> Iterator[tuple[str, str, Call]]:
    """Every method and path that is a model's, in the order in which they are shown."""
    for method, table in (("post", POSTS), ("get", GETS), ("delete", DELETES)):
        yield from ((method, path, call) for path, call in table.items())
    yield from OTHERS
    for (method, path), call in OLLAMA_CALLS.items():
        if method != "HEAD":
            yield method.lower(), path, call


def described() -> dict[str, dict[str, Any]]:
    """The `paths` of an OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, call in calls():
        paths.setdefault(path, {})[method] = _operation(method, path, call)
    return paths


def _operation(method: str, path: str, call: Call) -> dict[str, Any]:
    summary = OLLAMA_SUMMARIES.get(path) or SUMMARIES[call.task]
    operation: dict[str, Any] = {
        "tags": [TAGS[call.protocol]],
        "summary": summary,
        "operationId": f"{method}_{path}".replace("/", "_").replace("{", "").replace("}", ""),
        "parameters": [*_named(path, call), *_headers(call)],
        "responses": {
            "200": {
                "description": "What the model's server says, byte for byte",
                "content": {"application/json": {"schema": {}}},
            },
            "default": {
                "description": "Why not, in the form of the protocol, with our code and remedy",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
        },
    }
    if method == "post":
        operation["requestBody"] = {"content": _body(call)}
    return operation


def _named(path: str, call: Call) -> Iterator[dict[str, Any]]:
    for part in path.split("/"):
        if part.startswith("{"):
            yield _parameter(part.strip("{}"), "path", {"type": "string"}, required=True)
    if call.named_in is NamedIn.QUERY:
        yield _parameter("model", "query", MODEL)


def _headers(call: Call) -> Iterator[dict[str, Any]]:
    if call.task is not Task.INFO:
        for name, meaning in HEADERS.items():
            yield _parameter(name, "header", {"type": "string", "description": meaning})


def _parameter(
    name: str, where: str, schema: Mapping[str, object], *, required: bool = False
) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": schema}


def _body(call: Call) -> dict[str, Any]:
    properties = {"model": MODEL} if call.named_in in (NamedIn.BODY, NamedIn.FORM) else {}
    schema = {"type": "object", "additionalProperties": True, "properties": properties}
    example = {"model": "qwen3-8b", **EXAMPLES.get(call.task, {})} if properties else {}
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": example}}
    if call.named_in is NamedIn.FORM:
        content["multipart/form-data"] = {"schema": schema}
    return content
