"""One question to a model's server: waited for, asked, asked once more if the server dies.

Nothing here knows how the client is answered: relay and translations stand on it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from pydantic_core import from_json, to_json

from orchestrator.access.keys.rates import Rates
from orchestrator.access.resident_keys import Bearer, no_bearer
from orchestrator.access.rights import Rights, waiting
from orchestrator.core.values.messages import Grant
from orchestrator.core.values.residents import InstanceId, Resident
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.desk.activity import Run
from orchestrator.desk.desk import Desk
from orchestrator.desk.holds import ModelHold
from orchestrator.desk.permits import priority, visible
from orchestrator.errors import Denied
from orchestrator.gateway.answer_headers import passed_on
from orchestrator.gateway.asked import Asked, Headers
from orchestrator.gateway.ceiling import within_ceiling
from orchestrator.gateway.mishaps import no_answer, no_status, not_there
from orchestrator.gateway.naming import Makers, candidates
from orchestrator.gateway.routes import Route, RouteTable
from orchestrator.gateway.server_connections import (
    OutOfReach,
    ServerConnection,
    ServerConnections,
)
from orchestrator.web.wire.error_answers import Answered

log = logging.getLogger("orchestrator")

TRIES = 3  # a request reaches a server twice at most: a refused connection is none
DEATH_S = (0.25, 2.0)  # so long a server that did not answer is given to be noticed as dead
SESSIONS_S = 5.0  # what a server knows of its conversations: from its memory
SESSIONS_BYTES_MAX = 1 << 20
WHY_AT_FIRST_S = 0.02  # what a request waits for is known as soon as it stands in line
WHY_S = 1.0  # and may change
LASTING = frozenset(
    {"does_not_fit", "over_quota", "load_failed", "breaker_open", "device_unreadable"}
)

T = TypeVar("T")

_STATUSES = range(200, 600)  # what an answer can have


@dataclass(frozen=True, slots=True)
class Beat:
    """Told every few seconds, while a request waits, why it does."""

    every_s: float
    say: Callable[[str], Awaitable[None]]


class Broken(Exception):
    """The server died in the middle of its answer."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A request's right to be sent to a server, as long as it is held."""

    model: ModelName
    instance: InstanceId
    url: str
    counted: Route | None  # on which the request is counted; None: it is held by its lease alone
    grant: Grant | None = None  # None: it did not have to wait for its model
    lease: AsyncExitStack | None = None


class ServerAnswer:
    """What the server says, as it comes. The passage ends with it (`async with`)."""

    def __init__(
        self,
        connection: ServerConnection,
        passage: Passage,
        leave: Callable[[Passage], Awaitable[None]],
    ) -> None:
        self.passage = passage
        self.status = connection.status
        self._connection = connection
        self._leave = leave

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.close()
        await self._leave(self.passage)

    @property
    def headers(self) -> Headers:
        return passed_on(self._connection.headers, self.status)

    @property
    def complete(self) -> bool:
        """Whether all is here that is still to be read."""
        return self._connection.complete

    async def read(self) -> bytes:
        """What has come of it, or comes next; b"" at its end. Raise Broken if it ends too early."""
        try:
            return await self._connection.read()
        except ConnectionError as error:
            raise Broken(str(error)) from error

    async def pour(self, into: Callable[[bytes], bool]) -> None:
        """Have it take what comes, as long as it does; all else is still to be read."""
        await self._connection.pour(into)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raise Broken if it ends too early."""
        while chunk := await self.read():
            yield chunk


class Exchanges:
    def __init__(
        self, desk: Desk, routes: RouteTable, bearer: Bearer = no_bearer, rates: Rates | None = None
    ) -> None:
        """`bearer` knows the keys of servers that have some; `rates` counts who waits."""
        self._desk = desk
        self._rates = rates
        self.routes = routes
        self.bearer = bearer
        self.makers = Makers()
        self._connections = ServerConnections(bearer)

    # --- which model -----------------------------------------------------------------------------

    def candidates(self, asked: Asked) -> tuple[ModelSpec, ...]:
        """The models that may serve, the best first. Raise Denied, or Answered where it asks on
        with what was made for another key.
        """
        for id_ in (asked.earlier, asked.conversation):
            if id_ is not None and self.makers.is_anothers(id_, asked.rights):
                raise Answered(not_there(id_))
        specs = visible(self._desk.catalogue, asked.rights)
        if asked.named is None and asked.earlier is not None:
            maker = self.makers.of(asked.earlier)
            if maker is not None and maker in specs:
                return (specs[maker],)
        return candidates(asked.named, self._desk.config.gateway, specs)

    # --- the question ----------------------------------------------------------------------------

    async def ask(
        self,
        asked: Asked,
        body: bytes | AsyncIterator[bytes],
        run: Run,
        beat: Beat | None = None,
        specs: tuple[ModelSpec, ...] = (),
    ) -> ServerAnswer:
        """The answer of the model's server, once it has begun. Raise Denied, Answered, Forbidden.

        A server that dies before the first byte of its answer is started again and asked once more.
        `specs` are the candidates, where the caller has just asked for them.
        """
        body = await within_ceiling(asked, body)
        reached = asked.reached
        if reached and (before := self.routes.find(self.candidates(asked)[0].name)) is not None:
            await self._until_gone(before.instance, DEATH_S[0])
        for turn in range(TRIES):
            passage = await self._take(asked, run, beat, () if turn else specs)
            answer = None
            try:
                answer = await self._answer(passage, asked, body)
            except ConnectionError as error:
                log.warning("%s did not answer a request: %r", passage.instance, error)
                reached += not isinstance(error, OutOfReach)
                if turn == TRIES - 1 or reached == 2 or not isinstance(body, bytes):
                    raise Answered(no_answer(passage.model)) from error
            finally:
                if answer is None:
                    await self._leave(passage)
            if answer is not None:
                return answer
            await self._until_gone(passage.instance, DEATH_S[min(turn, len(DEATH_S) - 1)])
        raise AssertionError("the last turn raises or returns")

    async def _answer(
        self, passage: Passage, asked: Asked, body: bytes | AsyncIterator[bytes]
    ) -> ServerAnswer:
        """Raise ConnectionError, or Answered."""
        connection = await self._connections.ask(
            passage.url, asked.method, asked.target, asked.headers, body
        )
        if (status := connection.status) not in _STATUSES:
            connection.close()
            raise Answered(no_status(passage.model, status))
        return ServerAnswer(connection, passage, self._leave)

    async def _until_gone(self, instance: InstanceId, timeout_s: float) -> None:
        """Until the death of a server has been noticed, if it died."""
        route = self.routes.of(instance)
        if route is not None and route.open:
            try:
                async with asyncio.timeout(timeout_s):
                    await route.closed.wait()
            except TimeoutError:
                return

    async def sessions(self, route: Route, asked: Asked, ids: list[str]) -> list[object]:
        """What a ready server knows of these conversations; nothing if it does not say."""
        self.routes.enter(route)
        try:
            async with asyncio.timeout(SESSIONS_S):
                said = await self._known(route, asked, to_json({"conversation_ids": ids}))
        except (ConnectionError, TimeoutError, ValueError):
            return []
        else:
            return said if isinstance(said, list) else []
        finally:
            self.routes.leave(route)

    async def _known(self, route: Route, asked: Asked, body: bytes) -> object:
        """Raise ConnectionError or ValueError."""
        connection = await self._connections.ask(
            route.url, "POST", asked.target, [(b"content-type", b"application/json")], body
        )
        try:
            said = b""
            while len(said) <= SESSIONS_BYTES_MAX and (piece := await connection.read()):
                said += piece
            return from_json(said[:SESSIONS_BYTES_MAX]) if connection.status == 200 else []
        finally:
            connection.close()

    async def close(self) -> None:
        self._connections.close()

    # --- the way to it ---------------------------------------------------------------------------

    @asynccontextmanager
    async def passage(
        self, asked: Asked, run: Run, beat: Beat | None = None
    ) -> AsyncIterator[Passage]:
        """The right to ask a server of the model, for the length of the block. Raise Denied."""
        passage = await self._take(asked, run, beat)
        try:
            yield passage
        finally:
            await self._leave(passage)

    async def _take(
        self, asked: Asked, run: Run, beat: Beat | None, specs: tuple[ModelSpec, ...] = ()
    ) -> Passage:
        """A passage, which has to be left. Raise Denied."""
        specs = specs or self.candidates(asked)
        route = self._open_route(specs[0], asked)
        if route is not None and await self._enter(route, asked, run, beat):
            self._note(asked, route.model)
            run.model, run.instance = route.model, route.instance
            return Passage(route.model, route.instance, route.url, route)
        async with AsyncExitStack() as stack:
            granted = await self._granted(stack, specs, asked, run, beat)
            resident = granted.resident
            load_s = _load_s(resident, run)
            self._desk.activity.granted(run, resident.name, resident.instance, load_s=load_s)
            assert resident.endpoint is not None
            url = resident.endpoint.url.rstrip("/")
            route = self.routes.find(resident.name)
            counted = route is not None and await self._enter(route, asked, run, beat)
            self._note(asked, resident.name)
            return Passage(
                model=resident.name,
                instance=resident.instance,
                url=url,
                counted=route if counted else None,
                grant=granted,
                lease=stack.pop_all(),
            )

    async def _leave(self, passage: Passage) -> None:
        if passage.counted is not None:
            self.routes.leave(passage.counted)
        if passage.lease is not None:
            await passage.lease.aclose()

    async def _enter(self, route: Route, asked: Asked, run: Run, beat: Beat | None) -> bool:
        """Count it in, once there is a place for it. False: the route was closed meanwhile."""
        if not asked.call.in_a_slot or not route.full:
            self.routes.enter(route)
            return True
        run.why = f"all {route.most} places of {route.model} are taken"
        important = priority(asked.priority, route.spec.priority, asked.rights)
        with waiting(asked.rights, self._rates):
            entering = asyncio.ensure_future(self.routes.place(route, important))
            try:
                return await _beating(entering, beat, lambda: run.why)
            except asyncio.CancelledError:
                if not entering.cancelled() and entering.result():
                    self.routes.leave(route)  # let in at the very moment at which its client went
                raise

    def _note(self, asked: Asked, model: ModelName) -> None:
        if asked.conversation is not None:
            self.makers.note(asked.conversation, model, asked.rights)

    def _open_route(self, spec: ModelSpec, asked: Asked) -> Route | None:
        """What matters more than the model's last callers is told to the scheduler."""
        route = self.routes.find(spec.name)
        if route is None or (asked.priority is not None and asked.priority > route.priority):
            return None
        size = asked.context_size
        return route if size is None or route.spec.wanted.context_size >= size else None

    async def _granted(
        self,
        stack: AsyncExitStack,
        specs: tuple[ModelSpec, ...],
        asked: Asked,
        run: Run,
        beat: Beat | None,
    ) -> Grant:
        """Of a chain the first that fits serves; one that turns out not to is passed over."""
        refused: Denied | None = None
        for spec in await self._in_order(specs, asked.rights):
            hold = ModelHold(
                model=spec.name,
                priority=asked.priority,
                wait_s=min(asked.wait_s, self._desk.config.gateway.wait_s),
                context_size=asked.context_size,
                rights=asked.rights,
            )
            rates = None if self.routes.find(spec.name) else self._rates  # ready: it does not wait
            try:
                with waiting(asked.rights, rates):
                    entering = stack.enter_async_context(self._desk.held(hold))
                    return await _beating(entering, beat, partial(self._why, spec.name, run))
            except Denied as denied:
                refused = refused or denied
                if denied.refusal.code not in LASTING:
                    raise
        assert refused is not None, "there is one candidate at least"
        raise refused

    async def _in_order(
        self, specs: tuple[ModelSpec, ...], rights: Rights
    ) -> tuple[ModelSpec, ...]:
        """Those that fit now before those that do not."""
        if len(specs) == 1:
            return specs
        fitting = [await self._desk.fits(spec.name, rights) for spec in specs]
        return tuple(sorted(specs, key=lambda spec: not fitting[specs.index(spec)]))

    def _why(self, model: ModelName, run: Run) -> str:
        why = f"{model} waits for {self._desk.waits_for(model)}"
        if why != run.why:
            self._desk.activity.waits(run, why)
        return why


async def _beating(work: Awaitable[T], beat: Beat | None, why: Callable[[], str]) -> T:
    """Do the work, and say every few seconds why it takes long. If cancelled, so is the work."""
    working = asyncio.ensure_future(work)
    working.add_done_callback(_heard)
    every_s = WHY_S if beat is None else beat.every_s
    pause_s = min(WHY_AT_FIRST_S, every_s)
    try:
        while not (await asyncio.wait({working}, timeout=pause_s))[0]:
            said = why()
            if beat is not None and pause_s == every_s:
                await beat.say(said)
            pause_s = every_s
        return working.result()
    finally:
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


def _heard(work: asyncio.Future[T]) -> None:
    """Nobody is left to hear why it failed: its request has ended, and that is no mistake."""
    if not work.cancelled():
        work.exception()


def _load_s(resident: Resident, run: Run) -> float:
    """The part of its wait in which its model was loading."""
    if resident.ready_s is None or resident.ready_s < run.began_s:
        return 0.0
    return min(resident.ready_s - run.began_s, resident.spec.load_s)
