"""All figures as one text, as Prometheus reads it."""

import asyncio
from collections.abc import Callable, Iterator

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from orchestrator.access.audit.lines import Head
from orchestrator.conductor.conductor import Conductor
from orchestrator.core.values.specs import ServiceName
from orchestrator.desk.desk import Desk
from orchestrator.metrics.counting import Counting
from orchestrator.metrics.families import Families
from orchestrator.metrics.gauges import Moment, gauges
from orchestrator.metrics.requests import RequestCounting
from orchestrator.metrics.servers import ServerCounting


class Exposition(Collector):
    """Counts from its making on. Reading it touches no device, no server and no idle timer."""

    def __init__(
        self, desk: Desk, conductor: Conductor, version: str, audit_head: Callable[[], Head | None]
    ) -> None:
        self._desk = desk
        self._conductor = conductor
        self._version = version
        self._audit_head = audit_head
        self._families = Families()
        counting = Counting(
            self._families,
            runtimes=self._runtimes,
            find=conductor.scheduler.state.ledger.life,
            clock=conductor.clock,
        )
        self._requests = RequestCounting(self._families, lambda: desk.catalogue)
        self._servers = ServerCounting(conductor.clock)
        self._moment = self._now()
        self._writing = asyncio.Lock()
        self._families.registry.register(self)
        conductor.watch(counting.observe)
        conductor.sensors.report(self._servers.heard)
        desk.activity.watch(self._requests.ended, self._requests.passed_over)

    async def text(self) -> bytes:
        """From memory. A large catalogue takes milliseconds, which the loop does not wait for."""
        async with self._writing:
            self._moment = self._now()
            return await asyncio.to_thread(self._written)

    def describe(self) -> Iterator[Metric]:
        """Nothing: it is not collected in order to be registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        moment = self._moment
        here = {resident.instance for resident in moment.snapshot.residents}
        yield from gauges(moment)
        yield from self._servers.families(moment.models, here)

    def _written(self) -> bytes:
        devices = [account.reading.device.id for account in self._moment.snapshot.accounts]
        self._families.seed(
            models=self._moment.models, devices=devices, runtimes=set(self._runtimes().values())
        )
        return generate_latest(self._families.registry)

    def _now(self) -> Moment:
        desk = self._desk
        return Moment(
            snapshot=desk.snapshot(),
            models=tuple(desk.catalogue),
            version=self._version,
            downloads=desk.downloads.all(),
            speeds=desk.speeds.all(),
            audit_head=self._audit_head(),
        )

    def _runtimes(self) -> dict[ServiceName, str]:
        return {name: drivers.runtime.name for name, drivers in self._conductor.drivers.items()}
