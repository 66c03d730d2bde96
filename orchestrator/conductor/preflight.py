"""Looks at models before a resident leaves for them, and has brought what they lack."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.conductor.execution import look_at
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.messages import Bringing, Check, Checked, Event, Uncheck
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.ports import Drivers

log = logging.getLogger("orchestrator")

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


@dataclass(frozen=True, slots=True)
class _Checking:
    """A look at a model that is under way; it may take as long as a download."""

    spec: ModelSpec
    task: asyncio.Task[None]

    def is_for(self, spec: ModelSpec) -> bool:
        mine = self.spec
        return (mine.service, mine.hub, mine.file) == (spec.service, spec.hub, spec.file)


class Preflight:
    """At most one of each model. Each ends in one `Checked`, unless it was ended before."""

    def __init__(
        self, drivers: Mapping[ServiceName, Drivers], spawn: Spawn, tell: Callable[[Event], None]
    ) -> None:
        self._drivers = drivers
        self._spawn = spawn
        self._tell = tell
        self._running: dict[ModelName, _Checking] = {}

    def perform(self, effect: Check | Uncheck) -> None:
        if isinstance(effect, Check):
            self._begin(effect.spec)
        else:
            self._end(effect.model)

    def close(self) -> None:
        for model in list(self._running):
            self._end(model)

    def _begin(self, spec: ModelSpec) -> None:
        running = self._running.get(spec.name)
        if running is not None and running.is_for(spec):
            return  # begun for a caller who has left: callers who wait now hear what came of it
        self._end(spec.name)
        task = self._spawn(self._look(spec), f"check {spec.name}")
        self._running[spec.name] = _Checking(spec, task)

    def _end(self, model: ModelName) -> None:
        """No caller wants to know any more. What has been brought so far is kept."""
        check = self._running.pop(model, None)
        if check is not None:
            check.task.cancel()

    async def _look(self, spec: ModelSpec) -> None:
        def tell(progress: str) -> None:
            self._tell(Bringing(spec.name, progress))

        try:
            found = await look_at(spec, self._drivers[spec.service], tell)
        except Exception:
            log.exception("check %s", spec.name)  # it is looked at again when it is started
            found = spec
        running = self._running.get(spec.name)
        if running is not None and running.task is asyncio.current_task():
            del self._running[spec.name]  # before it is told: another look may follow at once
        if isinstance(found, Failure):
            self._tell(Checked(spec.name, found))
        else:
            self._tell(Checked(spec.name, None, found))
