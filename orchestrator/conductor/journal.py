"""What the daemon writes down, in the order in which it happened, and what it says in words.

Nothing here waits for the disk but `until_known` and `until_written`, which acts call before they
are done (the intent is on the disk before anything follows from it), and `until_kept`, which
answers call before they are given (what was answered is on the disk).
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any, NewType, assert_never

from orchestrator.conductor.history import History
from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.leases import LeaseId
from orchestrator.core.values.messages import DropLease, ForgetPin, KeepLease, SavePin
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.ports import Clock
from orchestrator.records import DecisionRecord, Pin, Registry, ResidentRecord
from orchestrator.wall import WALL

log = logging.getLogger("orchestrator")

Promise = NewType("Promise", str)  # what outlives a restart, by name
Spawn = Callable[[Coroutine[Any, Any, bool], str], asyncio.Task[bool | None]]


def of_lease(lease: LeaseId) -> Promise:
    return Promise(f"lease {lease}")


def of_pin(model: ModelName) -> Promise:
    return Promise(f"pin of {model}")


class Journal:
    def __init__(self, registry: Registry, history: History, clock: Clock, spawn: Spawn) -> None:
        self._registry = registry
        self._history = history
        self._clock = clock
        self._spawn = spawn
        self._decision_ids = itertools.count(1)
        self._known: dict[InstanceId, asyncio.Task[bool | None]] = {}
        self._written: dict[InstanceId, asyncio.Task[bool | None]] = {}
        self._promised: dict[Promise, asyncio.Task[bool | None]] = {}  # writes that are under way

    def go_on_after(self, decision_id: int) -> None:
        """Number decisions on from the last one of the daemon's earlier life."""
        self._decision_ids = itertools.count(decision_id + 1)

    def now(self) -> datetime:
        return WALL.moment(self._clock())

    def say(self, decision: Decide) -> None:
        """One sentence for the log, the history and the registry (R17)."""
        record = DecisionRecord(id=next(self._decision_ids), at=self.now(), decision=decision)
        level = logging.WARNING if decision.remedy else logging.INFO
        log.log(level, "%s: %s", decision.kind, decision.text)
        self._history.publish(record)
        self._spawn(self._registry.decisions.put(record), f"write decision {record.id}")

    def write(self, record: ResidentRecord) -> None:
        """Writes of one resident reach the disk in order; acts wait for the last one."""
        instance = record.resident.instance
        self._written[instance] = write = self._spawn(
            self._registry.residents.put(record), f"write {instance}"
        )
        self._known.setdefault(instance, write)

    def forget(self, instance: InstanceId) -> None:
        self._written.pop(instance, None)
        self._known.pop(instance, None)
        self._spawn(self._registry.residents.drop(instance), f"drop {instance}")

    async def until_known(self, instance: InstanceId) -> None:
        """Until its life stands on the disk, in whatever state: with that row and its mark it is
        found again.
        """
        known = self._known.get(instance)
        if known is not None:
            await asyncio.wait({known})

    async def until_written(self, instance: InstanceId) -> None:
        """Until its newest row stands on the disk."""
        written = self._written.get(instance)
        if written is not None:
            await asyncio.wait({written})

    def promise(self, effect: KeepLease | DropLease | SavePin | ForgetPin) -> None:
        """Write what a caller is about to be told; `until_kept` says when it is on the disk."""
        match effect:
            case KeepLease(lease):
                promise, write = of_lease(lease.id), self._registry.leases.put(lease)
            case DropLease(lease_id):
                promise, write = of_lease(lease_id), self._registry.leases.drop(lease_id)
            case SavePin(model, pinned):
                pin = Pin(model=model, pinned=pinned)
                promise, write = of_pin(model), self._registry.pins.put(pin)
            case ForgetPin(model):
                promise, write = of_pin(model), self._registry.pins.drop(model)
            case _:
                assert_never(effect)
        self._promised[promise] = writing = self._spawn(write, f"write {promise}")
        writing.add_done_callback(partial(self._end, promise))

    def _end(self, promise: Promise, writing: asyncio.Task[bool | None]) -> None:
        if self._promised.get(promise) is writing:
            del self._promised[promise]

    def keeps(self, *promises: Promise) -> bool:
        """Whether none of their writes is under way."""
        return self._promised.keys().isdisjoint(promises)

    async def until_kept(self, *promises: Promise) -> bool:
        """True once they are on the disk; False if it refused them, or did not answer in time.

        A resident is written before its lease, and with one disk comes there before it.
        """
        writes = [self._promised[each] for each in promises if each in self._promised]
        if writes:
            await asyncio.wait(writes)
        return all(not write.cancelled() and bool(write.result()) for write in writes)
