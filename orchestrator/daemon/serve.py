"""The life of the daemon: makes its parts, serves, ends them. Its drivers are chosen by `wiring`.

Order of a start: lock and read the registry, read the devices, adopt what still runs, serve.
Order of an end: refuse new wishes, stop models only if the operator wants that, write, close.
"""

import asyncio
import gc
import logging
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import uvloop

from orchestrator.access.audit.log import Audit
from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.learned import Experience
from orchestrator.catalogue.predictions import Predictions
from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.history import History
from orchestrator.config.loading import Config, Overrides, load_config, load_services
from orchestrator.config.sections import OnShutdown
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.messages import ShutdownBegan
from orchestrator.daemon.adoption import adopt, recover, take_back
from orchestrator.daemon.audit_trail import audit_of
from orchestrator.daemon.clock import SteadyClock
from orchestrator.daemon.deciding import make_scheduler
from orchestrator.daemon.descriptors import raise_limit
from orchestrator.daemon.edge_socket import edge_socket
from orchestrator.daemon.finding import SWEEP_S, first_sweep, greeting, make_discovery, runs_here
from orchestrator.daemon.first_steps import first_steps, reached_at
from orchestrator.daemon.health.telling import health_told
from orchestrator.daemon.health.vital_signs import VitalSigns
from orchestrator.daemon.http_server import HttpServer
from orchestrator.daemon.keys import opened_keys
from orchestrator.daemon.listener import listener_at
from orchestrator.daemon.log_output import set_up_logging
from orchestrator.daemon.served import Served
from orchestrator.daemon.server_versions import ServerVersions
from orchestrator.daemon.signals import handle_signals
from orchestrator.daemon.supervisor import Supervisor
from orchestrator.daemon.timers import Job, Periodic
from orchestrator.daemon.wiring import (
    Runtimes,
    hub_access,
    make_devices,
    make_drivers,
    make_predictions,
)
from orchestrator.desk.desk import Desk
from orchestrator.engines.http import ServerHttp
from orchestrator.gateway.routes import RouteTable
from orchestrator.hub import cached
from orchestrator.orders import LoadOrder
from orchestrator.ports import Runtime
from orchestrator.records import Memory
from orchestrator.registry.sqlite import SqliteRegistry

log = logging.getLogger("orchestrator")

TICK_S = 1.0
ADOPT_S = 2.0  # a container that was not started by us is a resident so long after it answers
LOOK_SOON_S = 0.1  # after a container was started: the engine may say so before it is up
USE_LOOK_S = 2.0  # a direct request counts as use at the latest so long after it began
PRUNE_S = 3600.0
KEEP_REQUESTS_S = 1.0  # what a kill loses of the figures of requests
KEEP_REQUESTS_S_MAX = 2.0  # at the end, for the last of them
KEEP_CLOCK_S = 60.0  # after the wall clock was set
TRIM_LOGS_S = 60.0  # a server that writes a megabyte a second is cut back before it fills a disk
KEEP_DAYS = 30
KEEP_DECISIONS = 20_000  # about 10 MB of sentences
STOP_ALL_S = 120.0  # how long `on_shutdown: stop` waits for models to leave
END_S = 30.0  # for the rest of an end, most of which takes milliseconds
OTHER_PORT = "Choose another with --port and --host, or server.port and server.host"


@dataclass(slots=True)
class Daemon:
    """The parts that the process, or a test, needs of a running daemon."""

    conductor: Conductor
    desk: Desk
    server: HttpServer
    listener: socket.socket
    audit: Audit
    signs: VitalSigns

    def end(self) -> None:
        """Serve no more: `run` goes on from there."""
        self.signs.ends()
        self.desk.history.close()  # listeners would keep their connections open for ever
        self.server.should_exit = True


def serve(path: Path, overrides: Overrides | None = None, *, verbose: bool = False) -> None:
    """Run until SIGTERM or SIGINT. Raise ConfigInvalid, RegistryFailed or OSError at the start, and
    Defect if the scheduler breaks off.
    """
    gc.disable()  # until it serves: a start makes many objects and drops few
    chosen = overrides or Overrides()
    predictions = make_predictions(load_services(path))

    def load(*, lenient: bool = False) -> Config:
        return load_config(
            path,
            overrides=chosen,
            estimate=predictions.footprint,
            able=runs_here,
            lenient=lenient,
        )

    config = load(lenient=True)  # one model whose file is gone does not keep the others down
    set_up_logging(verbose=verbose)
    supervisor = Supervisor.taken_from(os.environ)  # noqa: TID251 - systemd's words, not settings
    inherited = raise_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(config, load, predictions, inherited, supervisor))


async def run(
    config: Config,
    load: Callable[[], Config],
    predictions: Predictions,
    descriptors: int,
    supervisor: Supervisor,
) -> None:
    takes_s = STOP_ALL_S + END_S if config.on_shutdown is OnShutdown.STOP else None

    async with running(config, load, predictions, descriptors) as daemon:

        def end() -> None:
            # Waiting callers are refused now, while their connections are open.
            daemon.conductor.tell(ShutdownBegan(stop_residents=False))
            daemon.end()
            supervisor.stopping(takes_s)

        host, port = daemon.listener.getsockname()[:2]
        status = f"listening on http://{host}:{port}"
        handle_signals(end, daemon.desk, daemon.audit, supervisor, status)
        gc.freeze()  # what the start made stays: a collection that visits it takes 50 ms
        gc.enable()
        log.info("%s", status)
        for line in greeting(config, daemon.desk.catalogue, runs_here):
            log.info("%s", line)
        _say_what_is_next(reached_at(host, port), daemon.desk)
        supervisor.ready(status)
        daemon.signs.serves(lambda: not daemon.desk.degraded())
        async with supervisor.watching():
            await daemon.server.serve([daemon.listener])
    if daemon.conductor.defect is not None:
        raise daemon.conductor.defect


def _say_what_is_next(url: str, desk: Desk) -> None:
    """To a person: a log that is kept has no use for it."""
    if sys.stderr.isatty():
        models = [spec.name for spec in desk.catalogue.values() if spec.failed is None]
        sys.stderr.write("".join(f"{line}\n" for line in first_steps(url, models)))


@asynccontextmanager
async def running(
    config: Config,
    load: Callable[[], Config],
    predictions: Predictions,
    descriptors: int | None = None,
) -> AsyncIterator[Daemon]:
    """The whole daemon, not serving yet; ended when the block ends.

    `descriptors` is the limit of open files that servers are given; None: ours.

    A daemon that could not serve does nothing else: the state directory and the port come first.
    """
    async with AsyncExitStack() as stack:
        registry = await asyncio.to_thread(SqliteRegistry.open, config.state_dir)
        stack.push_async_callback(registry.close)
        listener = stack.enter_context(
            listener_at(config.server.host, config.server.port, OTHER_PORT)
        )
        gateway = reached_at(config.server.host, listener.getsockname()[1])
        runtimes = Runtimes(config, descriptors, gateway)
        together = _put_together(config, load, registry, listener, predictions, runtimes)
        yield await stack.enter_async_context(together)


@asynccontextmanager
async def _put_together(
    config: Config,
    load: Callable[[], Config],
    registry: SqliteRegistry,
    listener: socket.socket,
    predictions: Predictions,
    runtimes: Runtimes,
) -> AsyncIterator[Daemon]:
    async with health_told(config.server) as signs, AsyncExitStack() as stack:
        keys = await asyncio.to_thread(opened_keys, config)
        runtimes.close_servers = keys.closed
        steady, memory = await _recalled(config, registry)
        devices, fake = await make_devices(config, steady.clock)
        http, ledger, routes = ServerHttp(runtimes.keys.bearer), Ledger(), RouteTable()
        versions = ServerVersions(config, runtimes)
        experience = _experience(versions, memory, ledger)
        catalogue = await _catalogue(config, load, experience, predictions)
        history = History(epoch=uuid.uuid4().hex[:8])
        for part in (devices, http, runtimes):
            stack.push_async_callback(part.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        conductor = Conductor(
            scheduler=make_scheduler(config, catalogue.specs, ledger, keyed=keys.closed),
            devices=devices,
            drivers=make_drivers(config, http, runtimes, catalogue, ledger),
            registry=registry,
            history=history,
            clock=steady.clock,
            tasks=tasks,
            experience=experience,
            routes=routes,
        )
        desk = Desk(
            conductor=conductor,
            catalogue=catalogue,
            problems=lambda: (registry.problem,) if registry.problem else (),
            fake_devices=fake,
            downloads=runtimes.downloads,
        )
        asked_at = stack.enter_context(edge_socket(config.edge))
        audit = await stack.enter_async_context(audit_of(config, history))
        served = Served(conductor, desk, routes, asked_at, keys, audit, runtimes.keys.bearer)
        stack.push_async_callback(served.close)
        conductor.end_on_defect((broken := asyncio.Event()).set)
        _go_on_from(memory, conductor, desk, registry)
        await _take_over(conductor, memory, catalogue, versions)
        daemon = Daemon(conductor, desk, served.server, listener, audit, signs)
        ending = tasks.create_task(_end_when(broken, daemon), name="end on a defect")
        background = [ending, *_begin_looking(conductor, catalogue, served, tasks)]
        periodic = _begun(_jobs(catalogue, conductor, desk, registry, runtimes, steady), served)
        await _preload(desk)
        try:
            yield daemon
        finally:
            await _end(config, conductor, history)
            periodic.stop()
            await _keep_requests(desk)
            for task in background:
                task.cancel()
            conductor.close()


async def _recalled(config: Config, registry: SqliteRegistry) -> tuple[SteadyClock, Memory]:
    memory = await registry.recall()
    return await asyncio.to_thread(SteadyClock, config.state_dir, memory), memory


def _begun(jobs: Iterable[Job], served: Served) -> Periodic:
    periodic = Periodic(*jobs)
    served.jobs = periodic.runs
    periodic.start()
    return periodic


def _go_on_from(memory: Memory, conductor: Conductor, desk: Desk, registry: SqliteRegistry) -> None:
    """Number on from the last life, under the rules of now, and say what is amiss."""
    desk.go_on_from(memory)
    desk.apply_rules()
    conductor.start_from(memory)
    for problem in registry.problems:
        conductor.say(Decide(kind=DecisionKind.DEVICE, text=problem, remedy="See the log."))
    desk.say_news()


async def _take_over(
    conductor: Conductor, memory: Memory, catalogue: Catalogue, versions: ServerVersions
) -> None:
    """Adopt what still runs since an earlier daemon, on devices that have been read."""
    await asyncio.gather(conductor.sensors.sample(), versions.look())
    await recover(conductor, memory, catalogue.specs)
    await adopt(conductor, catalogue.specs)
    await conductor.sensors.sample()  # again, now that we know which bytes are ours


def _begin_looking(
    conductor: Conductor, catalogue: Catalogue, served: Served, tasks: asyncio.TaskGroup
) -> list[asyncio.Task[None]]:
    runtimes = {drivers.runtime for drivers in conductor.drivers.values()}
    return [
        tasks.create_task(conductor.sensors.keep_up(), name="keep up"),
        *([tasks.create_task(served.edge.keep_up(), name="edge")] if served.edge else ()),
        *(
            tasks.create_task(_take_back(conductor, catalogue, runtime), name=runtime.name)
            for runtime in runtimes
        ),
    ]


async def _take_back(conductor: Conductor, catalogue: Catalogue, runtime: Runtime) -> None:
    """A container of ours that is started again from outside becomes a resident.

    At once where the runtime reports it, else after ADOPT_S.
    """
    pause_s = ADOPT_S
    while True:
        pause_s = min(2 * pause_s, ADOPT_S)
        with conductor.strange.noted(f"taking back what {runtime.name} has started again"):
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await runtime.stirred()
                    pause_s = LOOK_SOON_S
            await take_back(conductor, catalogue.specs, runtime)
        await asyncio.sleep(LOOK_SOON_S)


async def _end_when(broken: asyncio.Event, daemon: Daemon) -> None:
    await broken.wait()
    daemon.end()


async def _keep_requests(desk: Desk) -> None:
    """The figures of the last second, if the disk takes them soon."""
    with suppress(TimeoutError):
        async with asyncio.timeout(KEEP_REQUESTS_S_MAX):
            await desk.requests.keep()


async def _end(config: Config, conductor: Conductor, history: History) -> None:
    stops = config.on_shutdown is OnShutdown.STOP and conductor.defect is None
    conductor.tell(ShutdownBegan(stop_residents=stops))
    if stops and not await conductor.sensors.until_nobody_is_left(STOP_ALL_S):
        log.warning("some models did not leave within %.0f s; they keep running", STOP_ALL_S)
    history.close()


# --- parts -----------------------------------------------------------------------------------


def _experience(versions: ServerVersions, memory: Memory, ledger: Ledger) -> Experience:
    return Experience(
        memory.learned,
        versions=versions,
        devices=lambda: [ledger.reading(device).device for device in ledger.devices],
    )


async def _catalogue(
    config: Config, load: Callable[[], Config], experience: Experience, predictions: Predictions
) -> Catalogue:
    home = hub_access().home
    catalogue = Catalogue(
        config=config,
        load=load,
        experience=experience,
        predictions=predictions,
        cached=lambda reference: cached(reference, home=home),
        discovery=make_discovery(predictions.headers),
    )
    await first_sweep(catalogue)
    return catalogue


def _jobs(
    catalogue: Catalogue,
    conductor: Conductor,
    desk: Desk,
    registry: SqliteRegistry,
    runtimes: Runtimes,
    steady: SteadyClock,
) -> Iterator[Job]:
    async def prune() -> None:
        before = datetime.now(UTC) - timedelta(days=KEEP_DAYS)
        await registry.prune(before=before, keep_decisions=KEEP_DECISIONS)

    async def adopt_named() -> None:
        await adopt(conductor, catalogue.specs)

    yield Job("sample", catalogue.config.devices.sample_interval_s, conductor.sensors.sample)
    yield Job("tick", TICK_S, conductor.sensors.tick)
    if any(drivers.shared for drivers in conductor.drivers.values()):
        yield Job("adopt", ADOPT_S, adopt_named)
    yield Job("sweep", SWEEP_S, desk.sweep)
    yield Job("look at use", USE_LOOK_S, conductor.sensors.look_at_use)
    yield Job("retry writes", TICK_S, registry.retry)
    yield Job("keep requests", KEEP_REQUESTS_S, desk.requests.keep)
    yield Job("keep clock", KEEP_CLOCK_S, partial(asyncio.to_thread, steady.keep))
    yield Job("prune", PRUNE_S, prune)
    yield Job("trim logs", TRIM_LOGS_S, runtimes.trim_logs)


async def _preload(desk: Desk) -> None:
    for spec in desk.catalogue.values():
        if spec.preload and spec.failed is None:
            await desk.begin_load(LoadOrder(model=spec.name))
