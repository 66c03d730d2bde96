"""Ollama's API over ASGI: which route does what, and how each of them says what went wrong."""

import logging

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.access.rights import Forbidden
from orchestrator.catalogue.added import Body
from orchestrator.catalogue.facts import FactSheets
from orchestrator.desk.desk import Desk
from orchestrator.errors import ConfigInvalid, Denied, Failed
from orchestrator.gateway.client_request import JSON, ClientRequest
from orchestrator.gateway.exchange import Exchanges
from orchestrator.gateway.mishaps import our_mistake
from orchestrator.gateway.ollama import paths, requests, translation
from orchestrator.gateway.ollama.asking import Asking
from orchestrator.gateway.ollama.embedding import Embedding
from orchestrator.gateway.ollama.names import meant
from orchestrator.gateway.ollama.orders import Orders
from orchestrator.gateway.ollama.pulls import Pulls, pullable, service_for
from orchestrator.gateway.ollama.speech import Dress, ndjson
from orchestrator.gateway.paths import FoundCall
from orchestrator.gateway.protocols import body_of
from orchestrator.gateway.relay import carried_out
from orchestrator.web.audited import before_acting
from orchestrator.web.gate import for_caller, rights_of
from orchestrator.web.rest.mistakes import error_of_config
from orchestrator.web.wire.error_answers import (
    Answered,
    ErrorAnswer,
    WebCode,
    encode,
    error_of,
    error_of_access,
    retry_after_s,
)

log = logging.getLogger("orchestrator")

OF_A_MODEL = frozenset({paths.CHAT, paths.GENERATE, paths.EMBED, paths.EMBEDDINGS, paths.PULL})
_DONE = {"status": "success"}


class OllamaApi:
    def __init__(self, desk: Desk, exchanges: Exchanges, pulls: Pulls) -> None:
        self._desk = desk
        facts = FactSheets(desk.files)
        self._asking = Asking(desk, exchanges, facts)
        self._embedding = Embedding(self._asking, exchanges)
        self._orders = Orders(desk, facts)
        self._pulls = pulls

    async def __call__(self, scope: Scope, receive: Receive, send: Send, found: FoundCall) -> None:
        """Answer one request. Never raises, but is cancelled by the server's end."""
        if found.path not in OF_A_MODEL:
            response = await self._ordered(scope, receive, found)
            await response(scope, receive, send)
            return
        request = ClientRequest(self._desk, scope, receive, send, found)
        await carried_out(request, self._answer(request, found))

    # --- what a model is asked -------------------------------------------------------------------

    async def _answer(self, request: ClientRequest, found: FoundCall) -> None:
        body = await request.body()
        assert isinstance(body, bytes), "only what names its model in the path comes in pieces"
        request.decodes(body)
        match found.path:
            case paths.CHAT:
                chat = requests.read(requests.ChatWanted, body)
                dress = Dress(chat.called, is_chat=True)
                await self._asking.speak(request, chat, translation.of_chat(chat), dress)
            case paths.GENERATE:
                text = requests.read(requests.TextWanted, body)
                dress = Dress(text.called, is_chat=False)
                await self._asking.speak(request, text, translation.of_text(text), dress)
            case paths.EMBED:
                await self._embedding.vectors(request, requests.read(requests.VectorsWanted, body))
            case paths.EMBEDDINGS:
                await self._embedding.vector(request, requests.read(requests.VectorWanted, body))
            case _:
                await self._pull(request, requests.read(requests.ModelWanted, body))

    async def _pull(self, request: ClientRequest, wanted: requests.ModelWanted) -> None:
        """Raise Answered: nothing is added to the catalogue then."""
        request.run.asked, request.run.streaming = wanted.called, wanted.streams
        await before_acting({"model": wanted.called})
        target = pullable(wanted.called, self._desk.catalogue)
        if target is not None:
            service = None if target.name is None else service_for(self._desk.config)
            async for line in self._pulls.lines(target.reference):
                if wanted.streams:
                    await request.lines(ndjson(line))
            if target.name is not None:
                request.rights.may_name(target.name)
                await self._added(target.name, {"service": service, "file": target.reference})
        if wanted.streams:
            await request.last_line(ndjson(_DONE))
        else:
            await request.tell(encode(_DONE))

    async def _added(self, name: str, entry: Body) -> None:
        if meant(name, self._desk.catalogue) in self._desk.catalogue:
            return
        try:
            await self._desk.put_model(name, entry)
        except ConfigInvalid as error:
            raise Answered(error_of_config(error)) from error

    # --- what the daemon is asked ----------------------------------------------------------------

    async def _ordered(self, scope: Scope, receive: Receive, found: FoundCall) -> Response:
        try:
            body = await Request(scope, receive).body()
            said = await self._orders.answer(found.path, body, rights_of(scope))
        except ClientDisconnect:
            return Response(status_code=400)  # the caller is gone
        except Answered as error:
            return refusal(for_caller(error.answer, scope), found)
        except Denied as denied:
            return refusal(for_caller(error_of(denied.refusal), scope), found)
        except Forbidden as error:
            return refusal(error_of_access(error.why), found)
        except ConfigInvalid as error:
            return refusal(for_caller(error_of_config(error), scope), found)
        except Failed as error:
            log.warning("%s: %s", found.path, error)
            return refusal(_unavailable(), found)
        except Exception:
            log.exception("%s", found.path)
            return refusal(our_mistake(), found)
        kind = "text/plain" if found.path == paths.ROOT else JSON.decode()
        return Response(said, media_type=kind)


def refusal(answer: ErrorAnswer, found: FoundCall) -> Response:
    """In Ollama's form."""
    headers = dict(answer.headers)
    if answer.status in (429, 503):
        headers["Retry-After"] = str(retry_after_s(answer))
    body = encode(body_of(answer, found.call, found.path))
    return Response(body, answer.status, headers, JSON.decode())


def _unavailable() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.UNAVAILABLE,
        detail="Something this answer needs does not work at the moment.",
        remedy="GET /health/ready says what; the daemon's log has the details.",
    )
