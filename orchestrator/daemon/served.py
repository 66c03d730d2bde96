"""What is served: the web for orders, the gateway for requests, over one server."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from orchestrator.access.audit.log import Audit
from orchestrator.access.keys.decision import NotAllowed, Presented, decide, unauthorized
from orchestrator.access.keys.keys import Keys
from orchestrator.access.keys.record import ApiKey
from orchestrator.access.keys.table import KeyTable
from orchestrator.access.resident_keys import Bearer
from orchestrator.access.rights import Forbidden
from orchestrator.conductor.conductor import Conductor
from orchestrator.config.edge_section import EdgeSettings
from orchestrator.daemon.descriptors import budget
from orchestrator.daemon.edge_side import EdgeSide
from orchestrator.daemon.http_server import HttpServer
from orchestrator.daemon.wiring import VERSION, hub_access
from orchestrator.desk.desk import Desk
from orchestrator.gateway.described import described
from orchestrator.gateway.exchange import Exchanges
from orchestrator.gateway.front import Front
from orchestrator.gateway.ollama.api import OllamaApi
from orchestrator.gateway.ollama.pulls import Pulls
from orchestrator.gateway.relay import Relay
from orchestrator.gateway.routes import RouteTable
from orchestrator.metrics.exposition import Exposition
from orchestrator.metrics.telemetry import telemetry_from
from orchestrator.notify.notifier import Notifier
from orchestrator.records import JobRecord
from orchestrator.web.app import admission_to, create_app
from orchestrator.web.behind_edge import BehindEdge
from orchestrator.web.gate import Gate
from orchestrator.web.live.places import too_many_connections
from orchestrator.web.wire.error_answers import raw_answer


class Served:
    def __init__(
        self,
        conductor: Conductor,
        desk: Desk,
        routes: RouteTable,
        edge: tuple[EdgeSettings, socket.socket] | None,
        keys: Keys,
        audit: Audit,
        bearer: Bearer,
    ) -> None:
        """From now on the scheduler hears of the use of `routes`, and keys that change are seen.
        `edge` is where our nginx asks; `bearer` knows the keys of servers.
        """
        self._keys = keys
        keys.follow()
        self.edge: EdgeSide | None = None
        self.jobs: Callable[[], Sequence[JobRecord]] = tuple  # as soon as there are some
        if edge is not None:
            self.edge = EdgeSide(
                edge[0],
                activity=desk.activity,
                routes=routes,
                keys=keys,
                admission=lambda: admission_to(desk.config.server),
                bearer=bearer,
            )
        planes = () if self.edge is None else (self.edge.plane,)
        routes.connect(tell=conductor.tell, specs=lambda: desk.catalogue, planes=planes)
        if self.edge is not None:
            keys.watch(self.edge.keys_changed)
        keys.watch(partial(_end_ended, desk, conductor, keys.clock))
        self._routes = routes
        self._exchanges = Exchanges(desk, routes, bearer, keys.rates)
        room = budget()
        self.notifier = Notifier(desk, conductor)
        environ = os.environ  # noqa: TID251 - named as for everything that speaks OpenTelemetry
        self._telemetry = telemetry_from(environ, desk.activity, VERSION)
        exposition = Exposition(desk, conductor, VERSION, lambda: audit.head)
        gate = Gate(keys)
        web = create_app(
            desk,
            VERSION,
            waiting_max=room.waiting,
            beside=described,
            figures=exposition.text,
            audit_log=audit,
            gate=gate,
            jobs=self._runs_of_jobs,
        )
        relay = Relay(desk, self._exchanges, audit)
        ollama = OllamaApi(desk, self._exchanges, Pulls(hub_access(), downloads=desk.downloads))
        admission = lambda: admission_to(desk.config.server)  # noqa: E731
        front = Front(relay, ollama, web, admission, gate, audit)
        self.server = HttpServer(
            front if edge is None else BehindEdge(front),
            connections_max=room.connections,
            refusal=raw_answer(too_many_connections(room.connections)),
            edge=None if edge is None else edge[1],
        )

    def _runs_of_jobs(self) -> Sequence[JobRecord]:
        return self.jobs()

    async def close(self) -> None:
        """What is carried was answered or cut before."""
        self._keys.close()
        self._routes.close()
        await self.notifier.close()
        if self._telemetry is not None:
            await self._telemetry.close()
        if self.edge is not None:
            await self.edge.close()
        await self._exchanges.close()


def _end_ended(
    desk: Desk, conductor: Conductor, clock: Callable[[], float], table: KeyTable
) -> None:
    """What is under way for a key, secret or login that has ended is ended, as by an operator; what
    a key that has ended waits for in the line it does not get.
    """
    now_s = clock()

    def ended(id_: str) -> bool:
        key = table.keys.get(id_)
        return key is not None and refused(key) is not None

    def refused(key: ApiKey) -> NotAllowed | None:
        shown = Presented(replace(key, networks=()))  # wherever it came from
        return decide(shown, None, now_s=now_s)

    def why(id_: str) -> Forbidden:
        return Forbidden(refused(table.keys[id_]) or unauthorized())

    for run in desk.activity.running:
        # The key is all that is known of a request that nginx carries.
        if ended(run.key or "") or (run.over is not None and run.over(table, now_s)):
            desk.activity.cancel(run.id)
    conductor.end_waiting(ended, why)
