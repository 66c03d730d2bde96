"""Carries requests to the models that they name, and their answers back, byte for byte.

Raw ASGI, over the connections of our own server: no middleware stands on this path, and a caller
that hangs up is noticed by its connection.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable

from starlette.types import Receive, Scope, Send

from orchestrator.access.audit.lines import Act
from orchestrator.access.audit.log import Audit
from orchestrator.access.rights import Forbidden, Rights
from orchestrator.core.values.specs import ModelSpec
from orchestrator.desk.desk import Desk
from orchestrator.desk.permits import visible
from orchestrator.errors import Denied
from orchestrator.gateway.addressed import fetches, may_name_address, names_address
from orchestrator.gateway.addressed import objection as addressed
from orchestrator.gateway.asked import Asked
from orchestrator.gateway.ceiling import bytes_to_bind, goes_on_as_it_comes, no_tunnel
from orchestrator.gateway.client_request import ClientRequest
from orchestrator.gateway.exchange import Beat, Broken, Exchanges
from orchestrator.gateway.fitness import objection
from orchestrator.gateway.for_admins import orders_for_all
from orchestrator.gateway.lookup import look_up
from orchestrator.gateway.members import DECODED_BYTES_MAX
from orchestrator.gateway.mishaps import broken, our_mistake
from orchestrator.gateway.naming import candidates
from orchestrator.gateway.paths import FoundCall, Task
from orchestrator.records import Outcome
from orchestrator.web.audited import before_done
from orchestrator.web.guard import READING_METHODS
from orchestrator.web.wire.error_answers import (
    Answered,
    ErrorAnswer,
    WebCode,
    error_of,
    error_of_access,
)

log = logging.getLogger("orchestrator")


class Relay:
    def __init__(self, desk: Desk, exchanges: Exchanges, audit: Audit) -> None:
        self._desk = desk
        self._exchanges = exchanges
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send, found: FoundCall) -> None:
        """Answer one request. Never raises, but is cancelled by the server's end."""
        request = ClientRequest(self._desk, scope, receive, send, found)
        await carried_out(request, self._answer(request))

    async def _answer(self, request: ClientRequest) -> None:
        as_it_comes = self.takes_as_it_comes(request.found, request.rights)
        body = await request.body(as_it_comes=as_it_comes)
        asked = request.understood(body if isinstance(body, bytes) else b"")
        if asked.call.task is Task.LOOKUP:
            assert isinstance(body, bytes)
            await request.tell(await look_up(self._exchanges, asked, body))
            return
        if request.wants_tunnel:
            await self._permit(request, asked, self._exchanges.candidates(asked))
            no_tunnel(asked.rights)
            async with self._exchanges.passage(asked, request.run) as passage:
                await request.tunnel(asked, passage, self._exchanges.bearer(passage.url))
            return
        specs = self._possible(asked, body)
        await self._permit(request, asked, specs)
        fetching = self._fetching(specs)
        if fetching is not None:
            await _refuse_addresses(request, fetching, body)
        if isinstance(body, bytes):
            request.holds(bytes_to_bind(asked, body))
        beat = None
        if asked.streams:
            beat = Beat(self._desk.config.gateway.heartbeat_s, request.comment)
        async with await self._exchanges.ask(asked, body, request.run, beat, specs) as answer:
            await request.pass_on(answer, self._exchanges)

    async def _permit(
        self, request: ClientRequest, asked: Asked, specs: tuple[ModelSpec, ...]
    ) -> None:
        """Raise Forbidden; and Answered, where an admin's order cannot be written down."""
        if orders_for_all(asked, specs, self._desk.config.services):
            caller, target = asked.rights.caller, request.run.path
            await before_done(self._audit, Act(action="server.order", caller=caller, target=target))

    def takes_as_it_comes(self, found: FoundCall, rights: Rights) -> bool:
        """Whether a body is for its server alone."""
        if not goes_on_as_it_comes(found.call, rights):
            return False
        config, specs = self._desk.config.gateway, visible(self._desk.catalogue, rights)
        try:
            meant = candidates(found.model, config, specs)
        except Denied:
            return True
        return config.media_by_address or not any(map(fetches, meant))

    def _fetching(self, specs: tuple[ModelSpec, ...]) -> ModelSpec | None:
        """A model whose server would fetch what a request names, and may not."""
        if self._desk.config.gateway.media_by_address:
            return None
        return next(filter(fetches, specs), None)

    def _possible(self, asked: Asked, body: bytes | AsyncIterator[bytes]) -> tuple[ModelSpec, ...]:
        """The models that may serve it, looked at before anything is loaded. Raise Answered."""
        specs = self._exchanges.candidates(asked)
        if isinstance(body, bytes):
            wrong = [objection(spec, asked, body) for spec in specs]
            if all(wrong) and wrong[0] is not None:
                raise Answered(wrong[0])
        if asked.method in READING_METHODS and self._exchanges.routes.find(specs[0].name) is None:
            raise Answered(_not_loaded(specs[0].name))
        return specs


async def _refuse_addresses(
    request: ClientRequest, fetching: ModelSpec, body: bytes | AsyncIterator[bytes]
) -> None:
    """Raise Answered."""
    if not isinstance(body, bytes):  # the catalogue has changed since it was asked
        raise Answered(addressed(fetching))
    if not may_name_address(body):
        return
    with request.looks_into(body):
        if len(body) > DECODED_BYTES_MAX:
            names = await asyncio.to_thread(names_address, body)
        else:
            names = names_address(body)
    if names:
        raise Answered(addressed(fetching))


async def carried_out(request: ClientRequest, work: Awaitable[None]) -> None:
    """The work of one request, and whatever goes wrong with it said to its client.

    Never raises, but is cancelled by the server's end.
    """
    try:
        await work
    except Answered as error:
        await request.refuse(error.answer, Outcome.REFUSED)
    except Denied as denied:
        await request.refuse(error_of(denied.refusal), Outcome.REFUSED)
    except Forbidden as error:
        await request.refuse(error_of_access(error.why), Outcome.REFUSED)
    except Broken:
        await request.refuse(broken(request.run.model or request.run.asked), Outcome.SERVER_DIED)
    except asyncio.CancelledError:
        await request.cancelled()
    except Exception:
        log.exception("%s", request.run.path)
        await request.refuse(our_mistake(), Outcome.FAILED)
    finally:
        request.end()


def _not_loaded(model: str) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.NOT_READY,
        detail=f"{model} is not loaded, and no GET loads a model: any web page could send it.",
        remedy=f'POST /models/load {{"model": "{model}"}}, and ask again.',
        headers={"X-Model": model},
    )
