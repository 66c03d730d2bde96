"""The daemon's client, for programs that wait."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Unpack

import httpx

from orchestrator.client import operations
from orchestrator.client.answers import KnownModel, LoadPlan, MachineStatus, ReadyModel, Unloaded
from orchestrator.client.blocking.prompts import Prompts
from orchestrator.client.blocking.transport import BlockingTransport
from orchestrator.client.environment import daemon_key, daemon_url
from orchestrator.client.exchanges import Exchange, Retries
from orchestrator.client.generations import Message, Speaker, at_once
from orchestrator.client.leases import (
    LEASE_S,
    HeldModel,
    HeldRoom,
    hold_model,
    hold_room,
    model_order,
    room_order,
)
from orchestrator.client.operations import LOAD_S, LoadSettings
from orchestrator.client.trimming import ANSWER_TOKENS, token_count, trimmed_to


class Client(Prompts):
    """Talks to one daemon. Threads may share it.

    `model` is who is meant where nothing is named; `owner` is whose leases and requests they are.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        model: str | None = None,
        owner: str | None = None,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        """Without `url` and `api_key` as ORCHESTRATOR_URL and ORCHESTRATOR_API_KEY say.

        `http` brings settings of its own, such as a certificate; it is not closed. Raise NotChosen.
        """
        environ = os.environ  # noqa: TID251 - what users of a library set
        key = daemon_key(api_key, environ)
        transport = BlockingTransport(daemon_url(url, environ), key, http)
        super().__init__(transport, retries or Retries(), self._speaker)
        self.model = model
        self.owner = owner
        self._switched_lease: str | None = None

    # --- what there is -----------------------------------------------------------------------

    def status(self) -> MachineStatus:
        """What is loaded, and how much room there is. Raise ClientError."""
        return self._transport.run(operations.status(self._retries))

    def models(self) -> tuple[KnownModel, ...]:
        """The catalogue. Raise ClientError."""
        return self._transport.run(operations.models(self._retries))

    def health(self) -> bool:
        """Whether the daemon answers."""
        return self._transport.run(operations.is_healthy("/health"))

    def plan(self, model: str, **settings: Unpack[LoadSettings]) -> LoadPlan:
        """What a load would do now, without doing it. Raise ClientError."""
        body = operations.order(model, self.owner, settings)
        return self._transport.run(operations.plan(body, self._retries))

    # --- models ------------------------------------------------------------------------------

    def load(
        self, model: str, *, wait_s: float = LOAD_S, **settings: Unpack[LoadSettings]
    ) -> ReadyModel:
        """Have a model ready. Raise ClientError; after `wait_s` the load itself goes on."""
        body = operations.order(model, self.owner, settings)
        return self._transport.run(operations.load(body, wait_s, self._retries))

    def switch_model(
        self, model: str, *, wait_s: float = LOAD_S, **settings: Unpack[LoadSettings]
    ) -> ReadyModel:
        """Load a model and mean it from now on; the one before may leave for it.

        Raise ClientError: then the one before is still meant, without the lease that it had.
        """
        body = operations.order(model, self.owner, settings)
        leave, self._switched_lease = self._switched_lease, None
        ready = self._transport.run(operations.switch(body, leave, wait_s, self._retries))
        self.model, self._switched_lease = ready.model, ready.lease_id
        return ready

    def unload(
        self,
        model: str,
        *,
        force: bool = False,
        owner: str | None = None,
        wait_s: float = operations.ONE_LOAD_S,
    ) -> Unloaded:
        """Let a model go; where an owner is named here or by the client, only their hold ends.

        `force` stops it in any case, also in use or pinned. Raise ClientError.
        """
        holder = owner if force else owner or self.owner
        exchange = operations.unload(
            model, force=force, owner=holder, wait_s=wait_s, retries=self._retries
        )
        return self._transport.run(exchange)

    # --- leases ------------------------------------------------------------------------------

    def lease(
        self,
        model: str,
        *,
        lease_s: float = LEASE_S,
        wait_s: float = LOAD_S,
        **settings: Unpack[LoadSettings],
    ) -> AbstractContextManager[HeldModel]:
        """Keep a model loaded while a `with` block runs. Entering it raises ClientError.

        `lease_s` is how long it stays if this process dies; meanwhile the lease renews itself.
        """
        body = model_order(model, self.owner, lease_s, settings)
        return self._transport.holding(hold_model(body, wait_s, self._retries))

    def lease_vram(
        self,
        vram_mb: int,
        *,
        lease_s: float = LEASE_S,
        wait_s: float = operations.ONE_LOAD_S,
        owner: str | None = None,
        device: str | None = None,
        priority: int | None = None,
    ) -> AbstractContextManager[HeldRoom]:
        """Have VRAM for other work while a `with` block runs. Entering it raises ClientError."""
        body = room_order(vram_mb, owner or self.owner, lease_s, device=device, priority=priority)
        return self._transport.holding(hold_room(body, wait_s, self._retries))

    # --- context -----------------------------------------------------------------------------

    def count_tokens(self, messages: Sequence[Message], *, model: str | None = None) -> int:
        """Of a conversation, by the model's own template and tokenizer. Raise ClientError."""
        return self._transport.run(token_count(messages, model or self.model, self._retries))

    def trim(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        context_size: int | None = None,
        answer_tokens: int = ANSWER_TOKENS,
    ) -> list[Message]:
        """The system message and as many of the newest turns as leave room for the answer.

        Without `context_size`, that of the model. Raise ContextTooSmall if one turn is too long.
        """
        named = model or self.model
        exchange = trimmed_to(messages, named, context_size, answer_tokens, self._retries)
        return self._transport.run(exchange)

    def _speaker(self, model: str | None) -> Exchange[Speaker]:
        return at_once(Speaker(model=model or self.model, owner=self.owner))
