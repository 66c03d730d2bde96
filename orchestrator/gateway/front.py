"""The one application that is served: requests for models go to the relay, others to the web."""

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.access.audit.log import Audit
from orchestrator.gateway.ollama.api import OF_A_MODEL, OllamaApi, refusal
from orchestrator.gateway.ollama.paths import find as find_ollama
from orchestrator.gateway.paths import NamedIn, find
from orchestrator.gateway.relay import Relay
from orchestrator.gateway.tunnel import loses_body, wants_tunnel
from orchestrator.web.audited import Audited
from orchestrator.web.guard import JSON_ALONE, ORDER_BYTES_MAX, Admission, counted, judge
from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode, respond

# What a body may be beside JSON. None: whatever its server makes of it.
TYPES: Mapping[NamedIn, frozenset[str] | None] = {
    NamedIn.FORM: JSON_ALONE | {"multipart/form-data"},
    NamedIn.PATH: None,
}


class Front:
    def __init__(
        self,
        relay: Relay,
        ollama: OllamaApi,
        web: ASGIApp,
        admission: Callable[[], Admission],
        audit: Audit,
    ) -> None:
        self._relay = relay
        self._ollama = ollama
        self.web = web
        self._admission = admission
        self._audited = Audited(self._beside, audit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http":
            if loses_body(scope["headers"]):
                await respond(_unread(), scope)(scope, receive, send)
                return
            found = find(scope["method"], scope["raw_path"].decode("latin-1"))
        if found is None:
            await self._audited(scope, receive, send)
            return
        admission = self._admission()
        bytes_max = admission.relayed_bytes_max
        judged, types = scope, TYPES.get(found.call.named_in, JSON_ALONE)
        if wants_tunnel(scope["headers"]):  # a page's WebSocket begins with a GET, and changes much
            judged, types = {**scope, "method": "POST"}, None
        error = judge(judged, admission, bytes_max, types)
        if error is not None:
            await respond(error, scope)(scope, receive, send)
            return
        await self._relay(scope, counted(receive, bytes_max), send, found)

    async def _beside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What Ollama's clients ask, or people and workflows of the daemon itself."""
        found = None
        if scope["type"] == "http":
            found = find_ollama(scope["method"], scope["path"], scope["headers"])
        if found is None:
            await self.web(scope, receive, send)
            return
        admission = self._admission()
        bytes_max = admission.relayed_bytes_max
        if found.path not in OF_A_MODEL:
            bytes_max = min(bytes_max, ORDER_BYTES_MAX)
        error = judge(scope, admission, bytes_max)
        if error is not None:
            await refusal(error, found)(scope, receive, send)
            return
        await self._ollama(scope, counted(receive, bytes_max), send, found)


def _unread() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.BAD_REQUEST,
        detail="The body of a request that offers another protocol (Upgrade) cannot be read.",
        remedy="Send it without Upgrade; in Java: HttpClient.newBuilder().version(HTTP_1_1).",
    )
