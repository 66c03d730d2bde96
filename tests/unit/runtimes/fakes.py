"""Fake worlds of two devices, and launches into them."""

import random
from typing import Any

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.core.values.vram import DeviceId
from orchestrator.ports import Launch
from orchestrator.runtimes.fake.runtime import FakeWorld
from orchestrator.runtimes.fake.script import Fate, Script

G0, G1 = DeviceId("g0"), DeviceId("g1")
TOTAL = 100


def world(seed: int = 1, **changes: Any) -> FakeWorld:
    settings = {"release_lag_s": (0.0, 0.0), **changes}
    return FakeWorld({G0: TOTAL, G1: TOTAL}, random.Random(seed), **settings)


def launch(model: str = "a", g0: int = 0, g1: int = 0, **script: Any) -> Launch:
    shares = tuple((device, share) for device, share in ((G0, g0), (G1, g1)) if share)
    return Launch(
        instance=InstanceId(f"{model}-1"),
        model=ModelName(model),
        service=ServiceName("test"),
        argv=Script(shares=shares, **script).argv(),
    )


def fate(**changes: Any) -> Fate:
    return Fate(**changes)
