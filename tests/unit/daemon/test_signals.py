import asyncio
import os
import signal
import socket
from contextlib import closing

import pytest

from orchestrator.config.loading import load_config
from orchestrator.daemon.serve import running
from orchestrator.daemon.signals import handle_signals
from orchestrator.daemon.supervisor import Supervisor
from orchestrator.daemon.wiring import make_predictions
from tests.asynchronous import eventually, run

RIGHT = """
server: {port: 0}
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services: {rehearsal: {engine: fake}}
models: {chat: {service: rehearsal, vram_mb: 1000}}
"""


@pytest.fixture
def heard(tmp_path):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def test_signals_end_and_reload_and_the_supervisor_hears_it(tmp_path, heard):
    file = tmp_path / "orchestrator.yaml"
    file.write_text(RIGHT)
    ended = []

    async def said():
        return (await asyncio.get_running_loop().sock_recv(heard, 4096)).decode()

    def load():
        return load_config(file, environ={})

    async def scene():
        config = load()
        supervisor = Supervisor(str(tmp_path / "notify"))
        async with running(config, load, make_predictions({})) as daemon:
            handle_signals(
                lambda: ended.append(True), daemon.desk, daemon.audit, supervisor, "fine"
            )
            os.kill(os.getpid(), signal.SIGHUP)
            assert (await said()).startswith("RELOADING=1")
            assert await said() == "READY=1\nSTATUS=fine"
            file.write_text("nonsense: 1\n")
            os.kill(os.getpid(), signal.SIGHUP)
            assert (await said()).startswith("RELOADING=1")
            assert (await said()).startswith("READY=1\nSTATUS=not reloaded, ")
            os.kill(os.getpid(), signal.SIGTERM)
            await eventually(lambda: ended == [True])

    run(scene())
