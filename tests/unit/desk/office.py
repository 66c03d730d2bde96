"""A desk on a fake machine, for orders as a person or a workflow gives them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.found.discovery import Discovery
from orchestrator.catalogue.learned import Experience
from orchestrator.catalogue.predictions import Predictions
from orchestrator.conductor.conductor import Conductor
from orchestrator.config.loading import Config, load_config
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId
from orchestrator.desk.desk import Desk
from orchestrator.gguf.headers import Headers
from orchestrator.orders import LoadOrder, LoadOutcome
from tests import machine
from tests.asynchronous import run
from tests.standins.memory import MemoryRegistry

FILE = """
devices: {source: fake, headroom_mb: 0, fake: [{name: A, total_mb: 24576}]}
scheduling: {min_residency_s: 0, protect_idle_s: 0}
services:
  rehearsal: {engine: fake}
models:
  chat: {service: rehearsal, vram_mb: 16384, aliases: [talk], fake: {load_s: 0.02}}
  draw: {service: rehearsal, vram_mb: 16384, fake: {load_s: 0.02}}
  huge: {service: rehearsal, vram_mb: 99999, fake: {load_s: 0.02}}
"""
G0 = DeviceId("g0")


class Office:
    """A desk with everything behind it; `file` is its configuration."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "orchestrator.yaml"
        self.file.write_text(FILE)
        (directory / "state").mkdir()
        self.world = machine.world()
        self.registry = MemoryRegistry()
        self.problems: list[str] = []
        self.predictions = Predictions(Headers())
        self.discovery: Discovery | None = None
        self.changes: dict[str, dict[str, Any]] = {}  # of models, beyond what the file says

    def load(self) -> Config:
        config = load_config(self.file, environ={})
        for name, changes in self.changes.items():
            own = ModelName(name)
            changed = {own: replace(config.catalogue[own], **changes)}
            config = replace(config, catalogue={**config.catalogue, **changed})
        return config

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Desk, Conductor]]:
        config = self.load()
        experience = Experience()
        catalogue = Catalogue(
            config=config,
            load=self.load,
            experience=experience,
            predictions=self.predictions,
            cached=dict[str, Path]().get,
            discovery=self.discovery,
        )
        specs = catalogue.specs.values()
        async with machine.conducting(self.world, *specs, registry=self.registry) as conductor:
            desk = Desk(
                conductor=conductor, catalogue=catalogue, problems=lambda: tuple(self.problems)
            )
            desk.apply_rules()
            yield desk, conductor


def play(office: Office, scene: Callable[[Desk, Conductor], Awaitable[None]]) -> None:
    async def played() -> None:
        async with office.opened() as (desk, conductor):
            await scene(desk, conductor)

    run(played())


async def load(desk: Desk, name: str, **order: Any) -> LoadOutcome:
    operation = await desk.begin_load(LoadOrder(model=name, **order))
    return await desk.load_outcome(operation.id, 10)


def loaded(desk: Desk) -> dict[str, ResidentState]:
    return {each.name: each.state for each in desk.snapshot().residents}
