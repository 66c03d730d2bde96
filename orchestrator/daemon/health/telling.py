"""The daemon's health, told as long as the daemon lives."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from orchestrator.config.sections import ServerSettings
from orchestrator.daemon.first_steps import reached_at
from orchestrator.daemon.health.answers import answer_to
from orchestrator.daemon.health.listener import HealthListener
from orchestrator.daemon.health.vital_signs import BEAT_S, VitalSigns
from orchestrator.daemon.listener import listener_at

OTHER_PORT = "Choose another server.health_port, or null: health is told at server.port as well"

log = logging.getLogger("orchestrator")


@asynccontextmanager
async def health_told(server: ServerSettings) -> AsyncIterator[VitalSigns]:
    """While the block runs, where the operator named a port. Raise OSError.

    It starts before the rest and ends after it: a daemon that starts or ends is alive.
    """
    signs = VitalSigns()
    if server.health_port is None:
        yield signs
        return
    listener = listener_at(server.health_host, server.health_port, OTHER_PORT)
    url = reached_at(server.health_host, listener.getsockname()[1])
    health = HealthListener(listener, partial(answer_to, signs=signs), signs.look)
    health.start()
    log.info("health is told at %s/health", url)
    beating = asyncio.create_task(_beat(signs), name="health")
    try:
        yield signs
    finally:
        beating.cancel()
        health.end()


async def _beat(signs: VitalSigns) -> None:
    while True:
        signs.beat()
        await asyncio.sleep(BEAT_S)
