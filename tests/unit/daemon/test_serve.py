"""The composition root: parts that belong to nobody else, and that it all fits together."""

import socket
from dataclasses import replace
from importlib.metadata import version

import pytest

from orchestrator.config.loading import load_config
from orchestrator.config.sections import ServerSettings
from orchestrator.core.values.residents import ResidentState
from orchestrator.daemon.serve import running
from orchestrator.daemon.wiring import make_predictions
from orchestrator.errors import RegistryFailed
from tests.asynchronous import eventually, run

FILE = """
server: {port: 0}
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
on_shutdown: stop
services:
  rehearsal: {engine: fake}
models:
  chat: {service: rehearsal, vram_mb: 1000, preload: true, fake: {load_s: 0.1}}
"""


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "orchestrator.yaml"
    path.write_text(FILE)
    return lambda: load_config(path, environ={})


def test_everything_fits_together_and_ends_as_the_operator_wants(load):
    async def scene():
        config = load()
        async with running(config, load, make_predictions({})) as daemon:
            desk = daemon.desk
            assert daemon.server.config.app.web.version == version("vram-orchestrator")
            assert desk.degraded() == ()
            await eventually(
                lambda: [each.state for each in desk.snapshot().residents] == [ResidentState.READY]
            )
        assert desk.snapshot().residents == (), "`on_shutdown: stop` leaves nothing running"

    run(scene())


def test_a_second_daemon_on_one_state_directory_does_not_start(load):
    async def scene():
        config = load()
        async with running(config, load, make_predictions({})):
            with pytest.raises(RegistryFailed, match="another orchestrator"):
                async with running(config, load, make_predictions({})):
                    pass

    run(scene())


def test_a_port_that_is_taken_is_told_before_anything_is_begun(load, tmp_path):
    async def scene():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            config = replace(load(), server=ServerSettings(port=port))
            with pytest.raises(OSError, match=f"127.0.0.1:{port} cannot be listened on.*--port"):
                async with running(config, load, make_predictions({})):
                    pass
        assert not (tmp_path / "state" / "identity").exists()
        async with running(config, load, make_predictions({})):
            """The directory was given back."""

    run(scene())
