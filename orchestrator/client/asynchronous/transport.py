"""Performs exchanges by awaiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx

from orchestrator.client.connection import headers, no_reply, reply_of, timeout, too_long
from orchestrator.client.environment import is_of_this_machine
from orchestrator.client.exchanges import Ask, Exchange, Heard, Pause
from orchestrator.client.leases import HeldLease, releasing, renewing

T = TypeVar("T")
Held = TypeVar("Held", bound=HeldLease)


class AsyncTransport:
    """Connections to one server. Tasks may share it."""

    def __init__(self, url: str, api_key: str | None, http: httpx.AsyncClient | None) -> None:
        self.url = url
        self._api_key = api_key
        self._is_ours = http is None
        self._http = (
            httpx.AsyncClient(trust_env=not is_of_this_machine(url)) if http is None else http
        )

    async def close(self) -> None:
        if self._is_ours:
            await self._http.aclose()

    async def run(self, exchange: Exchange[T]) -> T:
        """Raise ClientError."""
        try:
            step = next(exchange)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = exchange.send(None)
                else:
                    step = exchange.send(await self._ask(step))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _ask(self, ask: Ask) -> Heard:
        began_s = time.monotonic()
        request = self._http.build_request(
            ask.method,
            self.url + ask.path,
            json=ask.body,
            headers=headers(ask, self._api_key),
            timeout=timeout(ask),
        )
        try:
            response = await self._http.send(request, stream=True)
            if ask.streamed and response.status_code < 400:
                return reply_of(response, b"", time.monotonic() - began_s, response)
            try:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if endless := too_long(self.url, body, time.monotonic() - began_s):
                        return endless
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            return no_reply(self.url, error, ask.timeout_s, time.monotonic() - began_s)
        return reply_of(response, bytes(body), time.monotonic() - began_s)

    @asynccontextmanager
    async def holding(self, taking: Exchange[Held]) -> AsyncIterator[Held]:
        """Hold a lease while the block runs; a task renews it."""
        held = await self.run(taking)
        renewal = asyncio.create_task(self.run(renewing(held)))
        try:
            yield held
        finally:
            renewal.cancel()
            await asyncio.wait([renewal])
            if held.lost is None:
                await self.run(releasing(held))
