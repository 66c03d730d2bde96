"""The table of Ollama's paths: what is asked of a model, and what of the daemon itself."""

from collections.abc import Iterable, Mapping

from orchestrator.access.keys.record import KeyScope
from orchestrator.gateway.paths import Call, FoundCall, Protocol, Task
from orchestrator.web.gate import ANY_KEY, PUBLIC, Rule

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
# Who brings a file, or takes a model out, changes what is there for everybody.
_SCOPES: Mapping[str, KeyScope] = {
    **dict.fromkeys((CHAT, GENERATE, EMBED, EMBEDDINGS), KeyScope.USE),
    **dict.fromkeys((TAGS, PS, SHOW, VERSION), KeyScope.READ),
    **dict.fromkeys((PULL, DELETE), KeyScope.ADMIN),
}
# Others of Ollama's that change what its own store holds.
NOT_HERE = frozenset({"/api/create", "/api/copy", "/api/push"})


def rule_for(path: str) -> Rule:
    """What a path asks of its caller. The root says only that there is somebody."""
    if path == ROOT:
        return PUBLIC
    if path in NOT_HERE:
        return ANY_KEY
    return Rule(_SCOPES[path], counted=path not in (PS, VERSION))


def find(method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> FoundCall | None:
    """None if it is not Ollama's: so is the root for those who ask for a page."""
    call = CALLS.get((method, path)) or (_INFO if path in NOT_HERE else None)
    if call is None or (path == ROOT and method == "GET" and _wants_page(headers)):
        return None
    return FoundCall(call, path)


def _wants_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(b"text/html" in value for name, value in headers if name == b"accept")
