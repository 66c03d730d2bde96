"""What this machine has, for a first configuration."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli import doctor
from orchestrator.cli.importing.servers import LocalServer, local_server
from orchestrator.config.engines import LLAMA_CPP
from orchestrator.config.loading import Config, load_config
from orchestrator.core.values.vram import DeviceKind, Reading
from orchestrator.daemon.wiring import make_devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    devices: tuple[Reading, ...]
    server: LocalServer
    docker: str = ""  # what it says of itself; empty: it does not answer

    @property
    def gpus(self) -> tuple[Reading, ...]:
        return tuple(r for r in self.devices if r.device.kind is not DeviceKind.HOST)


def looked_at() -> Equipment:
    """Starts a llama-server once, for its version. Never raises."""
    config = _nothing_said()
    docker = doctor.docker(config)
    return Equipment(
        devices=asyncio.run(_readings(config)),
        server=_server(config),
        docker=docker.detail if docker.verdict is doctor.Condition.OK else "",
    )


def _nothing_said() -> Config:
    """The configuration of a file that is empty: what a look at the machine needs of one."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        return load_config(Path(file.name))


def _server(config: Config) -> LocalServer:
    """One that is there and does not start is none."""
    found = local_server()
    if found.engine != LLAMA_CPP or not found.on_path:
        return found
    path = os.environ.get("PATH", os.defpath)  # noqa: TID251 - where programs are looked for
    seen = doctor.llama_server(config, path)
    if seen.verdict is doctor.Condition.OK:
        return LocalServer(LLAMA_CPP, f"llama-server is {seen.detail}.", on_path=True)
    return local_server(without=f"{seen.detail}: {seen.remedy}.")


async def _readings(config: Config) -> tuple[Reading, ...]:
    devices, _ = await make_devices(config, time.time)
    try:
        return await devices.read(None)
    finally:
        await devices.close()
