"""Performs exchanges by waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx

from orchestrator.client.connection import headers, no_reply, reply_of, timeout, too_long
from orchestrator.client.environment import is_of_this_machine
from orchestrator.client.exchanges import Ask, Exchange, Heard, Pause
from orchestrator.client.leases import HeldLease, releasing, renewing

T = TypeVar("T")
Held = TypeVar("Held", bound=HeldLease)

LAST_RENEWAL_S = 5.0  # that is under way when its lease is given back


class BlockingTransport:
    """Connections to one server. Threads may share it."""

    def __init__(self, url: str, api_key: str | None, http: httpx.Client | None) -> None:
        self.url = url
        self._api_key = api_key
        self._is_ours = http is None
        self._http = httpx.Client(trust_env=not is_of_this_machine(url)) if http is None else http

    def close(self) -> None:
        if self._is_ours:
            self._http.close()

    def run(self, exchange: Exchange[T]) -> T:
        """Raise ClientError."""
        return self._performed(exchange, time.sleep)

    def _performed(self, exchange: Exchange[T], pause: Callable[[float], None]) -> T:
        try:
            step = next(exchange)
            while True:
                if isinstance(step, Pause):
                    pause(step.seconds)
                    step = exchange.send(None)
                else:
                    step = exchange.send(self._ask(step))
        except StopIteration as end:
            result: T = end.value
            return result

    def _ask(self, ask: Ask) -> Heard:
        began_s = time.monotonic()
        request = self._http.build_request(
            ask.method,
            self.url + ask.path,
            json=ask.body,
            headers=headers(ask, self._api_key),
            timeout=timeout(ask),
        )
        try:
            response = self._http.send(request, stream=True)
            if ask.streamed and response.status_code < 400:
                return reply_of(response, b"", time.monotonic() - began_s, response)
            try:
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if endless := too_long(self.url, body, time.monotonic() - began_s):
                        return endless
            finally:
                response.close()
        except httpx.RequestError as error:
            return no_reply(self.url, error, ask.timeout_s, time.monotonic() - began_s)
        return reply_of(response, bytes(body), time.monotonic() - began_s)

    @contextmanager
    def holding(self, taking: Exchange[Held]) -> Iterator[Held]:
        """Hold a lease while the block runs; a thread renews it."""
        held = self.run(taking)
        over = threading.Event()
        thread = threading.Thread(target=self._renew, args=(held, over), daemon=True)
        thread.start()
        try:
            yield held
        finally:
            over.set()
            thread.join(LAST_RENEWAL_S)
            if held.lost is None:
                self.run(releasing(held))

    def _renew(self, held: HeldLease, over: threading.Event) -> None:
        def pause(seconds: float) -> None:
            if over.wait(seconds):
                raise _Over

        try:
            self._performed(renewing(held), pause)
        except _Over:
            return


class _Over(Exception):
    """The block of a lease has ended."""
