"""The plane that nginx is: told of routes and keys, and asked for counts, over a socket of its own.

nginx may be gone, or started anew, at any time: what it is to know is said again then. While it is
gone it carries nothing.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, TypedDict
from urllib.parse import urlsplit

import aiohttp

from orchestrator.access.keys.rates import Rates
from orchestrator.access.keys.table import KeyTable
from orchestrator.access.resident_keys import Bearer, no_bearer
from orchestrator.core.values.residents import InstanceId
from orchestrator.gateway.edge.addresses import Addresses
from orchestrator.gateway.edge.kept_routes import KeptRoutes
from orchestrator.gateway.edge.known_keys import text_of
from orchestrator.gateway.planes import Published
from orchestrator.web.guard import Admission

log = logging.getLogger("orchestrator")

ANSWER_S = 1.0  # it answers within a millisecond; a victim waits no longer for its count
LOOK_S = 0.5  # how stale the view of its use may be: a look before a stop is exact
SAID_CHARS_MAX = 200  # of what it says instead of an answer
SPENT_AGAIN_S = 20.0  # nginx believes for 60 s what callers have had here
HTTP = "http://edge"
Spent = Mapping[str, tuple[int, int]]  # by key: asked within the minute, under way


class _Said(TypedDict, total=False):
    """Its answers; counts are in those that were asked for them."""

    epoch: str  # of its memory
    passing: Mapping[InstanceId, int]
    passed: Mapping[InstanceId, int]  # since its memory began
    keyed: bool  # whether it has a table of keys
    keys: Mapping[str, tuple[int, int]]  # by id: let in since its memory began, under way
    carried: Sequence[Mapping[str, object]]  # what is under way for longer than a moment


NONE: _Said = {"passing": {}, "passed": {}, "keys": {}}


class KnownKeys(Protocol):
    """What the plane has of the keys of this daemon."""

    table: KeyTable
    rates: Rates
    steady: Callable[[], float]  # what rates are counted by


class _Absent(Exception):
    """No nginx listens."""


class EdgePlane:
    """Belongs to one event loop. `used` hears which residents were used since the last look."""

    def __init__(
        self,
        socket: Path,
        *,
        epoch: str,
        keys: KnownKeys,
        admission: Callable[[], Admission],
        used: Callable[[Collection[InstanceId]], None],
        bearer: Bearer = no_bearer,
    ) -> None:
        """`bearer` knows the keys of servers that have some."""
        self._bearer = bearer
        self._socket = socket
        self._kept = KeptRoutes(socket.parent)
        self._epoch = epoch  # of the numbers of our routes
        self._keys = keys
        self._admission = admission
        self._used = used
        self._routes: Sequence[Published] = ()
        self._known: tuple[str, str] | None = None  # its memory's epoch, and what that holds
        self._known_keys: KeyTable | None = None  # that its memory holds
        self._knows_keys = True
        self._spent: tuple[Spent, float] = ({}, 0.0)  # as it was told, and when
        self._counts: _Said = NONE
        self._saying = asyncio.Lock()
        self._changed = asyncio.Event()
        self._addresses = Addresses()
        self._session: aiohttp.ClientSession | None = None
        self._present = False

    # --- told ------------------------------------------------------------------------------------

    def publish(self, routes: Sequence[Published]) -> None:
        self._routes = routes
        self._changed.set()

    def keys_changed(self) -> None:
        """Have it told at once."""
        self._changed.set()

    async def keep_up(self) -> None:
        """Say what has changed, and look at its use, until cancelled.

        From here on: what an earlier daemon published goes on serving until then.
        """
        while True:
            with suppress(_Absent, TimeoutError, aiohttp.ClientError, OSError, ValueError):
                async with asyncio.timeout(ANSWER_S):
                    await self._say()
                    await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()

    async def _say(self) -> None:
        """Once it knows the set of now. Raise _Absent and others."""
        async with self._saying:
            self._changed.clear()
            text = await self._text(self._routes)
            await self._kept.keep(text)
            # Keys first: an nginx that does not know whose requests it may carry has no routes.
            if not await self._say_keys():
                text = await self._text(())
            if self._known is not None and self._known[1] == text:
                return
            said = await self._ask("PUT", "/routes", text)
            self._known = (said["epoch"], text)

    async def _say_keys(self) -> bool:
        """Whether it knows them now. Raise _Absent and others."""
        table = self._keys.table
        if self._known_keys is table:
            return True
        text = await asyncio.to_thread(text_of, table)
        try:
            await self._ask("PUT", "/keys", text)
        except ValueError as error:  # an nginx from before keys, or one without memory for them
            if table.closed:
                self._tell_ignorance(error)
            return not table.closed
        self._known_keys, self._knows_keys = table, True
        return True

    def _tell_ignorance(self, error: ValueError) -> None:
        if self._knows_keys:
            log.warning(
                "nginx at %s does not take the API keys (%s): it carries nothing, and asks here "
                "for everything. An older one has to be started anew.",
                self._socket,
                error,
            )
        self._knows_keys = False

    async def _text(self, published: Sequence[Published]) -> str:
        routes = []
        self._addresses.keep({route.number for route in published})
        for route in published:
            address = await self._addresses.of(route.number, route.url)
            if address is not None:
                routes.append(
                    {
                        "instance": route.instance,
                        "number": route.number,
                        "names": route.names,
                        "host": address.host,
                        "port": address.port,
                        "authority": urlsplit(route.url).netloc,
                        "bearer": self._bearer(route.url),
                        "priority": route.priority,
                        **asdict(route.can),
                    }
                )
        admission = self._admission()
        let_in = {
            "hosts": sorted(admission.allowed_hosts),
            "body_bytes_max": admission.relayed_bytes_max,
        }
        return json.dumps({"epoch": self._epoch, "routes": routes, "admission": let_in})

    # --- asked -----------------------------------------------------------------------------------

    async def counted(
        self, instances: Collection[InstanceId]
    ) -> Mapping[InstanceId, int | None] | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._say()
                await self._look()
        except _Absent:
            return dict.fromkeys(instances, 0)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("nginx at %s does not say what it carries: %r", self._socket, error)
            return None
        return {instance: self.last_counted(instance) for instance in instances}

    def last_counted(self, instance: InstanceId) -> int:
        return self._counts["passing"].get(instance, 0)

    async def _look(self) -> None:
        said = await self._ask("GET", "/counts")
        if self._known is None or self._known[0] != said["epoch"]:
            self._forget()
            await self._say()  # its memory is new
        elif self._known_keys is not None and not said.get("keyed", True):
            self._known_keys = None  # they found no place, or gave it up
            await self._say()
        before, self._counts = self._counts, said
        seen = {
            instance
            for instance, passed in said["passed"].items()
            if passed != before["passed"].get(instance, 0)
            or self.last_counted(instance) != before["passing"].get(instance, 0)
        }
        if seen:
            self._used(seen)
        await self._share_rates(before)

    async def _share_rates(self, before: _Said) -> None:
        """The requests of a key are one sum, whoever carries them: each side hears of the other's
        within LOOK_S, and that much may be let in beyond it.
        """
        now_s = self._keys.steady()
        for id_, (asked, under_way) in self._counts.get("keys", {}).items():
            earlier = before.get("keys", {}).get(id_, (0, 0))
            if (asked, under_way) != tuple(earlier):
                self._keys.rates.carried(id_, max(0, asked - earlier[0]), under_way, now_s)
        spent = self._keys.rates.spent(now_s)
        told, told_s = self._spent
        if spent != told or (spent and abs(now_s - told_s) > SPENT_AGAIN_S):
            await self._ask("PUT", "/spent", json.dumps(spent))
            self._spent = spent, now_s

    async def _ask(self, method: str, path: str, body: str | None = None) -> _Said:
        if self._session is None:
            connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
            self._session = aiohttp.ClientSession(connector=connector)
        try:
            async with self._session.request(method, HTTP + path, data=body) as answer:
                if answer.status != 200:
                    text = await answer.text()
                    raise ValueError(f"{answer.status}: {text[:SAID_CHARS_MAX]}")
                said: _Said = await answer.json()
        except (FileNotFoundError, ConnectionRefusedError, aiohttp.ClientConnectorError) as error:
            self._gone()
            raise _Absent from error
        self._present = self._present or self._come()
        return said

    def _come(self) -> bool:
        log.info("nginx carries requests for models that are ready")
        return True

    def _gone(self) -> None:
        if self._present:
            log.warning("nginx at %s has ended: the relay carries all requests", self._socket)
        self._present = False
        self._forget()

    def _forget(self) -> None:
        self._known = self._known_keys = None
        self._spent = {}, 0.0
        self._counts = NONE

    async def carried(self) -> Sequence[Mapping[str, object]]:
        """What is under way for longer than a moment; nothing if it does not say in time."""
        with suppress(_Absent, TimeoutError, aiohttp.ClientError, OSError, ValueError):
            async with asyncio.timeout(ANSWER_S):
                return (await self._ask("GET", "/carried"))["carried"]
        return ()

    async def cancel(self, serial: str) -> None:
        """Have one ended at the next piece of its answer. Never raises."""
        with suppress(_Absent, TimeoutError, aiohttp.ClientError, OSError, ValueError):
            async with asyncio.timeout(ANSWER_S):
                await self._ask("POST", f"/cancel?serial={serial}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
