"""The table of Ollama's paths: what is asked of a model, and what of the daemon itself."""

from collections.abc import Iterable, Mapping

from orchestrator.gateway.paths import Call, FoundCall, Protocol, Task

CHAT, GENERATE, EMBED, EMBEDDINGS, PULL = (
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/api/pull",
)
TAGS, PS, SHOW, VERSION, DELETE, ROOT = (
    "/api/tags",
    "/api/ps",
    "/api/show",
    "/api/version",
    "/api/delete",
    "/",
)
_INFO = Call(Task.INFO, Protocol.OLLAMA)
CALLS: Mapping[tuple[str, str], Call] = {
    ("POST", CHAT): Call(Task.CHAT, Protocol.OLLAMA),
    ("POST", GENERATE): Call(Task.COMPLETION, Protocol.OLLAMA),
    ("POST", EMBED): Call(Task.EMBEDDINGS, Protocol.OLLAMA),
    ("POST", EMBEDDINGS): Call(Task.EMBEDDINGS, Protocol.OLLAMA),
    ("POST", PULL): _INFO,
    ("POST", SHOW): _INFO,
    ("DELETE", DELETE): _INFO,
    **{(method, path): _INFO for method in ("GET", "HEAD") for path in (TAGS, PS, VERSION, ROOT)},
}
# Others of Ollama's that change what its own store holds.
NOT_HERE = frozenset({"/api/create", "/api/copy", "/api/push"})


def find(method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> FoundCall | None:
    """None if it is not Ollama's: so is the root for those who ask for a page."""
    call = CALLS.get((method, path)) or (_INFO if path in NOT_HERE else None)
    if call is None or (path == ROOT and method == "GET" and _wants_page(headers)):
        return None
    return FoundCall(call, path)


def _wants_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(b"text/html" in value for name, value in headers if name == b"accept")
