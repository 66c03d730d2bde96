"""Leases that renew themselves: of a model by its owner, and of plain VRAM."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from orchestrator.client import answers
from orchestrator.client.errors import ClientError, LeaseLost, NotAnswered, NotUnderstood, TryLater
from orchestrator.client.exchanges import (
    ANSWER_S,
    Ask,
    Exchange,
    Heard,
    Json,
    NoReply,
    Pause,
    Retries,
    answered,
    backoff_s,
    error_of,
    heard_of,
    understood,
)
from orchestrator.client.operations import LoadSettings, load, order

LEASE_S = 600.0  # how long it outlives a holder that dies, unless the caller says otherwise
RENEWALS = 3  # in the time of a lease: two may fail before it ends
RELEASE = Retries(tries_max=2, pause_s_max=5.0)  # it ends by itself where this fails


@dataclass(slots=True, kw_only=True)
class HeldLease:
    """A lease while its block runs. It is renewed in the background."""

    lease_id: str
    owner: str
    lease_s: float
    expires_at: datetime | None
    path: str
    lost: LeaseLost | None = None

    def check(self) -> None:
        """Raise LeaseLost if it has ended: before work that must not begin without it."""
        if self.lost is not None:
            raise self.lost


@dataclass(slots=True, kw_only=True)
class HeldModel(HeldLease):
    """A model that stays loaded."""

    ready: answers.ReadyModel

    @property
    def model(self) -> str:
        return self.ready.model

    @property
    def endpoint(self) -> str | None:
        """Where its server answers directly."""
        return self.ready.endpoint


@dataclass(slots=True, kw_only=True)
class HeldRoom(HeldLease):
    """VRAM that is kept free for work that is not a model server."""

    vram_mb: int
    device: str | None
    evicted: tuple[str, ...]


def some_owner() -> str:
    """A name that no other holder has, and that tells people who it is."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


# --- taking, renewing, giving back -----------------------------------------------------------


def hold_model(body: Json, wait_s: float, retries: Retries) -> Exchange[HeldModel]:
    """`body` is an order for a load, with its owner and `lease_seconds`."""
    ready = yield from load(body, wait_s, retries)
    if ready.lease_id is None:
        raise NotUnderstood("The daemon loaded the model, and told of no lease.")
    return HeldModel(
        lease_id=ready.lease_id,
        owner=str(body["owner"]),
        lease_s=float(body["lease_seconds"]),
        expires_at=ready.expires_at,
        path="/leases",
        ready=ready,
    )


def hold_room(body: Json, wait_s: float, retries: Retries) -> Exchange[HeldRoom]:
    """`body` is an order for VRAM, with its owner and `ttl_seconds`."""
    ask = Ask(
        method="POST",
        path="/vram/leases",
        body={**body, "wait": wait_s},
        timeout_s=wait_s + ANSWER_S,
    )
    reply = yield from answered(ask, retries)

    def read(told: Json) -> HeldRoom:
        return HeldRoom(
            lease_id=told["lease_id"],
            owner=str(body["owner"]),
            lease_s=float(body["ttl_seconds"]),
            expires_at=answers.instant(told["expires_at"]),
            path="/vram/leases",
            vram_mb=told["vram_mb"],
            device=told["device"],
            evicted=tuple(told["evicted"]),
        )

    return understood(reply, read)


def renewing(held: HeldLease) -> Exchange[LeaseLost]:
    """Renew it for ever; return when it is lost.

    A daemon that is away for a while is asked until it is back: it keeps leases over a restart.
    """
    between_s = held.lease_s / RENEWALS
    ask = Ask(
        method="PUT",
        path=lease_path(held),
        body={"ttl_seconds": held.lease_s},
        timeout_s=min(ANSWER_S, between_s),
    )
    failed = 0
    yield Pause(between_s)
    while True:
        heard = yield from heard_of(ask)
        error = _renewed(held, heard)
        if error is None:
            failed = 0
            yield Pause(between_s)
            continue
        if not isinstance(error, NotAnswered | TryLater):
            held.lost = LeaseLost(held.lease_id, error.detail)
            return held.lost
        failed += 1
        yield Pause(min(backoff_s(failed), between_s))


def _renewed(held: HeldLease, heard: Heard) -> ClientError | None:
    """What is wrong with what came of a renewal."""
    if isinstance(heard, NoReply) or heard.status >= 400:
        return error_of(heard)
    try:
        held.expires_at = understood(heard, lambda body: answers.instant(body["expires_at"]))
    except NotUnderstood as error:
        return error
    return None


def releasing(held: HeldLease) -> Exchange[None]:
    """Give it back. Where that fails it ends by itself, in its time: nothing is raised."""
    try:
        yield from answered(Ask(method="DELETE", path=lease_path(held)), RELEASE)
    except ClientError:
        return


def lease_path(held: HeldLease) -> str:
    return f"{held.path}/{quote(held.lease_id, safe='')}"


def model_order(
    model: str, owner: str | None, lease_s: float, settings: LoadSettings
) -> dict[str, object]:
    """With an owner in any case: nobody else has a lease."""
    body = order(model, owner or some_owner(), settings)
    return body | {"lease_seconds": lease_s}


def room_order(
    vram_mb: int, owner: str | None, lease_s: float, **more: object
) -> dict[str, object]:
    """`more` that is None is not said."""
    said = {key: value for key, value in more.items() if value is not None}
    return {"vram_mb": vram_mb, "owner": owner or some_owner(), "ttl_seconds": lease_s, **said}
