"""Those who wait for an answer: told at once, or when what they are promised is on the disk.

A slow disk delays who is promised something that outlives a restart, and no one else. A caller who
leaves meanwhile is not told; what it was granted is for the scheduler to take back.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from orchestrator.conductor.journal import Journal, Promise, of_lease, of_pin
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import Finish, Grant
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.tickets import Ticket
from orchestrator.errors import Denied

A = TypeVar("A", Grant, Finish)

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


def given_by(grant: Grant) -> list[Promise]:
    """What must be on the disk before the caller hears of the grant."""
    promises = [of_pin(grant.resident.name)] if grant.pinned else []
    if grant.lease is not None and grant.lease.kind is not LeaseKind.REQUEST:
        promises.append(of_lease(grant.lease.id))
    return promises


def ended_by(finish: Finish) -> list[Promise]:
    """What must have gone from the disk before the caller hears of the end of its unload."""
    return [of_lease(lease) for lease in finish.released]


class Callers(Generic[A]):
    """Each ticket is answered once, in whatever order the disk allows."""

    def __init__(self, journal: Journal, spawn: Spawn) -> None:
        self._journal = journal
        self._spawn = spawn
        self._waiting: dict[Ticket, asyncio.Future[A]] = {}

    def expect(self, ticket: Ticket) -> asyncio.Future[A]:
        """The answer, when it comes; or Denied."""
        self._waiting[ticket] = answer = asyncio.get_running_loop().create_future()
        return answer

    def forget(self, ticket: Ticket) -> None:
        self._waiting.pop(ticket, None)

    def refuse(self, ticket: Ticket, refusal: Refusal) -> None:
        self.end(ticket, Denied(refusal))

    def end(self, ticket: Ticket, error: Exception) -> None:
        """What it hears instead of an answer."""
        caller = self._waiting.pop(ticket, None)
        if caller is not None and not caller.done():
            caller.set_exception(error)

    def refuse_all(self, refusal: Refusal) -> None:
        for ticket in list(self._waiting):
            self.refuse(ticket, refusal)

    def tell(self, ticket: Ticket, answer: A, promises: Sequence[Promise]) -> None:
        if self._journal.keeps(*promises):
            self._hand_over(ticket, answer)
        else:
            self._spawn(self._tell_when_kept(ticket, answer, promises), f"answer t{ticket}")

    async def _tell_when_kept(self, ticket: Ticket, answer: A, promises: Sequence[Promise]) -> None:
        durable = await self._journal.until_kept(*promises)
        self._hand_over(ticket, replace(answer, durable=durable))

    def _hand_over(self, ticket: Ticket, answer: A) -> None:
        """Unless it has left."""
        caller = self._waiting.pop(ticket, None)
        if caller is not None and not caller.done():
            caller.set_result(answer)
