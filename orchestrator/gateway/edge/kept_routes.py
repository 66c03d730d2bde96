"""The routes of now in a file beside the sockets, for an nginx that starts while no daemon runs.

Written before nginx is told, and so before a resident that lost its route is asked to leave: an
nginx that starts at any moment finds none that is closed already. Of an earlier boot it believes
nothing: other programs may have the ports by then. The keys of servers stand in it, because nginx
needs them: nginx and the daemon alone may read it.
"""

import asyncio
import logging
import threading
from contextlib import suppress
from pathlib import Path

from orchestrator.gateway.edge.known_keys import write

log = logging.getLogger("orchestrator")

FILE = "routes"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class KeptRoutes:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: str | None = None
        self._writing = threading.Lock()  # one that was given up ends before the next begins
        self._told = False

    async def keep(self, text: str) -> None:
        """Never raises: where it cannot be written there is none, which costs warm requests only
        while both nginx and the daemon are away.
        """
        if text == self._kept:
            return
        self._kept = None
        try:
            await asyncio.to_thread(self._write, text)
        except OSError as error:
            if not self._told:
                log.warning("the routes for an nginx that starts alone cannot be kept: %s", error)
            self._told = True
        else:
            self._kept, self._told = text, False

    def _write(self, text: str) -> None:
        boot = ""
        with suppress(OSError):  # then nobody believes it
            boot = BOOT_ID.read_text().strip()
        with self._writing:
            write(self._folder, f"{boot}\n{text}\n", FILE)
