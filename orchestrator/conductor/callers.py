"""Callers that wait for what comes of their tickets: each hears one answer, unless it has left."""

import asyncio
from typing import TypeVar, assert_never

from orchestrator.core.values.messages import Deny, Finish, Grant
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.tickets import Ticket
from orchestrator.errors import Denied

T = TypeVar("T")


class Callers:
    def __init__(self) -> None:
        self._wishes: dict[Ticket, asyncio.Future[Grant]] = {}
        self._unloads: dict[Ticket, asyncio.Future[Finish]] = {}

    def wish(self, ticket: Ticket) -> asyncio.Future[Grant]:
        return self._wishes.setdefault(ticket, asyncio.get_running_loop().create_future())

    def unload(self, ticket: Ticket) -> asyncio.Future[Finish]:
        return self._unloads.setdefault(ticket, asyncio.get_running_loop().create_future())

    def leave(self, ticket: Ticket) -> None:
        self._wishes.pop(ticket, None)
        self._unloads.pop(ticket, None)

    def answer(self, effect: Grant | Finish | Deny) -> None:
        match effect:
            case Grant(ticket=ticket):
                _answer(self._wishes.pop(ticket, None), effect)
            case Finish(ticket=ticket):
                _answer(self._unloads.pop(ticket, None), effect)
            case Deny(ticket, refusal):
                _refuse(self._wishes.pop(ticket, None), refusal)
                _refuse(self._unloads.pop(ticket, None), refusal)
            case _:
                assert_never(effect)

    def refuse_all(self, refusal: Refusal) -> None:
        for ticket in (*self._wishes, *self._unloads):
            self.answer(Deny(ticket, refusal))


def _answer(caller: asyncio.Future[T] | None, answer: T) -> None:
    if caller is not None and not caller.done():
        caller.set_result(answer)


def _refuse(caller: asyncio.Future[T] | None, refusal: Refusal) -> None:
    if caller is not None and not caller.done():
        caller.set_exception(Denied(refusal))
