"""What the daemon does for the edge beside being asked by it: routes and keys told, figures taken
over.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.access.keys.keys import Keys
from orchestrator.access.keys.table import KeyTable
from orchestrator.access.resident_keys import Bearer
from orchestrator.config.edge import CONTROL_SOCKET
from orchestrator.config.edge_section import EdgeSettings
from orchestrator.desk.activity import Activity
from orchestrator.gateway.edge.carried import Carried
from orchestrator.gateway.edge.figures import FigureLines
from orchestrator.gateway.edge.known_keys import text_of, write
from orchestrator.gateway.edge.plane import EdgePlane
from orchestrator.gateway.routes import RouteTable
from orchestrator.web.guard import Admission

FIGURES_S = 1.0  # how often what nginx has carried is taken over
WRITE_AGAIN_S = 1.0  # while the disk does not take the keys

log = logging.getLogger("orchestrator")


class EdgeSide:
    def __init__(
        self,
        edge: EdgeSettings,
        *,
        activity: Activity,
        routes: RouteTable,
        keys: Keys,
        admission: Callable[[], Admission],
        bearer: Bearer,
    ) -> None:
        assert edge.dir is not None, "the configuration sets it"
        folder = Path(edge.dir)
        self.plane = EdgePlane(
            folder / CONTROL_SOCKET,
            epoch=uuid.uuid4().hex[:8],
            keys=keys,
            admission=admission,
            used=routes.used,
            bearer=bearer,
        )
        self._folder = folder
        self._keys = keys
        self._keys_changed = asyncio.Event()
        self._figures = FigureLines(folder)
        self._carried = Carried(activity)
        self._cancelling: set[asyncio.Task[None]] = set()

    def keys_changed(self, _: KeyTable) -> None:
        self._keys_changed.set()
        self.plane.keys_changed()

    async def keep_up(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.plane.keep_up(), name="tell nginx")
            tasks.create_task(self._keep_keys(), name="keys of nginx")
            tasks.create_task(self._take_over_figures(), name="figures of nginx")

    async def _keep_keys(self) -> None:
        """In a file, for an nginx that starts while no daemon runs."""
        while True:
            await self._keys_changed.wait()
            self._keys_changed.clear()
            table = self._keys.table
            try:
                await asyncio.to_thread(lambda: write(self._folder, text_of(table)))  # noqa: B023
            except OSError as error:
                log.error("the API keys for nginx cannot be kept: %s", error)  # noqa: TRY400
                self._keys_changed.set()
                await asyncio.sleep(WRITE_AGAIN_S)

    async def _take_over_figures(self) -> None:
        while True:
            under_way = await self.plane.carried()
            now_s = asyncio.get_running_loop().time()
            for serial, run in self._carried.under_way(under_way, now_s):
                run.cancel = partial(self._cancel, serial)
            self._carried.ended(*await asyncio.to_thread(self._figures.read))
            await asyncio.sleep(FIGURES_S)

    def _cancel(self, serial: str) -> None:
        cancelling = asyncio.ensure_future(self.plane.cancel(serial))
        self._cancelling.add(cancelling)
        cancelling.add_done_callback(self._cancelling.discard)

    async def close(self) -> None:
        await self.plane.close()
