"""What the daemon writes down, in the order in which it happened, and what it says in words.

Nothing here waits for the disk but `until_written`, which acts call before they are done: the
intent is on the disk before anything follows from it.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from orchestrator.conductor.history import History
from orchestrator.core.values.messages import Decide
from orchestrator.core.values.residents import InstanceId
from orchestrator.ports import Clock, DecisionRecord, Registry, ResidentRecord

log = logging.getLogger("orchestrator")

Spawn = Callable[[Coroutine[Any, Any, bool], str], asyncio.Task[bool | None]]


class Journal:
    def __init__(self, registry: Registry, history: History, clock: Clock, spawn: Spawn) -> None:
        self._registry = registry
        self._history = history
        self._clock = clock
        self._spawn = spawn
        self._decision_ids = itertools.count(1)
        self._written: dict[InstanceId, asyncio.Task[bool | None]] = {}

    def go_on_after(self, decision_id: int) -> None:
        """Number decisions on from the last one of the daemon's earlier life."""
        self._decision_ids = itertools.count(decision_id + 1)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

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
        self._written[instance] = self._spawn(
            self._registry.residents.put(record), f"write {instance}"
        )

    def forget(self, instance: InstanceId) -> None:
        self._written.pop(instance, None)
        self._spawn(self._registry.residents.drop(instance), f"drop {instance}")

    async def until_written(self, instance: InstanceId) -> None:
        written = self._written.get(instance)
        if written is not None:
            await asyncio.wait({written})
