"""The one application that is served: requests for models go to the relay, others to the web."""

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.access.audit.log import Audit
from orchestrator.access.keys.decision import NotAllowed
from orchestrator.access.keys.record import KeyScope
from orchestrator.gateway.ollama import paths as ollama_paths
from orchestrator.gateway.ollama.api import OF_A_MODEL, OllamaApi, refusal
from orchestrator.gateway.paths import NamedIn, Task, find
from orchestrator.gateway.relay import Relay
from orchestrator.gateway.tunnel import loses_body, wants_tunnel
from orchestrator.web.audited import Audited
from orchestrator.web.gate import REFUSED, Gate, Rule, rights_of
from orchestrator.web.guard import JSON_ALONE, ORDER_BYTES_MAX, Admission, counted, judge
from orchestrator.web.held_bodies import HeldBodies
from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode, error_of_access, respond

# What a body may be beside JSON. None: whatever its server makes of it.
TYPES: Mapping[NamedIn, frozenset[str] | None] = {
    NamedIn.FORM: JSON_ALONE | {"multipart/form-data"},
    NamedIn.PATH: None,
}
# A model that is not ready needs more: see `desk/holds`.
OF_MODELS = Rule(KeyScope.USE)


class Front:
    def __init__(
        self,
        relay: Relay,
        ollama: OllamaApi,
        web: ASGIApp,
        admission: Callable[[], Admission],
        gate: Gate,
        audit: Audit,
    ) -> None:
        self._gate = gate
        self._relay = relay
        self._ollama = ollama
        self.web = web
        self._admission = admission
        self._audited = Audited(self._beside, audit)
        gate.turned_away = self._audited.turned_away
        self._bodies = HeldBodies()

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
        if found.call.task is Task.LOOKUP:
            bytes_max = min(bytes_max, ORDER_BYTES_MAX)
        judged, types = scope, TYPES.get(found.call.named_in, JSON_ALONE)
        if wants_tunnel(scope["headers"]):  # a page's WebSocket begins with a GET, and changes much
            judged, types = {**scope, "method": "POST"}, None
        error = judge(judged, admission, bytes_max, types)
        if error is not None:
            await respond(error, scope)(scope, receive, send)
            return
        if (refused := await self._gate.admit(scope, OF_MODELS)) is None:
            refused = self._begun(scope)
        if refused is not None:
            await refusal(error_of_access(refused), found)(scope, receive, send)
            return
        passing = counted(receive, bytes_max)
        try:
            with self._bodies.of_request(scope, admission.held_bytes_max) as share:
                if not self._relay.takes_as_it_comes(found, rights_of(scope)):
                    passing = share.counting(passing)
                await self._relay(scope, passing, send, found)
        finally:
            self._ended(scope)
            self._note_refused(scope)

    async def _beside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What Ollama's clients ask, or people and workflows of the daemon itself."""
        found = None
        if scope["type"] == "http":
            found = ollama_paths.find(scope["method"], scope["path"], scope["headers"])
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
        refused = await self._gate.admit(scope, ollama_paths.rule_for(found.path))
        if refused is None and found.path in OF_A_MODEL:
            refused = self._begun(scope)
        if refused is not None:
            await refusal(error_of_access(refused), found)(scope, receive, send)
            return
        try:
            passing = counted(receive, bytes_max)
            with self._bodies.of_request(scope, admission.held_bytes_max) as share:
                await self._ollama(scope, share.counting(passing), send, found)
        finally:
            if found.path in OF_A_MODEL:
                self._ended(scope)
                self._note_refused(scope)

    def _begun(self, scope: Scope) -> NotAllowed | None:
        """Count a request to a model among those of its key that are under way."""
        rights = rights_of(scope)
        if rights.key is None or self._gate.keys is None:
            return None
        refused = self._gate.keys.rates.begin(rights.key)
        if refused is not None:
            self._audited.turned_away(rights.caller, refused, scope["path"])
        return refused

    def _note_refused(self, scope: Scope) -> None:
        """By a key's scope, models or quota, when it was known what was asked."""
        if (code := scope.get(REFUSED)) is not None:
            self._audited.note_refused(rights_of(scope).caller, code, scope["path"])

    def _ended(self, scope: Scope) -> None:
        rights = rights_of(scope)
        if rights.key is not None and self._gate.keys is not None:
            self._gate.keys.rates.end(rights.key)


def _unread() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.BAD_REQUEST,
        detail="The body of a request that offers another protocol (Upgrade) cannot be read.",
        remedy="Send it without Upgrade; in Java: HttpClient.newBuilder().version(HTTP_1_1).",
    )
