"""Runs model servers as containers, and starts and stops containers that are defined elsewhere.

Two kinds: *ours* are created from a `Launch`, carry our labels and are removed when they are
stopped; *named* ones belong to a compose file or a person, are started and stopped by name and
never removed. The label of our identity alone makes a container ours, so that two orchestrators
on one Docker do not see each other's. Rule: this module removes nothing without that label, and
keeps no list of what runs.
"""

import asyncio
import math
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.values.failures import Failure, Silence
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.errors import Failed, NotStopped, StartFailed, Unreachable
from orchestrator.ports import Exit, Found, Handle, Launch, Running
from orchestrator.runtimes.docker.absent import Absent
from orchestrator.runtimes.docker.answers import Container, EngineRefused, answered, nanoseconds
from orchestrator.runtimes.docker.closed import Closing, Doors
from orchestrator.runtimes.docker.create import (
    LABEL_IDENTITY,
    LABEL_INSTANCE,
    LABEL_MODEL,
    ContainerSettings,
    container_body,
    container_name,
    requested_gpus,
)
from orchestrator.runtimes.docker.engine import Deadlines, DockerEngine
from orchestrator.runtimes.docker.events import SETTLE_S, EventListener
from orchestrator.runtimes.docker.failures import (
    engine_gone,
    gpu_ignored,
    image_missing,
    named_missing,
    names_taken,
    refused_create,
    refused_start,
    unwritable_key,
    vanished,
)
from orchestrator.runtimes.docker.handle import RUNTIME, ContainerRef, named_endpoint
from orchestrator.runtimes.docker.leftovers import Leftovers

NAME_ATTEMPTS_MAX = 5  # names taken by foreign containers before we give up
EXIT_LOG_LINES = 50  # enough for llama.cpp's last words, which are what a failure is read from
# A server that ends at SIGTERM, one that does not catch it, and SIGKILL: for memory, the engine
# says so.
STOPPED_CODES = frozenset({0, 128 + signal.SIGTERM, 128 + signal.SIGKILL})
GONE_POLL_S = 0.05  # while a killed container ends


@dataclass(frozen=True, slots=True)
class _Begun:
    running: Running
    fresh: bool  # it did not run before


class DockerRuntime:
    name = RUNTIME

    def __init__(
        self,
        url: str,
        settings: ContainerSettings,
        *,
        doors: Doors,
        named: Mapping[str, str | None] | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        """`named` are containers defined elsewhere, with the address they answer at if known."""
        self._engine = DockerEngine(url, deadlines)
        self._settings = settings
        self._ours = {LABEL_IDENTITY: settings.identity}
        ours = f"{LABEL_IDENTITY}={settings.identity}"
        self._events = EventListener(lambda: self._engine.open_events({"label": [ours]}))
        self._named_events = EventListener(
            lambda: self._engine.open_events({"container": list(self._named)})
        )
        self._named = named or {}
        self._absent = Absent(self._named_events)
        self.images: dict[str, str] = {}  # name of an image → its id when last looked at
        self._starting: set[InstanceId] = set()  # not running yet, and not a leftover
        self._closing = Closing(self._engine, settings, doors)
        self._leftovers = Leftovers(self._engine, self._ours, self._closing.forget)

    async def start(self, launch: Launch) -> Running:
        begun = asyncio.create_task(self._begin(launch), name=f"start {launch.instance}")
        try:
            return (await asyncio.shield(begun)).running
        except asyncio.CancelledError:
            # A call in a thread cannot be cancelled: let it end, then undo what it did.
            await asyncio.shield(self._leftovers.later(self._undo(begun, launch)))
            raise

    def foresee_stop(self, handle: Handle) -> None:
        """The engine knows what belongs to a container."""

    async def stop(self, handle: Handle, *, grace_s: float) -> None:
        ref = ContainerRef.of(handle)
        try:
            await self._halt(ref, grace_s)
            if ref.id and await self._runs(by_name := replace(ref, id="")):
                await self._halt(by_name, grace_s)  # created anew meanwhile, under its name
        except Unreachable as silent:
            raise NotStopped(f"{ref.name} is not verified gone: {silent}") from silent
        if ref.ours:
            # It has ended and holds nothing; by force, should it be started by hand meanwhile.
            # If Docker cannot remove it now, `discover` will.
            with suppress(Failed):
                await self._engine.remove(ref.container, force=True)
                self._closing.forget(ref.container)

    async def wait(self, handle: Handle) -> Exit:
        ref = ContainerRef.of(handle)
        events = self._events if ref.ours else self._named_events
        first: Container | None = None
        with events.watch(ref.reference) as watch:
            woken = False
            while True:
                with suppress(Failed):  # Docker does not tell now: keep the last known state
                    seen = await self._engine.inspect(ref.reference)
                    first = first or seen
                    if seen is None or watch.died or not seen.running:
                        return await self._exit(ref, seen, watch.exit_code)
                    if first is not None and first.started_at != seen.started_at:
                        return await self._exit(ref, seen, None)  # the engine restarted it
                # An event may arrive a moment before the inspection agrees with it.
                woken = await watch.pause(SETTLE_S if woken else events.poll_s)

    async def listens(self, handle: Handle) -> bool:  # noqa: ARG002 - it has an address of its own
        return True

    async def alive(self, handle: Handle) -> bool:
        seen = await answered(self._engine.inspect(ContainerRef.of(handle).reference))
        return seen is not None and seen.running

    async def discover(self) -> Sequence[Found]:
        """What runs and carries our identity; what carries it and does not run is removed."""
        found, had_keys = [], self._closing.containers_with_keys()
        there = await answered(self._engine.list_ids(self._ours))
        self._closing.forget_all(had_keys.difference(there))
        for container in there:
            seen = await answered(self._engine.inspect(container))
            if seen is None or self._unsettled(_instance(seen)):
                continue
            if seen.running:
                found.append(self._found(seen))
            else:
                with suppress(EngineRefused):  # it is being removed already
                    await self._engine.remove(seen.id)
        return found

    async def stirred(self) -> None:
        await self._events.stirred()

    async def returned(self, known: Collection[InstanceId]) -> Sequence[Found]:
        """After `docker restart` or `docker start` by hand an ended instance runs again."""
        found = []
        for container, labels in (await answered(self._engine.list_running(self._ours))).items():
            instance = InstanceId(labels.get(LABEL_INSTANCE, ""))
            if instance in known or self._unsettled(instance):
                continue
            seen = await answered(self._engine.inspect(container))
            if seen is not None and seen.running:
                found.append(self._found(seen))
        return found

    async def already(self, launch: Launch) -> Running | None:
        if launch.container is None:
            return None
        if self._absent.still(launch.container):
            return None
        starts = self._named_events.starts
        seen = await answered(self._engine.inspect(launch.container))
        if seen is None:
            self._absent.note(launch.container, starts)
            return None
        self._absent.forget(launch.container)
        if not seen.running:
            return None
        return self._named_running(launch.container, seen)

    def silence(self) -> Silence | None:
        return self._engine.liveness.silence()

    async def pids(self, handle: Handle) -> frozenset[int]:
        ref = ContainerRef.of(handle)
        try:
            return await self._engine.processes(ref.reference)
        except EngineRefused:  # it does not run, or the engine's host has no `ps`
            seen = await answered(self._engine.inspect(ref.reference))
            return frozenset({seen.pid}) if seen is not None and seen.pid else frozenset()

    async def log_tail(self, handle: Handle, lines: int) -> tuple[str, ...]:
        """Empty once the container is gone. Raise Unreachable if Docker does not tell."""
        try:
            return await self._engine.log(ContainerRef.of(handle).reference, lines)
        except EngineRefused:
            return ()

    async def log_size(self, handle: Handle) -> int:
        """The time of the last line: it grows with every line, and costs one line to read."""
        try:
            last = await self._engine.log(ContainerRef.of(handle).reference, 1, timestamps=True)
        except EngineRefused:
            return 0
        return nanoseconds(last[0].split(" ", 1)[0]) if last else 0

    async def lacking(
        self, service: ServiceName, *, image: str | None, container: str | None
    ) -> Failure | None:
        """Why a launch would fail, told before any model is evicted for it."""
        try:
            if image is not None and not await self.look_at_image(image):
                return image_missing(service, image)
            if container is not None and await self._engine.inspect(container) is None:
                return named_missing(container)
            return await self._closing.lacking()
        except Unreachable as silent:
            return engine_gone(silent)
        except EngineRefused:
            return None  # the start will fail with Docker's own reason
        return None

    async def look_at_image(self, image: str) -> bool:
        """Whether there is one. Raise Unreachable or EngineRefused if Docker does not tell."""
        seen = await self._engine.image_id(image)
        if seen is not None:
            self.images[image] = seen
        return seen is not None

    async def close(self) -> None:
        """Leave everything running; end our own threads and tasks."""
        self._events.close()
        self._named_events.close()
        await self._leftovers.close()
        self._engine.close()

    # --- starting ----------------------------------------------------------------------------

    async def _begin(self, launch: Launch) -> _Begun:
        if launch.container is not None:
            return await self._begin_named(launch, launch.container)
        self._starting.add(launch.instance)
        try:
            return _Begun(await self._begin_ours(launch), fresh=True)
        except Unreachable as silent:
            # Docker may still carry out what it has not answered.
            self._leftovers.remove_later(launch.instance)
            raise StartFailed(engine_gone(silent)) from silent
        finally:
            self._starting.discard(launch.instance)

    async def _begin_ours(self, launch: Launch) -> Running:
        container_body(launch, self._settings)  # what cannot be launched removes nothing
        try:
            await self._clear_earlier(launch.model)
            async with self._closing.choosing:
                body = container_body(launch, await self._closing.placed(launch))
                container = await self._create(launch, body)
        except EngineRefused as refused:
            raise StartFailed(refused_create(launch, refused)) from refused
        try:
            await self._closing.hand_over_key(launch, container)
            await self._engine.start(container)
            seen = await self._engine.inspect(container)
        except EngineRefused as refused:
            await self._leftovers.discard(launch.instance)
            raise StartFailed(refused_start(launch, refused)) from refused
        except OSError as error:
            await self._leftovers.discard(launch.instance)
            raise StartFailed(unwritable_key(launch, error)) from error
        if seen is None:
            raise StartFailed(vanished(launch))
        if missing := set(requested_gpus(launch.devices)) - seen.gpus:
            await self._leftovers.discard(launch.instance)
            raise StartFailed(gpu_ignored(launch, missing))
        return self._running(seen)

    async def _create(self, launch: Launch, body: dict[str, Any]) -> str:
        for attempt in range(NAME_ATTEMPTS_MAX):
            name = container_name(launch, attempt)
            try:
                return await self._engine.create(name, body)
            except EngineRefused as refused:
                if not refused.conflict:
                    raise
        raise StartFailed(names_taken(launch, name))

    async def _clear_earlier(self, model: ModelName) -> None:
        """Remove earlier containers of this model: only the last log is kept, and a model must
        not run twice, though an earlier one was just started by hand.
        """
        for container in await self._engine.list_ids({**self._ours, LABEL_MODEL: model}):
            await self._engine.remove(container, force=True)
            self._closing.forget(container)

    async def _begin_named(self, launch: Launch, name: str) -> _Begun:
        try:
            before = await self._engine.inspect(name)
            if before is None:
                raise StartFailed(named_missing(name))
            if not before.running:
                await self._engine.start(name)
            seen = await self._engine.inspect(name)
        except EngineRefused as refused:
            raise StartFailed(refused_start(launch, refused)) from refused
        except Unreachable as silent:
            raise StartFailed(engine_gone(silent)) from silent
        if seen is None:
            raise StartFailed(vanished(launch))
        return _Begun(self._named_running(name, seen), fresh=not before.running)

    def _named_running(self, name: str, seen: Container) -> Running:
        ref = ContainerRef(container=name, name=name, ours=False, id=seen.id)
        endpoint = named_endpoint(seen, self._settings.network, self._named.get(seen.name))
        return Running(handle=ref.handle(), endpoint=endpoint)

    def _unsettled(self, instance: InstanceId) -> bool:
        """Whether it is being started or removed: `discover` must not report it."""
        return instance in self._starting or instance in self._leftovers.removing

    def _found(self, seen: Container) -> Found:
        model = ModelName(seen.labels.get(LABEL_MODEL, ""))
        return Found(instance=_instance(seen), model=model, running=self._running(seen))

    def _running(self, seen: Container) -> Running:
        ref = ContainerRef(container=seen.id, name=seen.name, ours=True)
        return Running(handle=ref.handle(), endpoint=self._closing.endpoint(seen))

    # --- undoing -----------------------------------------------------------------------------

    async def _undo(self, begun: "asyncio.Task[_Begun]", launch: Launch) -> None:
        with suppress(StartFailed):  # then it has cleaned up after itself
            done = await begun
            if launch.container is None:
                await self._leftovers.discard(launch.instance)
            elif done.fresh:
                with suppress(NotStopped):  # a container of another owner: not ours to insist on
                    await self.stop(done.running.handle, grace_s=launch.stop_grace_s)

    # --- stopping ----------------------------------------------------------------------------

    async def _halt(self, ref: ContainerRef, grace_s: float) -> None:
        """Return when an inspection says that it has ended. Raise NotStopped if it has not."""
        if not await self._runs(ref):
            return
        try:
            await self._engine.stop(ref.reference, math.ceil(grace_s))
        except EngineRefused as refused:
            complaint = str(refused)
        else:
            complaint = "the engine says that it stopped it"
        if not await self._runs(ref):
            return
        patience_s = self._engine.deadlines.kill_s
        try:
            await self._engine.kill(ref.reference)
        except EngineRefused as refused:  # after some ten seconds of its own
            complaint, patience_s = str(refused), SETTLE_S
        ends_s = asyncio.get_running_loop().time() + patience_s
        while await self._runs(ref):
            if asyncio.get_running_loop().time() > ends_s:
                raise NotStopped(f"{ref.name} still runs after a kill: {complaint}")
            await asyncio.sleep(GONE_POLL_S)

    async def _runs(self, ref: ContainerRef) -> bool:
        seen = await answered(self._engine.inspect(ref.reference))
        return seen is not None and seen.running

    async def _exit(self, ref: ContainerRef, seen: Container | None, told: int | None) -> Exit:
        tail: tuple[str, ...] = ()
        with suppress(Failed):  # an exit without its log is still an exit
            tail = await self._engine.log(ref.reference, EXIT_LOG_LINES)
        code = seen.exit_code if seen is not None and not seen.running else told
        out_of_memory = seen is not None and seen.out_of_memory
        # Docker never restarts or removes ours: without a code, it was done by hand.
        by_hand = code in STOPPED_CODES or (code is None and ref.ours)
        return Exit(
            code=code,
            out_of_memory=out_of_memory,
            stopped=by_hand and not out_of_memory,
            log_tail=tail,
        )


def _instance(seen: Container) -> InstanceId:
    return InstanceId(seen.labels.get(LABEL_INSTANCE, ""))
